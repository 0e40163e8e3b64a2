package import LaunchPlanning
internal import LinuxKernel

/// The source of a container's mounts in mountinfo(5), by which other commands find the container and know what it is. It is
/// the only record of a running container, and ends with it.
///
/// Processes with capabilities in the container can change it: it is information, and never a permission.
package struct ContainerLabel: Equatable, Sendable {
    /// Of one launch on this node: mount namespaces that were made inside the container later have it, too.
    package var launch: String
    /// `JOB.STEP`, or `JOB` of a command outside any step; empty outside of jobs.
    package var step: String
    /// `--name`, or the name of a container of the plugin's; empty where it has none.
    package var name: String
    /// Of a container whose files are kept, its upper directory's identity: the name may meanwhile stand for another one.
    package var files: String
    /// The seccomp filters that Berth comes with by their names, with `+` between; `file` for a profile. Empty where there is
    /// none.
    package var filter: String
    package var digest: String
    package var image: String

    package static func filterNames(_ filters: [SeccompFilter]) -> String {
        filters.map { SeccompChoice.BuiltIn(rawValue: $0.name) == nil ? "file" : $0.name }.joined(separator: "+")
    }

    package init(
        launch: String, step: String, name: String = "", files: String = "", filter: String = "", digest: String,
        image: String
    ) {
        self.launch = launch
        (self.step, self.name, self.files, self.filter) = (step, name, files, filter)
        (self.digest, self.image) = (digest, image)
    }

    /// A value for `launch` that no other launch on this node has.
    package static func newLaunch() -> String {
        String(Processes.ownID, radix: 16) + "-" + String(Clock.monotonicNanoseconds, radix: 16)
    }

    /// The number of the form, which earlier versions of Berth lack.
    private static let prefix = "berth:3:"

    /// The kernel takes at most a page.
    package var text: String {
        let hex = digest.hasPrefix("sha256:") ? String(digest.dropFirst(7)) : ""
        let shown = image.utf8.count <= 2048 ? image : String(decoding: image.utf8.prefix(2048), as: UTF8.self)
        return Self.prefix + "\(launch):\(step):\(name):\(files):\(filter):\(hex):\(shown)"
    }

    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.utf8.count)
            .split(separator: ":", maxSplits: 6, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 7 else { return nil }
        self.init(
            launch: parts[0], step: parts[1], name: parts[2], files: parts[3], filter: parts[4],
            digest: parts[5].isEmpty ? "" : "sha256:" + parts[5], image: parts[6])
    }

    /// Of the job that it belongs to; empty outside of jobs.
    package var job: String { String(step.prefix { $0 != "." }) }
}
