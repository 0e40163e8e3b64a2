internal import ArgumentParser
internal import Diagnostics
internal import FoundationEssentials
internal import Hashing
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// `berth replay`
struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Run a recorded run again, with the same image.",
        usage: "berth replay [OPTIONS] RUN [-- SRUN_OPTIONS...]",
        discussion: """
            Prints first what this machine has otherwise: a missing mount, a changed script, another commit, another \
            driver. A run of a Slurm step is started with srun, as many nodes and tasks as before; SRUN_OPTIONS come \
            last and win. Secrets are not in records: their variables keep the values they have now.

            Examples:
              berth replay last
              berth replay --strict 4711.0 -- --partition=debug
            """)

    @Argument(help: ArgumentHelp("The run: an ID, JOB.STEP, or `last`.", valueName: "run"))
    var name: String

    @Argument(parsing: .postTerminator, help: "Options for srun.")
    var srunOptions: [String] = []

    @Flag(help: "Refuse to start if anything differs.")
    var strict = false

    @Flag(help: "Print the command and the differences, and start nothing.")
    var dryRun = false

    func run() throws {
        let settings = try Settings()
        let run = try RunHistory(settings).find(name)
        let differences = try Differences(run, settings).lines
        for line in differences { Output.note(line: line) }
        if strict, !differences.isEmpty {
            throw Failure(
                Report(
                    "\(differences.count == 1 ? "one thing differs" : "\(differences.count) things differ") from run \(run.id)",
                    hint: "leave out --strict to run it all the same"))
        }
        let replay = try Replay(run, settings, srunOptions: srunOptions)
        if dryRun {
            Printed.line(RunText.quoted(replay.words))
            return
        }
        // Relative paths of the command line begin there.
        _ = FileManager.default.changeCurrentDirectoryPath(run.workingDirectory.host)  // missing: reported above
        throw Failure(Report(Processes.execute(replay.program, arguments: replay.words, environment: replay.environment)))
    }
}

/// A record as a command line.
struct Replay {
    let program: String
    let words: [String]
    let environment: [String]

    init(_ run: StoredRun, _ settings: Settings, srunOptions: [String]) throws(Failure) {
        guard let image = run.image.pinned ?? (run.image.digest == nil ? nil : run.image.name) else {
            throw Failure(
                Report(
                    "run \(run.id) cannot be repeated: \(run.image.name) is a directory, which has no digest",
                    hint: "run it with `berth run \(run.image.name)`"))
        }
        let berth = try reporting({ Report($0) }) { () throws(SystemError) in try Launcher.path() }
        let command = [berth, "run"] + Self.unmasked(run.options) + [image, "--"] + run.written
        guard !run.written.contains(StoredRun.masked) else {
            throw Failure(
                Report(
                    "run \(run.id) cannot be repeated: its command held a secret, which the record leaves out",
                    hint: "`berth history show \(run.id)` prints the command; write the secret into a variable instead"))
        }
        let current = settings.environment
        if let job = run.job, job["step"] != nil {
            guard let srun = Self.find("srun", current["PATH"]) else {
                throw Failure(Report("run \(run.id) was a step of Slurm's, and srun is not in PATH", hint: "replay it on a login node"))
            }
            (program, words) = (srun, ["srun"] + Self.allocation(run, isInJob: current["SLURM_JOB_ID"] != nil) + srunOptions + command)
        } else {
            guard srunOptions.isEmpty else {
                throw Failure(Report("run \(run.id) was no step of Slurm's", hint: "leave out the options for srun"))
            }
            (program, words) = (berth, command)
        }
        // What the caller's shell had then, but for secrets and for what names one job or one terminal.
        var variables = current
        for variable in run.environment
        where variable.from == "host" && variable.value != StoredRun.masked && !RunText.isOfOneRun(variable.name) {
            variables[variable.name] = variable.value
        }
        variables["BERTH_REPLAY_OF"] = run.id
        variables["PWD"] = run.workingDirectory.host
        environment = variables.map { "\($0)=\($1)" }
    }

    /// The size of the step, and of a new allocation where its job was.
    static func allocation(_ run: StoredRun, isInJob: Bool) -> [String] {
        guard let job = run.job else { return [] }
        var words: [String] = []
        func add(_ option: String, _ name: String, _ separator: String = "=") {
            if let value = job[name] { words.append(option + separator + value) }
        }
        add("--nodes", "nodes")
        add("--ntasks", "tasks")
        if let each = job["tasksPerNode"], let count = each.split(separator: "(").first, Int(count) != nil, !each.contains(",") {
            words.append("--ntasks-per-node=\(count)")
        }
        add("--cpus-per-task", "cpusPerTask")
        add("--gres=gpu", "gpusOnNode", ":")
        if !isInJob {
            add("--partition", "partition")
            add("--account", "account")
        }
        return words
    }

