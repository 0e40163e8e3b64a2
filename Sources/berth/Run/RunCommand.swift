internal import Allocation
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig

/// `berth run`: request, image, devices, plan, sandbox, and this process becomes the command.
struct RunCommand {
    let request: LaunchRequest
    /// Of the caller's, for the command.
    let descriptors: InheritedDescriptors
    /// The command is a shell, whichever the image has.
    var isShell = false
    /// The options as they were written.
    private let words: [String]
    private let started = Clock.monotonicNanoseconds

    init(_ arguments: [String]) throws(Failure) {
        let caller = CallerContext()
        let workingDirectory = caller.workingDirectory
        var options: LaunchOptions
        do throws(OptionError) {
            options = try LaunchOptions(parsing: arguments, workingDirectory: workingDirectory)
        } catch {
            throw error == .helpRequested ? .wantsHelp : .options(error)
        }
        var words: [String]?
        if !options.files.isEmpty {
            let file = try ExperimentFile(
                options.files, workingDirectory: workingDirectory, environment: caller.environment)
            (options, words) = try mapError(to: Failure.options) { [options] () throws(OptionError) in
                try file.merged(with: options, arguments, workingDirectory: workingDirectory, hasCommand: true)
            }
        }
        do throws(OptionError) {
            try options.settleUser(userID: caller.userID, groupID: caller.groupID, isRoot: caller.isRoot)
        } catch {
            throw .options(error)
        }
        // Before anything is opened.
        var descriptors = InheritedDescriptors()
        if let missing = descriptors.add(next: options.preservedDescriptors) {
            throw .report(
                Report(
                    "--preserve-fds \(options.preservedDescriptors): descriptor \(missing) is not open",
                    hint: "the caller must open descriptors 3 to \(2 + options.preservedDescriptors)"))
        }
        if let number = caller.variable("PMI_FD").flatMap({ Int32($0) }) { descriptors.add(connection: number) }
        self.descriptors = descriptors
        self.words = words ?? options.words(of: arguments)
        let settings = try LaunchSettings(caller: caller, workingDirectory: workingDirectory, store: options.store)
        request = try LaunchRequest(options, caller: caller, workingDirectory: workingDirectory, settings: settings)
    }

    func carryOut() throws(Failure) -> Never {
        if let format = request.options.dryRun {
            try DryRun(request).print(format)
            Processes.exit(0)
        }
        if request.audience == .tasksOfStep, let task = request.task { try joinStep(task) }
        let claim = try claimName()
        defer { withExtendedLifetime(claim) {} }
        let grant = try DeviceGrant(request)
        let image = try ImageLocator(request).locate()
        let plan = try LaunchPlanner(request, image).plan(grant, gpus: grant.gpus)
        let recorder = RunRecorder(request, image, plan, words: words, command: request.options.command)
        let scratch = try enter(plan, over: image)
        recorder?.publish()
        try begin(plan.process, image.leases + [scratch].compactMap { $0 })
    }

    /// Makes the container and stands in it from then on. Returns the lease of its scratch directory, if that is on disk.
    private func enter(_ plan: LaunchPlan, over image: LocatedImage) throws(Failure) -> DescriptorBox? {
        try plan.enforceCgroupPolicy()
        var interpreter = PlanInterpreter(plan: plan, mountPoint: image.mountPoint)
        if plan.process.firstProcess != nil { interpreter.broadcaster = SlurmSignals.broadcaster(request.caller) }
        interpreter.label = ContainerLabel(
            launch: ContainerLabel.newLaunch(), step: request.step, name: request.options.name ?? "",
            filter: ContainerLabel.filterNames(plan.process.filters), digest: image.image.digest, image: image.image.name)
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in try interpreter.enter() }
        request.tell(interpreter.notes)
        return interpreter.scratchLease
    }

    /// Released by execve(2), when others find the container by its name.
    private func claimName() throws(Failure) -> NameClaim? {
        guard let name = request.options.name else { return nil }
        return try NameClaim(name, step: request.step, storePath: request.settings.storePath, deadline: request.deadline)
    }
}

// MARK: Tasks of a step

