internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import Store

/// `berth hold`, for the Slurm plugin: the way of `berth run` up to the command. Then it hands the container that it
/// stands in to each of the step's tasks on this node, and ends.
struct HoldCommand {
    let settings: HoldSettings
    let options: LaunchOptions
    private(set) var host: HostReading
    /// Where the tasks wait; `nil` where none do.
    private let connection: DescriptorBox?
    private(set) var tasks: WaitingTasks?
    let workingDirectory: String
    let started = Clock.monotonicNanoseconds

    static func carryOut(_ arguments: [String]) -> Never {
        var rest = arguments[...]
        var connection: DescriptorBox?
        do throws(Failure) {
            let settings = try HoldSettings(&rest)
            connection = try settings.connection()
            var command = try HoldCommand(settings, Array(rest), connection)
            try command.carryOut()
        } catch {
            // Said before the tasks hear of it: they end then, and slurmstepd ends what still prepares, words and all.
            let report = error.report?.forPlugin(node: Terminal.node)
            Terminal.say(report)
            // Not to be waited for: where the queue is full there are containers in it.
            try? connection?.descriptor.send(WaitingTasks.failure, waits: false)  // all have ended
            Processes.exit((report?.status ?? .ownFailure).rawValue)
        }
    }

    private init(_ settings: HoldSettings, _ rest: [String], _ connection: DescriptorBox?) throws(Failure) {
        self.settings = settings
        self.connection = connection
        host = HostReading()
        // Before the container's /proc takes the place of the host's. What is checked before there is a job is no node's.
        if !settings.checks { Terminal.node = host.variable("SLURMD_NODENAME") ?? Self.hostname }
        if let node = settings.node { host.environment = host.environment.setting("SLURM_NODEID", node) }
        // At the end of a step slurmstepd stands in a directory of its own.
        workingDirectory = settings.save == nil ? host.workingDirectory : host.variable("PWD") ?? "/"
        let (cwd, words, mounts, script) = (workingDirectory, rest, settings.mounts, settings.script)
        options = try named(Failure.options) { () throws(OptionError) in
            var options = try LaunchOptions(parsing: words, workingDirectory: cwd, needsImage: false)
            if settings.quiet { options.quiet = true }
            // What runs in the batch script would take the script's rank for its own.
            if script != nil { options.profile = LaunchProfile.none }
            if let mounts { options.mounts += try MountRequest.list(pyxis: mounts, workingDirectory: cwd) }
            if let script {
                options.mounts.append(
                    MountRequest(kind: .bind(source: script, recursive: false), target: script, readOnly: true))
            }
            return options
        }
    }

    private mutating func carryOut() throws(Failure) -> Never {
        if settings.checks {
            try check()
            Processes.exit(0)
        }
        if let job = settings.sweep {
            try sweep(job)
            Processes.exit(0)
        }
        if let path = settings.save {
            try save(to: path)
            Processes.exit(0)
        }
        if settings.copy >= 0 {
            try sendRootCopy(to: settings.copy)
            Processes.exit(0)
        }
        guard let connection else { throw .system(SystemError(call: "fcntl", errno: 9, subject: "socket=")) }  // EBADF
        let tasks = WaitingTasks(
            connection, tasks: settings.tasks, gathers: settings.gathers, hasPMIx: usesPMIx,
            deadline: deadline)
        self.tasks = tasks
        let held = try hold()
        if settings.report { report(held) }
        try tasks.hand(held, copies: settings.tasks)
        Processes.exit(0)
    }

    var usesPMIx: Bool { settings.script == nil && (host.variable("SLURM_MPI_TYPE") ?? "").hasPrefix("pmix") }

    /// What would name something that is not there, now that this process stands inside.
    func drop(_ process: inout ProcessPlan) {
        process.dropVariables(exists: RunCommand.existsHere)
        if settings.report, let note = process.noteOfDroppedVariables(option: "--container-env=NAME") {
            Terminal.note(note)
        }
    }