    /// `-e NAME=(masked)` passes the value that the variable has now.
    static func unmasked(_ options: [String]) -> [String] {
        options.map { word in
            guard word.hasSuffix("=" + StoredRun.masked) else { return word }
            return String(word.dropLast(StoredRun.masked.count + 1))
        }
    }

    static func find(_ name: String, _ path: String?) -> String? {
        (path ?? "/usr/bin:/bin").split(separator: ":").map { "\($0)/\(name)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}

/// The program `berth` of this installation.
enum Launcher {
    /// Beside this one's directory: `PREFIX/libexec/berth/berth-image`, `PREFIX/bin/berth`.
    static func path() throws(SystemError) -> String {
        try Processes.ownPath().split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/bin/berth"
    }
}

/// What this machine has otherwise than a run had, as far as it can be known before it starts.
private struct Differences {
    private(set) var lines: [String] = []

    init(_ run: StoredRun, _ settings: Settings) throws(Failure) {
        try checkImage(run, settings)
        for mount in run.mounts where (try? FileStatus(of: mount.source)) == nil {  // absent or hidden
            lines.append("the mount \(mount.source) is not on this machine")
        }
        if (try? FileStatus(of: run.workingDirectory.host).kind) != .directory {  // absent or hidden
            lines.append("the directory \(run.workingDirectory.host) is not on this machine")
        }
        checkFiles(run)
        if let git = run.git, let commit = git.commit, let now = Self.commit(git.directory, settings.environment), now != commit {
            lines.append("\(git.directory) is at commit \(now.prefix(12)), the run was at \(commit.prefix(12))")
        }
        if let git = run.git, let changed = git.changed, !changed.isEmpty {
            lines.append("the run had changes that were not committed: " + changed.joined(separator: " "))
        }
        let driver = (try? contents(of: "/sys/module/nvidia/version", limit: 64)).map { bytes in  // no GPU here
            RawText.string(bytes.prefix { $0 != UInt8(ascii: "\n") })
        }
        if let before = run.devices?.driver, let driver, driver != before {
            lines.append("the NVIDIA driver is \(driver), the run had \(before)")
        }
        for variable in run.environment
        where variable.value == StoredRun.masked && ["host", "option"].contains(variable.from)
            && settings.environment[variable.name] == nil
        {
            lines.append("the variable \(variable.name) was a secret, and is not set now")
        }
        if run.berth != Version.text { lines.append("Berth is \(Version.text), the run had \(run.berth)") }
    }

    private mutating func checkImage(_ run: StoredRun, _ settings: Settings) throws(Failure) {
        guard let text = run.image.digest, let digest = try? Digest(parsing: text) else { return }  // a directory
        let stores = try settings.existingStores(nil)
        let isHere = try reporting({ Report($0) }) { () throws(StoreError) in
            for store in stores where try store.image(digest) != nil { return true }
            return false
        }
        if !isHere { lines.append("the image \(text.prefix(19)) is not in the store: it will be pulled, if the registry still has it") }
    }

    private mutating func checkFiles(_ run: StoredRun) {
        for file in run.files ?? [] {
            // As the run resolved it: beneath the directory that was mounted.
            let path = file.path.hasPrefix("/") ? file.path : run.workingDirectory.host + "/" + file.path
            guard let bytes = try? contents(of: path, limit: 1 << 20) else {
                lines.append("the file \(file.path) cannot be read")
                continue
            }
            if Digest(hashing: bytes, with: .sha256).hex != file.sha256 { lines.append("the file \(file.path) has changed") }
        }
    }

    private static func commit(_ directory: String, _ environment: [String: String]) -> String? {
        guard !Identity.isRoot, let git = Replay.find("git", environment["PATH"]),
            let ended = try? Processes.run(  // no git here: nothing is compared
                git, arguments: ["git", "-C", directory, "rev-parse", "HEAD"], environment: environment.map { "\($0)=\($1)" },
                output: .capture(limit: 256), deadline: Clock.monotonicNanoseconds + 5_000_000_000),
            ended.status == 0
        else { return nil }
        return RawText.string(ended.output.prefix { $0 != UInt8(ascii: "\n") })
    }
}