extension RunCommand {
    /// One of several tasks on this node: one container for all of them.
    private func joinStep(_ task: SlurmTask) throws(Failure) -> Never {
        let grant = try DeviceGrant(request)
        let own = StepRendezvous.Arrival(localID: task.localID, grantedNodes: grant.ownNodes)
        let key =
            "\(task.jobID).\(task.stepID).\(task.nodeID)/\(request.options.containerKey(request.caller.variable))"
        let places = Self.meetingPlaces(home: request.caller.variable("HOME") ?? "/")
        let role = try mapError(to: Failure.rendezvous) { () throws(RendezvousError) in
            try StepRendezvous.arrive(in: places, for: key, own)
        }
        switch consume role {
        case .builder(var builder):
            do throws(Failure) {
                try build(grant, for: &builder, own, tasks: task.localTasks)
            } catch {
                builder.fail(localID: task.localID)
                throw error
            }
        case .member(let container):
            // The variables and the command are each task's own, and so is their part of the plan.
            let image = try ImageLocator(request).find()
            let (shared, gpus) = grant.shared(with: [container.grantedNodes, own.grantedNodes])
            let plan = try LaunchPlanner(request, image).plan(shared, gpus: gpus)
            try plan.enforceCgroupPolicy()
            try mapError(to: Failure.sandbox) { () throws(SandboxError) in try container.join() }
            try begin(plan.process, [container.lease].compactMap { $0 })
        }
    }

    private func build(
        _ grant: DeviceGrant, for builder: inout StepRendezvous.Builder, _ own: StepRendezvous.Arrival, tasks: Int
    ) throws(Failure) -> Never {
        let claim = try claimName()
        defer { withExtendedLifetime(claim) {} }
        let image = try ImageLocator(request).locate()
        let wait = request.configuration.joinWait
        let arrivals = try mapError(to: Failure.rendezvous) { () throws(RendezvousError) in
            try builder.gather(tasks: tasks, own: own, limitMilliseconds: wait)
        }
        let (shared, gpus) = grant.shared(with: arrivals.map(\.grantedNodes))
        let plan = try LaunchPlanner(request, image).plan(shared, gpus: gpus)
        // Before the container's /proc takes the place of the host's: it may be anything.
        let namespaces = try mapError(to: Failure.system) { () throws(SystemError) in try Namespaces.own() }
        let recorder = RunRecorder(request, image, plan, words: words, command: request.options.command)
        let scratch = try enter(plan, over: image)
        let container = try mapError(to: Failure.system) { () throws(SystemError) in
            var container = try JoinSpec(
                standingIn: plan.namespaces, namespaces, leases: image.leases + [scratch].compactMap { $0 })
            container.grantedNodes = arrivals.flatMap(\.grantedNodes)
            return container
        }
        try mapError(to: Failure.rendezvous) { () throws(RendezvousError) in try builder.share(container) }
        recorder?.publish()
        try begin(plan.process, [container.lease].compactMap { $0 })
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
}

// MARK: Becoming the command

extension RunCommand {
    /// Executes the command. It inherits the leases, so that no collection removes its files.
    private func begin(_ process: ProcessPlan, _ leases: [DescriptorBox]) throws(Failure) -> Never {
        var process = process
        process.dropVariables(exists: ContainerPaths.exists)
        if isShell {
            guard let shell = ContainerShell.path(preferring: request.caller.variable("SHELL")) else {
                let image = request.options.image
                throw .report(
                    Report(
                        "the image \(image) has no shell", hint: "run its command: berth run \(image)", status: .notFound))
            }
            process.arguments = [shell]
        }
        try mapError(to: Failure.system) { () throws(SystemError) in
            try descriptors.handOn()
            for lease in try Self.inFewNumbers(leases) {
                try lease.descriptor.duplicate().inheritAcrossExec()
            }
        }
        if request.options.verbose {
            if request.speaks, let note = process.noteOfDroppedVariables(option: "-e NAME") { Terminal.note(note) }
            let elapsed = (Clock.monotonicNanoseconds - started) / 1000
            Terminal.note(
                "starting \(process.arguments[0]) after \(elapsed / 1000).\(String(elapsed % 1000 + 1000).dropFirst()) ms"
            )
        }
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in try process.start { request.tell([$0]) } }
    }

    /// An image may have hundreds of layers, each with a lease of its own: too many numbers for the command to spare.
    private static func inFewNumbers(_ leases: [DescriptorBox]) throws(SystemError) -> [DescriptorBox] {
        let most = min(UInt64(ContainerProcess.mostLeases), try StartingState.callersValue(of: .openFiles).soft / 4)
        return leases.count < 2 || UInt64(leases.count) <= most ? leases : [try LocalSockets.bundle(leases)]
    }
}

enum ContainerPaths {
    /// For a process that stands in the container. What cannot be looked at is there.
    static func exists(_ path: String) -> Bool {
        do throws(SystemError) {
            _ = try FileStatus(of: path)
            return true
        } catch {
            return !error.isAbsence && error.errno != Errno.ENAMETOOLONG && error.errno != Errno.ELOOP
        }
    }
}
