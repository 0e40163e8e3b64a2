internal import Allocation
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig
internal import Store

/// `berth run`, from the arguments to the command: a straight line that ends in `execve`.
struct RunCommand {
    let options: LaunchOptions
    let configuration: SiteConfiguration
    let site: SitePolicy
    let source: ImageSource
    let platform: Platform
    let storePath: String
    let task: SlurmTask?
    var host: HostReading
    let started = Clock.monotonicNanoseconds
    /// When a pull must have ended, in `Clock.monotonicNanoseconds`.
    var deadline: UInt64?
    /// The standard stream that is the terminal, if one is.
    var terminal: Int32 = 0
    /// Of tasks that run elsewhere, each with variables of its own that are not known here: its rank, its GPUs.
    var isForOthers = false
    /// What these may open, where this process can not know: `HostDevices`.
    var openable: [String]?
    /// Of the caller's, for the command.
    var descriptors = InheritedDescriptors()
    /// In place of `source`, where the image is a squashfs file.
    var squashfs: UnpackedSquashfs?

    init(_ arguments: [String]) throws(Failure) {
        let host = HostReading()
        let cwd = host.workingDirectory
        let options: LaunchOptions
        do throws(OptionError) {
            var parsed = try LaunchOptions(parsing: arguments, workingDirectory: cwd)
            try parsed.settleUser(userID: host.userID, groupID: host.groupID, isRoot: host.isRoot)
            options = parsed
        } catch {
            throw error == .helpRequested ? .wantsHelp : .options(error)
        }
        // Before anything is opened.
        var descriptors = InheritedDescriptors()
        if let missing = descriptors.add(next: options.preservedDescriptors) {
            throw .report(
                Report(
                    "--preserve-fds \(options.preservedDescriptors): descriptor \(missing) is not open",
                    hint: "the caller must open descriptors 3 to \(2 + options.preservedDescriptors)"))
        }
        if let number = host.variable("PMI_FD").flatMap({ Int32($0) }) { descriptors.add(connection: number) }
        try self.init(options, host: host, workingDirectory: cwd)
        self.descriptors = descriptors
    }

    init(_ options: LaunchOptions, host: HostReading, workingDirectory cwd: String) throws(Failure) {
        configuration = try named(Failure.configuration) { () throws(ConfigurationError) in
            try SiteConfiguration.read(environment: host.variable, homes: host.homes)
        }
        var options = options
        options.settleRoot(siteDefault: configuration.root, isRoot: host.isRoot)
        self.options = options
        site = try SitePolicy(configuration)
        let (text, wanted) = (options.image, options.platform)
        let written = try named(Failure.source) { () throws(ImageSourceError) in try ImageSource(parsing: text) }
        if cwd.isEmpty, let path = written.path, !path.hasPrefix("/") { throw .options(.noWorkingDirectory(path)) }
        source = written.absolute(from: cwd)
        platform = try named(Failure.platform) { () throws(PlatformError) in
            try wanted.map { (text) throws(PlatformError) in try Platform(parsing: text) } ?? .host
        }
        let chosen = configuration.storePath(
            option: options.store, environment: host.variable, userID: host.userID, isRoot: host.isRoot,
            accountHome: host.account?.homeDirectory)
        storePath = absolutePath(chosen, from: cwd)
        task = SlurmTask(environment: host.variable)
        self.host = host
    }

    func carryOut() throws(Failure) -> Never {
        if let format = options.dryRun {
            let (plan, edits) = try dryPlan()
            switch format {
            case .text: Terminal.print(plan.text(try explanation(plan, edits)))
            case .oci: try printOCIConfiguration(plan)
            }
            Processes.exit(0)
        }
        guard let task, task.localTasks > 1 else {
            let grant = try grant()
            try start(image: try prepare(), grant: grant, gpus: grant.gpus)
        }
        try meet(task)
    }

    /// In memory first; at last a directory in which no other user can have taken the name. A /dev/shm that is no file system
    /// of its own is part of a /dev, which may have been made for this task alone: then where tasks surely see the same.
    private static func meetingPlaces(home: String) -> [String] {
        let others = ["/tmp", "/var/tmp", home]
        guard let memory = try? FileStatus(of: "/dev/shm"), let devices = try? FileStatus(of: "/dev"),  // absent
            memory.device == devices.device
        else { return ["/dev/shm"] + others }
        return others + ["/dev/shm"]
    }

