internal import Allocation
internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig

/// From a request, an image and the selected devices to the plan: reads what the planner has to know of the host, for
/// `LaunchPlan` itself is pure.
struct LaunchPlanner {
    let request: LaunchRequest
    let image: LocatedImage

    init(_ request: LaunchRequest, _ image: LocatedImage) { (self.request, self.image) = (request, image) }

    var options: LaunchOptions { request.options }
    private var caller: CallerContext { request.caller }

    func selector(_ grant: DeviceGrant) -> DeviceSelector {
        DeviceSelector(request: request, grant: grant, image: image.image)
    }

    /// - Parameter gpus: Those of all tasks that share the container.
    func plan(_ grant: DeviceGrant, gpus: [DeviceNode]) throws(Failure) -> LaunchPlan {
        try plan(grant, try selector(grant).select(gpus: gpus))
    }

    func plan(_ grant: DeviceGrant, _ selection: DeviceSelection) throws(Failure) -> LaunchPlan {
        var options = options
        options.gpus = selection.request
        let facts = try facts(grant.devices, selection, try request.seccompFilters())
        warnOfLockedMemory(facts)
        var container = image.image
        if options.root, !caller.isRoot {
            container.usesAPT = container.trees.contains(where: Self.hasAPT)
        }
        let (policy, wanted) = (request.policy, options)
        let plan = try mapError(to: Failure.plan) { [container] () throws(PlanError) in
            try LaunchPlan(options: wanted, image: container, site: policy, host: facts)
        }
        if request.speaks {
            if let note = request.noteOfMandatoryFilter { Terminal.note("note: " + note) }
            let isForPlugin = request.audience == .tasksOfPlugin
            for note in plan.notes { Terminal.note(isForPlugin ? Report(note).forPlugin(node: "").summary : note) }
        }
        if !options.requirements.isEmpty || !policy.requirements.isEmpty {
            try requireLibraries(plan, container, facts.requirements)
        }
        return plan
    }

    /// Looked up beneath the tree: a link of the image's must not lead to the host's APT.
    private static func hasAPT(_ tree: String) -> Bool {
        (try? OwnedFileDescriptor(opening: tree, .path | .directory)  // absent: another layer's, or none
            .resolve("/etc/apt/apt.conf.d", .path | .directory)) != nil
    }

    private func facts(
        _ devices: HostDevices, _ selection: DeviceSelection, _ filters: [SeccompFilter]
    ) throws(Failure) -> HostFacts {
        try mapError(to: Failure.system) { () throws(SystemError) in
            var limits: LimitTable = [:]
            for limit in limitsInPlay { limits[limit] = try StartingState.callersValue(of: limit) }
            var facts = HostFacts(
                userID: caller.userID, groupID: caller.groupID,
                isInInitialUserNamespace: caller.isInInitialUserNamespace, accounts: try caller.accounts(),
                environment: selection.environment,
                limits: limits, terminal: Streams.terminal(request.terminal), memoryLimit: memoryLimit,
                grantedGPUs: selection.granted,
                gpuControlNodes: selection.withheld.isEmpty
                    ? devices.gpuControl : devices.gpuControl.filter { !selection.withheld.contains($0) },
                fabricNodes: devices.fabric,
                raisesHardLimits: caller.isRoot && Capabilities.holds(.systemResource),
                requirements: try requirementFacts(devices))
            facts.deviceEdits = selection.edits
            facts.filters = filters
            if request.policy.mountHome, let home = caller.variable("HOME") { facts.hasHome = Self.isUsable(home) }
            if options.slurm { facts.accounts.others = request.slurmAccounts }
            return facts
        }
    }

    private static func isUsable(_ directory: String) -> Bool {
        (try? OwnedFileDescriptor(opening: directory + "/.", .path | .directory)) != nil  // absent or closed: no
    }

    /// What Slurm says, or what the cgroups of a job say where Slurm counts per CPU.
    private var memoryLimit: UInt64? {
        if let limit = request.task?.memoryLimit { return limit }
        return caller.variable("SLURM_JOB_ID") == nil ? nil : CgroupMemory.limit
    }

    /// Those that are raised by themselves or that an option names.
    private var limitsInPlay: [ResourceLimit] {
        var limits: [ResourceLimit] = [.lockedMemory, .stack, .openFiles]
        for wanted in options.limits { limits.append(wanted.limit) }
        for wanted in request.policy.limits { limits.append(wanted.limit.limit) }
        return limits
    }
}

extension LaunchPlan {
    /// Before anything is mounted: inside, cgroups are read-only.
    func enforceCgroupPolicy() throws(Failure) {
        guard let cgroupPolicy else { return }
        let membership = try mapError(to: Failure.system) { () throws(SystemError) in try CgroupMembership() }
        let enforcer = CgroupEnforcer(cgroupPolicy, membership, isOfOneTask: SlurmCgroup.isTask)
        try mapError(to: Failure.cgroupPolicy) { () throws(CgroupPolicyError) in try enforcer.apply() }
    }
}
