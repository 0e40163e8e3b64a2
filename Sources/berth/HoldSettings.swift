internal import Diagnostics
internal import LinuxKernel

/// What the Slurm plugin says to `berth hold`, in front of `--` and the options of `berth run`.
struct HoldSettings {
    /// Where the tasks wait.
    var socket: Int32 = -1
    var tasks = 1
    /// `JOB.STEP`.
    var step = ""
    /// This node's place in the step, from 0; only tasks have it among their variables.
    var node: String?
    /// Seconds.
    var timeout: UInt64?
    var name: ContainerName?
    /// In Pyxis' grammar.
    var mounts: String?
    /// The batch script, which lies in a directory of Slurm's.
    var script: String?
    /// The container's root, too, for the tasks that are to save it.
    var keepsRoot = false
    /// No progress.
    var quiet = false
    /// Instead of all else: parse what was asked for, before there is a job.
    var checks = false
    /// Instead of all else: save the container whose root is `socket`.
    var save: String?
    var entrypoint = Entrypoint.ignored
    var report = false
    /// Each task tells which GPUs it may open, as this process may be able to open others.
    var gathers = false
    /// Instead of all else: remove the containers of this job.
    var sweep: String?

    /// Instead of all else: send a copy of a running container's root to this socket; its namespaces, by descriptor.
    var copy: Int32 = -1
    var userNamespace: Int32 = -1
    var mountNamespace: Int32 = -1

    enum Entrypoint { case ignored, quiet, shown }

    /// `--container-name=NAME[:WHEN]`.
    struct ContainerName {
        enum When: String { case auto, create, exec, noExec = "no_exec" }

        let name: String
        let when: When
        /// The job with which the container ends.
        var scope: String?

        var directory: String { scope.map { "job-\($0)-\(name)" } ?? name }

        init?(_ text: String) {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard !parts[0].isEmpty, let when = When(rawValue: parts.count > 1 ? parts[1] : "auto") else { return nil }
            (name, self.when) = (parts[0], when)
        }
    }

    /// Takes its words from the front of `arguments`.
    init(_ arguments: inout ArraySlice<String>) throws(Failure) {
        var scope: String?
        while let word = arguments.popFirst(), word != "--" {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let value = parts.count > 1 ? parts[1] : ""
            switch parts[0] {
            case "socket": socket = Int32(value) ?? -1
            case "tasks": tasks = Int(value) ?? 1
            case "step": step = value
            case "node": node = value
            case "timeout": timeout = UInt64(value)
            case "name": name = ContainerName(value)
            case "scope": scope = value
            case "mounts": mounts = value
            case "script": script = value
            case "keep": keepsRoot = true
            case "quiet": quiet = true
            case "check": checks = true
            case "save": save = value
            case "entrypoint": entrypoint = value == "shown" ? .shown : .quiet
            case "report": report = true
            case "gather": gathers = true
            case "sweep": sweep = value
            case "copy": copy = Int32(value) ?? -1
            case "user": userNamespace = Int32(value) ?? -1
            case "mounts-of": mountNamespace = Int32(value) ?? -1
            default:
                throw .report(
                    Report(
                        "`berth hold` does not know \"\(word)\"",
                        hint: "it is for the Slurm plugin, which is of another version: install both from one build"))
            }
        }
        name?.scope = scope
    }
}

extension HoldSettings {
    /// `nil` where `socket` is not the tasks'.
    func connection() throws(Failure) -> DescriptorBox? {
        if checks || sweep != nil || save != nil || copy >= 0 { return nil }
        return try named(Failure.system) { () throws(SystemError) in
            DescriptorBox(try OwnedFileDescriptor(inherited: socket))
        }
    }
}
