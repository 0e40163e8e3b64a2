package import Sandbox

extension SandboxNote {
    /// One line, as a warning.
    package var text: String {
        switch self {
        case .noHome(let path):
            "warning: the image has no place for the home directory \(path): a part of the path is no directory; the "
                + "command runs without it"
        case .workingDirectoryCovered(let path):
            "warning: the image's working directory \(path) does not exist in the host's /tmp, which the container shows: "
                + "the command starts in / (choose another directory with --workdir)"
        }
    }
}