    /// One of several tasks on this node: one container for all of them.
    private func meet(_ task: SlurmTask) throws(Failure) -> Never {
        let grant = try grant()
        let own = StepRendezvous.Arrival(localID: task.localID, grantedNodes: grant.ownNodes)
        let key = "\(task.jobID).\(task.stepID).\(task.nodeID)/\(try wantedOptions().containerKey(host.variable))"
        let places = Self.meetingPlaces(home: host.variable("HOME") ?? "/")
        let role = try named(Failure.rendezvous) { () throws(RendezvousError) in
            try StepRendezvous.arrive(in: places, for: key, own)
        }
        switch consume role {
        case .builder(var builder):
            do throws(Failure) {
                let image = try prepare()
                let wait = configuration.joinWait
                let arrivals = try named(Failure.rendezvous) { () throws(RendezvousError) in
                    try builder.gather(tasks: task.localTasks, own: own, limitMilliseconds: wait)
                }
                let (shared, gpus) = grant.shared(with: arrivals.map(\.grantedNodes))
                try build(image: image, grant: shared, gpus: gpus, for: &builder)
            } catch {
                builder.fail(localID: task.localID)
                throw error
            }
        case .member(let container):
            let image = try found()
            let (shared, gpus) = grant.shared(with: [container.grantedNodes, own.grantedNodes])
            let plan = try plan(image, grant: shared, gpus: gpus)
            let (leases, scratch) = (container.imageLeases.map { [$0] } ?? image.leases, container.scratchLease)
            try confine(plan)
            try named(Failure.sandbox) { () throws(SandboxError) in try container.join() }
            try begin(plan.process, leases, scratch)
        }
    }

    private func build(
        image: PreparedImage, grant: DeviceGrant, gpus: [String], for builder: inout StepRendezvous.Builder
    ) throws(Failure) -> Never {
        let plan = try plan(image, grant: grant, gpus: gpus)
        try confine(plan)
        var interpreter = PlanInterpreter(plan: plan, mountPoint: image.mountPoint)
        // Before the container's /proc takes the place of the host's: it may be anything.
        let own = try named(Failure.system) { () throws(SystemError) in try Namespaces.own() }
        try named(Failure.sandbox) { () throws(SandboxError) in try interpreter.enter() }
        tell(interpreter.notes)
        let scratch = interpreter.scratchLease
        let namespaces = plan.namespaces
        // One for all tasks.
        let leases = try named(Failure.system) { () throws(SystemError) in try Self.inFewNumbers(image.leases) }
        let isBundled = leases.count < image.leases.count
        try named(Failure.rendezvous) { () throws(RendezvousError) in
            try builder.share(namespaces, in: own, scratchLease: scratch, imageLeases: isBundled ? leases.first : nil)
        }
        try begin(plan.process, leases, scratch)
    }

    private func start(image: PreparedImage, grant: DeviceGrant, gpus: [String]) throws(Failure) -> Never {
        let plan = try plan(image, grant: grant, gpus: gpus)
        try confine(plan)
        var interpreter = PlanInterpreter(plan: plan, mountPoint: image.mountPoint)
        try named(Failure.sandbox) { () throws(SandboxError) in try interpreter.enter() }
        tell(interpreter.notes)
        try begin(plan.process, image.leases, interpreter.scratchLease)
    }

    func tell(_ notes: [SandboxNote]) {
        if options.quiet { return }
        for note in notes { Terminal.say(Report(note.text)) }
    }

    /// An image may have hundreds of layers, each with a lease of its own: too many numbers for the command to spare.
    private static func inFewNumbers(_ leases: [DescriptorBox]) throws(SystemError) -> [DescriptorBox] {
        let most = min(64, try StartingState.callersValue(of: .openFiles).soft / 4)
        return leases.count < 2 || UInt64(leases.count) <= most ? leases : [try LocalSockets.bundle(leases)]
    }

    /// The file system stands; the leases stay open in the command, so that nobody collects what it runs from.
    private func begin(
        _ process: ProcessPlan, _ image: [DescriptorBox], _ scratch: DescriptorBox?
    ) throws(Failure) -> Never {
        var process = process
        process.dropVariables(exists: Self.existsHere)
        try named(Failure.system) { () throws(SystemError) in
            try descriptors.handOn()
            for lease in try Self.inFewNumbers(image) + [scratch].compactMap({ $0 }) {
                try lease.descriptor.duplicate().inheritAcrossExec()
            }
        }
        if options.verbose {
            if speaks(options), let note = process.noteOfDroppedVariables(option: "-e NAME") { Terminal.note(note) }
            let elapsed = (Clock.monotonicNanoseconds - started) / 1000
            Terminal.note(
                "starting \(process.arguments[0]) after \(elapsed / 1000).\(String(elapsed % 1000 + 1000).dropFirst()) ms"
            )
        }
        try named(Failure.sandbox) { () throws(SandboxError) in try process.start { tell([$0]) } }
    }

    /// Once this process stands in the container. What cannot be looked at is there.
    static func existsHere(_ path: String) -> Bool {
        do throws(SystemError) {
            _ = try FileStatus(of: path)
            return true
        } catch {
            return ![2, 20, 36, 40].contains(error.errno)  // ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP
        }
    }
}