    private static var hostname: String {
        let name = (try? contents(of: "/proc/sys/kernel/hostname", limit: 256)) ?? []  // only to be read by people
        return String(decoding: name.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// What can be known without the node.
    private func check() throws(Failure) {
        if let path = settings.save { try checkDestination(path) }
        let image = options.image
        // A path is the node's.
        let isFile = Self.fileEndings.contains(where: image.hasSuffix) && !image.contains(":")
        if image.isEmpty || image.hasPrefix("/") || image.hasPrefix(".") || isFile { return }
        _ = try named(Failure.source) { () throws(ImageSourceError) in try ImageSource(parsing: image) }
    }

    var deadline: UInt64? { settings.timeout.map { started + $0 * 1_000_000_000 } }

    private func hold() throws(Failure) -> HeldContainer {
        guard let name = settings.name else { return try build(try run(image: options.image), in: nil) }
        return try hold(name)
    }

    /// `berth run` with everything that was asked for, and this image.
    func run(image: String) throws(Failure) -> RunCommand {
        var options = self.options
        let path = try self.path(of: image)
        options.image = path.map { "dir:" + $0 } ?? image
        var run = try RunCommand(options, host: host, workingDirectory: workingDirectory)
        run.isForOthers = true
        run.terminal = 2  // slurmstepd's standard error is the first task's, its standard input nobody's
        run.deadline = deadline
        if let path, let status = try? FileStatus(of: path), status.kind != .directory {  // absent: said of the directory
            run.squashfs = try UnpackedSquashfs(path, status, storePath: run.storePath, deadline: run.deadline)
        }
        return run
    }

    private static let fileEndings = [".sqsh", ".squashfs", ".sqfs"]

    /// The absolute path of an image that is a file or a directory; `nil` for any other.
    func path(of image: String) throws(Failure) -> String? {
        let path = absolutePath(image, from: workingDirectory)
        if image.hasPrefix("/") || image.hasPrefix(".") { return path }
        return try isFile(image, path) ? path : nil
    }

    /// `image.sqsh` without `./`: no registry has such a name, and people forget the two characters.
    private func isFile(_ image: String, _ path: String) throws(Failure) -> Bool {
        guard Self.fileEndings.contains(where: image.hasSuffix), !image.contains(":") else {
            return false
        }
        let status = try? FileStatus(of: path)  // absent: said below
        if let status, status.kind == .regular || status.kind == .directory { return true }
        throw .report(
            Report(
                "there is no file \(path) on this node",
                hint:
                    "write the path of a squashfs file, --container-image=/PATH/\(image) or ./\(image) in the working directory"
            ))
    }

    /// Builds a container, over the files of a named one if one is given, and over its mount where that runs already.
    func build(
        _ run: RunCommand, in container: NamedContainer?, beside running: RunningContainer? = nil
    ) throws(Failure) -> HeldContainer {
        var phases: [(String, UInt64)] = []
        var last = started
        func mark(_ phase: String) {
            let now = Clock.monotonicNanoseconds
            phases.append((phase, now - last))
            last = now
        }
        let image = try run.prepare(pinned: container)
        mark("image")
        var run = run
        if let tasks, tasks.expected > 0 {
            run.take(try tasks.reports())
            mark("tasks")
        }
        let grant = try run.grant()
        let wanted = try run.wantedOptions()
        let decision = try run.decide(grant, gpus: grant.gpus, image: image.image, options: wanted)
        var plan = try run.plan(image, grant: grant, wanted, decision)
        let namespaces = plan.namespaces
        var root: DescriptorBox?
        if let running {
            root = try rootCopy(of: running)
            try join(running, &plan)
        } else if let container {
            try keep(&plan, in: container)
        }
        let launcher = settings.entrypoint == .ignored ? nil : try Launcher()
        var interpreter = PlanInterpreter(plan: plan, mountPoint: image.mountPoint)
        interpreter.label =
            ContainerLabel(
                step: settings.step, files: try container.map { (kept) throws(Failure) in try kept.identity() } ?? "",
                digest: image.image.digest, image: image.image.name
            ).text
        // Before the container's /proc takes the place of the host's: it may be anything.
        let own = try named(Failure.system) { () throws(SystemError) in try Namespaces.own() }
        interpreter.rootCopy = root
        try named(Failure.sandbox) { () throws(SandboxError) in try interpreter.enter() }
        run.tell(interpreter.notes)
        mark("set-up")
        let leases = image.leases + [interpreter.scratchLease, container?.lease].compactMap { $0 }
        let directory = try enterWorkingDirectory(plan.process)
        drop(&plan.process)
        if let launcher {
            let entrypoint = options.entrypoint.map { $0.isEmpty ? [] : [$0] } ?? image.image.entrypoint
            if !entrypoint.isEmpty {
                try self.run(entrypoint, launcher, &plan.process, deadline: run.deadline)
                mark("entrypoint")
            }
        }
        var held = HeldContainer()
        held.phases = phases
        held.count(decision, grant.devices.vendor)
        let handles = try namespaces.handles(in: own)
        try named(Failure.system) { () throws(SystemError) in
            try held.add(namespaces: handles, directory: directory, leases: leases)
        }
        if settings.keepsRoot {
            held.add(
                root: try named(Failure.system) { () throws(SystemError) in
                    DescriptorBox(try OwnedFileDescriptor(opening: "/", .path | .directory))
                })
        }
        held.add(plan.process, outside: run.host.environment)
        if run.wantsPyTorch(image.image, wanted) { held.addRanks(plan.process) }
        if usesPMIx { held.addPMIx() }
        return held
    }

    /// Entered here so that one message tells of a directory that is missing, and not one for each task.
    func enterWorkingDirectory(_ process: ProcessPlan) throws(Failure) -> DescriptorBox {
        try named(Failure.sandbox) { () throws(SandboxError) in
            try process.enterWorkingDirectory { Terminal.say(Report($0.text)) }
        }
        return try named(Failure.system) { () throws(SystemError) in
            DescriptorBox(try OwnedFileDescriptor(opening: ".", .path | .directory))
        }
    }

    private func report(_ held: HeldContainer) {
        func milliseconds(_ duration: UInt64) -> String {
            "\(duration / 1_000_000).\(duration / 100_000 % 10) ms"
        }
        let parts = held.phases.map { "\($0.0) \(milliseconds($0.1))" }
        let total = milliseconds(Clock.monotonicNanoseconds - started)
        Terminal.note("container ready after \(total): " + parts.joined(separator: ", "))
    }
}

extension [String] {
    /// Of `NAME=VALUE` entries.
    fileprivate func setting(_ name: String, _ value: String) -> [String] {
        filter { !$0.hasPrefix(name + "=") } + ["\(name)=\(value)"]
    }
}

extension NamespaceKinds {
    /// This process's own of these kinds, the user namespace first: only its rights allow the others.
    fileprivate func handles(in own: borrowing OwnedFileDescriptor) throws(Failure) -> [DescriptorBox] {
        var result: [DescriptorBox] = []
        for (kind, name) in [(.user, "user"), (.mount, "mnt"), (.hostname, "uts"), (.network, "net"), (.ipc, "ipc")]
            as [(NamespaceKinds, String)] where contains(kind)
        {
            result.append(
                try named(Failure.system) { () throws(SystemError) in
                    DescriptorBox(try Namespaces.current(name, in: own))
                })
        }
        return result
    }
}

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
