internal import Diagnostics
internal import LinuxKernel

/// The words of a verb that the Slurm plugin or Berth itself calls: `--NAME=VALUE` and `--FLAG`, up to `--` and the options
/// of `berth run`.
struct InternalArguments {
    private var given: [(name: String, value: String)] = []
    private let verb: String
    /// What follows `--`.
    let rest: [String]

    /// - Parameter names: All that the verb takes.
    init(_ arguments: [String], verb: String, _ names: [String]) throws(Failure) {
        self.verb = verb
        var words = arguments[...]
        while let word = words.popFirst(), word != "--" {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard names.contains(parts[0]) else {
                throw .report(
                    Report(
                        // Without dashes, or it would be taken for an option of the user's, who knows it as a flag of srun.
                        "`berth \(verb)` does not take \"\(word.drop { $0 == "-" })\"",
                        hint: "it is for the Slurm plugin, which is of another version: install both from one build"))
            }
            given.append((parts[0], parts.count > 1 ? parts[1] : ""))
        }
        rest = Array(words)
    }

    func has(_ name: String) -> Bool { given.contains { $0.name == name } }

    func value(_ name: String) -> String? { given.last { $0.name == name }?.value }

    /// Of a setting that repeats.
    func values(_ name: String) -> [String] { given.filter { $0.name == name }.map(\.value) }

    /// An inherited descriptor by its number.
    func descriptor(_ name: String) throws(Failure) -> OwnedFileDescriptor {
        let (value, verb) = (value(name), verb)
        return try mapError(to: { (error: SystemError) in
            .report(
                Report(
                    "`berth \(verb)`: \(name.drop { $0 == "-" })=\(value ?? "") is no descriptor: \(error.sentence)",
                    hint: "it is for the Slurm plugin, which hands descriptors over"))
        }) { () throws(SystemError) in
            guard let number = value.flatMap({ Int32($0) }), number >= 0 else {
                throw SystemError(call: "fcntl", errno: Errno.EBADF, subject: name)
            }
            return try OwnedFileDescriptor(inherited: number)
        }
    }
}

/// `--container-name=NAME[:WHEN]`.
struct ContainerName {
    enum When: String { case auto, create, exec, noExec = "no_exec" }

    let name: String
    let when: When
    /// The job with which the container ends.
    let scope: String?

    var directory: String { scope.map { "job-\($0)-\(name)" } ?? name }

    /// `nil` where none is given.
    static func parse(_ arguments: InternalArguments) throws(Failure) -> ContainerName? {
        guard let text = arguments.value("--name") else { return nil }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let scope = arguments.value("--scope")
        // The name becomes a directory's: it must be one component, and none that leads elsewhere.
        guard !parts[0].isEmpty, !parts[0].hasPrefix("."), !parts[0].contains("/"), parts[0].utf8.count <= 200,
            let when = When(rawValue: parts.count > 1 ? parts[1] : "auto"), scope.map({ UInt32($0) != nil }) ?? true
        else {
            throw .report(
                Report(
                    "a container can not be named \"\(text)\"",
                    hint: "a name has 1 to 200 bytes, no slash and no leading dot; :auto, :create, :exec or :no_exec may follow"))
        }
        let result = ContainerName(name: parts[0], when: when, scope: scope)
        // Otherwise the end of that job, and `berth containers prune`, would remove it.
        guard scope != nil || !result.looksLikeJobs else {
            throw .report(
                Report(
                    "a container cannot be named \"\(parts[0])\": job-NUMBER-NAME is the directory of a job's container",
                    hint: "choose a name that does not start with job-NUMBER-"))
        }
        return result
    }

    /// Whether the name has the form of `directory` with a scope.
    private var looksLikeJobs: Bool {
        let parts = name.utf8.split(separator: UInt8(ascii: "-"), maxSplits: 2, omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].elementsEqual("job".utf8) && !parts[1].isEmpty
            && parts[1].allSatisfy { (0x30...0x39).contains($0) }
    }
}
