internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import Store

/// `berth slurm-prepare`, for the Slurm plugin: the way of `berth run` up to the command. Then it hands the container that
/// it stands in to each of the step's tasks on this node, and ends.
struct PrepareCommand {
    let plugin: PluginRequest
    /// `JOB.STEP`.
    let step: String
    let tasks: WaitingTasks
    /// The container's root, too, for the tasks that are to save it.
    let keepsRoot: Bool
    let entrypoint: EntrypointUse
    /// Whether to say how long each phase took.
    let reports: Bool
    /// Whether the user asked for mounts, which a running container does not get.
    let hasMounts: Bool
    /// The tasks are those of Slurm's PMIx plugin.
    let usesPMIx: Bool
    /// The task is the script of a batch job.
    private let isBatch: Bool

    static let timeoutHint = "the site limits it with start_timeout= in plugstack.conf"

    private static let names =
        PluginRequest.names + [
            "--socket", "--tasks", "--step", "--keep-root", "--entrypoint", "--site-entrypoint", "--entrypoint-log", "--report",
            "--gather",
        ]

    static func carryOut(_ words: [String]) -> Never {
        var connection: DescriptorBox?
        do throws(Failure) {
            let arguments = try InternalArguments(words, verb: "slurm-prepare", names)
            let box = DescriptorBox(try arguments.descriptor("--socket"))
            connection = box
            let command = try PrepareCommand(arguments, box)
            try command.carryOut()
        } catch {
            // Said before the tasks hear of it: they end then, and slurmstepd ends what still prepares, words and all.
            let status = PluginFailure.say(error)
            // Not to be waited for: where the queue is full there are containers in it.
            try? connection?.descriptor.send(WaitingTasks.failure, waits: false)  // all have ended
            Processes.exit(status)
        }
    }

    private init(_ arguments: InternalArguments, _ connection: DescriptorBox) throws(Failure) {
        plugin = try PluginRequest(arguments)
        step = arguments.value("--step") ?? ""
        keepsRoot = arguments.has("--keep-root")
        let usesEntrypoint =
            arguments.value("--entrypoint").map { $0 == "yes" } ?? plugin.usesEntrypoint ?? arguments.has("--site-entrypoint")
        entrypoint = !usesEntrypoint ? .ignored : arguments.has("--entrypoint-log") ? .shown : .quiet
        reports = arguments.has("--report")
        hasMounts = arguments.has("--mounts")
        isBatch = arguments.has("--script")
        usesPMIx = !isBatch && (plugin.caller.variable("SLURM_MPI_TYPE") ?? "").hasPrefix("pmix")
        tasks = WaitingTasks(
            connection, tasks: max(1, min(arguments.value("--tasks").flatMap { Int($0) } ?? 1, 65_536)),
            gathers: arguments.has("--gather"),
            hasPMIx: usesPMIx, deadline: plugin.deadline)
    }

    private func carryOut() throws(Failure) -> Never {
        let container =
            if let name = plugin.name { try container(named: name) } else {
                try build(try plugin.request(image: plugin.options.image), in: nil)
            }
        try tasks.hand(container)
        Processes.exit(0)
    }

