internal import LinuxKernel

/// What the container's mounts are called, by which a later step finds it: the step that built it, the files that it keeps,
/// its image.
struct ContainerLabel {
    var step: String
    /// Of a named container, its upper directory's identity: the name may meanwhile stand for another one.
    var files: String
    var digest: String
    var image: String

    var text: String { "berth:\(step):\(files):\(digest.isEmpty ? "" : String(digest.dropFirst(7))):\(image)" }

    init(step: String, files: String, digest: String, image: String) {
        (self.step, self.files, self.digest, self.image) = (step, files, digest, image)
    }

    init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 4, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 5, parts[0] == "berth" else { return nil }
        self.init(
            step: parts[1], files: parts[2], digest: parts[3].isEmpty ? "" : "sha256:" + parts[3], image: parts[4])
    }
}
