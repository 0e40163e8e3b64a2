package import Sandbox

extension SandboxNote {
    /// The warning, in one line.
    package var text: String {
        switch self {
        case .noHome(let path):
            "warning: cannot create the home directory \(path): a component of the path is not a directory in the "
                + "image; the command runs without it"
        case .workingDirectoryCovered(let path):
            "warning: the image's working directory \(path) does not exist in the host's /tmp, which the container "
                + "uses: "
                + "the command starts in / (choose another directory with --workdir)"
        }
    }
}