    /// Builds a container, over the files of a named one if one is given, and over its mount where that runs already.
    ///
    /// - Parameter located: Its image, where that was needed before.
    func build(
        _ request: LaunchRequest, in container: NamedContainer?, beside running: RunningContainer? = nil,
        of located: LocatedImage? = nil
    ) throws(Failure) -> JoinSpec {
        var phases = PhaseTimes(since: plugin.started)
        let image =
            if let located { located } else { try ImageLocator(request).locate(digest: container?.digest ?? "") }
        phases.end("image")
        var request = request
        if tasks.expected > 0 {
            request = request.completed(by: try tasks.reports())
            phases.end("tasks")
        }
        let grant = try DeviceGrant(request)
        let planner = LaunchPlanner(request, image)
        let selector = planner.selector(grant)
        let selection = try selector.select(gpus: grant.gpus)
        var plan = try planner.plan(grant, selection)
        try requireOwnProc(plan)
        let namespaces = plan.namespaces
        var root: DescriptorBox?
        if let running {
            root = try rootCopy(of: running)
            try join(running, &plan)
        } else if let container {
            try keep(&plan, in: container)
        }
        let launcher = entrypoint == .ignored ? nil : try EntrypointLauncher(&plan)
        var recorded = plan
        if !plugin.command.isEmpty { recorded.process.arguments = plugin.command }
        let recorder = RunRecorder(request, image, recorded, words: plugin.words, command: plugin.command)
        var interpreter = PlanInterpreter(plan: plan, mountPoint: image.mountPoint)
        interpreter.rootCopy = root
        interpreter.label = ContainerLabel(
            launch: ContainerLabel.newLaunch(), step: step, name: plugin.name?.name ?? "",
            files: try container.map { (kept) throws(Failure) in try kept.identity() } ?? "",
            filter: ContainerLabel.filterNames(plan.process.filters), digest: image.image.digest, image: image.image.name)
        // Before the container's /proc takes the place of the host's: it may be anything.
        let own = try mapError(to: Failure.system) { () throws(SystemError) in try Namespaces.own() }
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in try interpreter.enter() }
        request.tell(interpreter.notes)
        recorder?.publish()
        phases.end("set-up")
        let leases = image.leases + [interpreter.scratchLease, container?.lease].compactMap { $0 }
        var directory = try enterWorkingDirectory(plan.process)
        drop(&plan.process)
        if let launcher {
            let words = plugin.options.entrypoint.map { $0.isEmpty ? [] : [$0] } ?? image.image.entrypoint
            if !words.isEmpty {
                // This process only hands the container on from here.
                var process = plan.process
                process.filters.insert(contentsOf: [try request.mandatoryFilter()].compactMap { $0 }, at: 0)
                try mapError(to: Failure.sandbox) { [process] () throws(SandboxError) in try process.restrict() }
                let before = plan.process.workingDirectory
                try run(words, launcher, &plan.process, deadline: request.deadline)
                if plan.process.workingDirectory != before { directory = try enterWorkingDirectory(plan.process) }
                phases.end("entrypoint")
            }
        }
        var spec = try mapError(to: Failure.system) { () throws(SystemError) in
            var spec = try JoinSpec(standingIn: namespaces, own, leases: leases)
            if keepsRoot { spec.root = DescriptorBox(try OwnedFileDescriptor(opening: "/", .path | .directory)) }
            return spec
        }
        spec.directory = directory
        spec.renumber(selection, grant.devices.vendor)
        spec.add(plan.process, outside: request.caller.environment, isRoot: request.caller.isRoot)
        spec.signalsReachEveryProcess = signalsReachEveryProcess(isApart: plan.process.firstProcess != nil)
        if selector.wantsPyTorch { spec.addRanks(chosen: request.options.variables) }
        if usesPMIx { spec.addPMIx() }
        if reports { Terminal.note("container ready after " + phases.text) }
        return spec
    }

    /// Each task that is process 1 mounts its /proc over the container's, and would hide what is mounted there.
    private func requireOwnProc(_ plan: LaunchPlan) throws(Failure) {
        guard plan.process.firstProcess != nil else { return }
        for step in plan.steps where step.origin != .berth && step.origin != .host {
            let target: String
            switch step.action {
            case .bind(let bind): target = bind.target
            case .mount(_, let path, _, _), .unmount(let path): target = path
            default: continue
            }
            let path = absolutePath(target, from: "/")
            guard path == "/proc" || path.hasPrefix("/proc/") else { continue }
            throw .report(
                Report(
                    "cannot create a PID namespace for each task: its /proc would hide \(step.action.summary) [\(step.origin.summary)]",
                    hint: "leave out the mount, or --unshare=pid and --init"))
        }
    }

    /// Of interest only where a process of Slurm's stays outside and passes signals on. Of a batch script Slurm signals that
    /// process alone.
    ///
    /// - Parameter isApart: Whether the command is another process than the task's, in a PID namespace.
    func signalsReachEveryProcess(isApart: Bool) -> Bool {
        (isApart || keepsRoot) && !isBatch && SlurmSignals.reachEveryProcess(plugin.caller)
    }

    /// What would name something that is not there, now that this process stands inside.
    func drop(_ process: inout ProcessPlan) {
        process.dropVariables(exists: ContainerPaths.exists)
        if reports, let note = process.noteOfDroppedVariables(option: "--container-env=NAME") {
            Terminal.note(note)
        }
    }

    /// Entered here so that one message tells of a directory that is missing, and not one for each task.
    func enterWorkingDirectory(_ process: ProcessPlan) throws(Failure) -> DescriptorBox {
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in
            try process.enterWorkingDirectory { Terminal.say(Report($0.text)) }
        }
        return try mapError(to: Failure.system) { () throws(SystemError) in
            DescriptorBox(try OwnedFileDescriptor(opening: ".", .path | .directory))
        }
    }
}

/// How long each phase of a preparation took.
private struct PhaseTimes {
    private let start: UInt64
    private var last: UInt64
    private var parts: [String] = []

    /// - Parameter start: In `Clock.monotonicNanoseconds`.
    init(since start: UInt64) { (self.start, last) = (start, start) }

    mutating func end(_ phase: String) {
        let now = Clock.monotonicNanoseconds
        parts.append("\(phase) \(Self.milliseconds(now - last))")
        last = now
    }

    var text: String {
        Self.milliseconds(Clock.monotonicNanoseconds - start) + ": " + parts.joined(separator: ", ")
    }

    private static func milliseconds(_ duration: UInt64) -> String {
        "\(duration / 1_000_000).\(duration / 100_000 % 10) ms"
    }
}
