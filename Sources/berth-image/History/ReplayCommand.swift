internal import Allocation
internal import ArgumentParser
internal import Diagnostics
internal import Dispatch
internal import FoundationEssentials
internal import Hashing
internal import ImageDiagnostics
internal import ImagePull
internal import ImageSpec
internal import LinuxKernel
internal import Store
internal import Synchronization

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
        let image = try Self.waiting { try await Replay.image(of: run, settings) }
        let replay = try Replay(run, image: image, settings, srunOptions: srunOptions)
        if dryRun {
            Printed.line(RunText.quoted(replay.words))
            return
        }
        // Relative paths of the command line begin there, and would name other files elsewhere.
        let directory = run.workingDirectory.host
        try reporting({ error in
            Report(
                "run \(run.id) cannot be repeated: its directory \(directory): \(error.sentence)",
                hint: "relative paths of its command line begin there; run it on a machine that has the directory")
        }) { () throws(SystemError) in try OwnedFileDescriptor(opening: directory, .path | .directory).enter() }
        throw Failure(Report(Processes.execute(replay.program, arguments: replay.words, environment: replay.environment)))
    }
}

extension ReplayCommand {
    private final class Answer<Value: Sendable>: Sendable {
        let value = Mutex<Result<Value, any Error>?>(nil)
        let isThere = DispatchSemaphore(value: 0)
    }

    /// For this thread, which becomes the command: those of the tasks block signals, and the command would as well.
    private static func waiting<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
        try reporting({ Report($0) }) { () throws(SystemError) in try ThreadSupply.check() }
        let answer = Answer<Value>()
        Task {
            let result: Result<Value, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            answer.value.withLock { $0 = result }
            answer.isThere.signal()
        }
        while true {
            answer.isThere.wait()
            if let result = answer.value.withLock({ $0 }) { return try result.get() }
        }
    }
}

/// A record as a command line.
struct Replay {
    let program: String
    let words: [String]
    let environment: [String]

    /// What `berth run` takes for the very image of the run.
    static func image(of run: StoredRun, _ settings: Settings) async throws -> String {
        if let pinned = run.image.pinned { return pinned }
        let name = run.image.name
        guard let digest = run.image.digest else {
            throw Failure(
                Report(
                    "run \(run.id) cannot be repeated: its image \(name) has no digest",
                    hint: "a directory or an image file may have changed since; `berth run \(name)` runs it as it is now"))
        }
        // A layout or an archive: the name may stand for another image by now.
        let source = try settings.source(name)
        let platform = try settings.platform(run.image.platform)
        let now: Digest
        do throws(PullError) { now = try await digestNow(of: source, platform) } catch {
            let path = try settings.storePath(nil)
            throw Failure(Report(error, source: source, store: path))
        }
        guard now.description == digest else {
            throw Failure(
                Report(
                    "run \(run.id) cannot be repeated: \(name) is another image now",
                    details: ["the run had \(digest)", "now \(now)"], hint: "`berth run \(name)` runs it as it is now"))
        }
        return name
    }

    private static func digestNow(of source: ImageSource, _ platform: Platform) async throws(PullError) -> Digest {
        let origin: any ImageOrigin =
            switch source {
            case .ociLayout(let path, let tag): try LayoutOrigin(directory: path, tag: tag)
            case .ociArchive(let path, let tag): try LayoutOrigin(archive: path, tag: tag)
            case .dockerArchive(let path, let tag): try DockerArchiveOrigin(path, tag: tag)
            case .docker, .directory: throw .local(.notAnImage("no layout and no archive"), path: source.description)
            }
        let image = try await origin.resolve(for: platform)
        await origin.close()
        return image.manifestDigest
    }

    init(_ run: StoredRun, image: String, _ settings: Settings, srunOptions: [String]) throws(Failure) {
        let berth = try reporting({ Report($0) }) { () throws(SystemError) in try Launcher.path() }
        guard let options = Self.unmasked(run.options), !run.written.contains(where: { $0.contains(StoredRun.masked) }) else {
            throw Failure(
                Report(
                    "run \(run.id) cannot be repeated: its command line held a secret, which the record leaves out",
                    hint: "`berth history show \(run.id)` prints the command; write the secret into a variable instead"))
        }
        let command = [berth, "run"] + options + [image, "--"] + run.written
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
        where variable.from == "host" && variable.value != StoredRun.masked && !TaskVariables.contain(variable.name) {
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
    ///
    /// - Returns: `nil` if another option held a secret.
    static func unmasked(_ options: [String]) -> [String]? {
        var result: [String] = []
        for word in options {
            guard word.contains(StoredRun.masked) else {
                result.append(word)
                continue
            }
            let isNext = ["-e", "--env"].contains(result.last)
            let prefix = isNext ? "" : ["-e=", "--env=", "-e"].first { word.hasPrefix($0) }
            guard let prefix, let equals = word.dropFirst(prefix.count).firstIndex(of: "=") else { return nil }
            let name = word[..<equals]
            if name.contains(StoredRun.masked) { return nil }
            result.append(String(name))
        }
        return result
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
        if !isHere { lines.append("the image \(text.prefix(19)) is not in the store: it will be pulled, if it is still there") }
    }

    private mutating func checkFiles(_ run: StoredRun) {
        for file in run.files ?? [] {
            // Where the mounts of the run had it. Earlier records lack that.
            guard let path = file.source else { continue }
            guard let bytes = try? contents(ofRegularFile: path, limit: 1 << 20) else {  // absent, or larger than any that is recorded
                lines.append("the file \(file.path) cannot be read")
                continue
            }
            if Digest(hashing: bytes, with: .sha256).hex != file.sha256 { lines.append("the file \(file.path) has changed") }
        }
    }

    private static func commit(_ directory: String, _ environment: [String: String]) -> String? {
        // Not of a work tree around it, nor another user's.
        guard !Identity.isRoot, let own = try? FileStatus(of: directory + "/.git", followLinks: false),  // absent
            own.kind != .symlink, own.userID == Identity.userID, let git = Replay.find("git", environment["PATH"]),
            let ended = try? Processes.run(  // no git here: nothing is compared
                git, arguments: ["git", "-C", directory, "rev-parse", "HEAD"], environment: environment.map { "\($0)=\($1)" },
                output: .capture(limit: 256), deadline: Clock.monotonicNanoseconds + 5_000_000_000),
            ended.status == 0
        else { return nil }
        return RawText.string(ended.output.prefix { $0 != UInt8(ascii: "\n") })
    }
}
