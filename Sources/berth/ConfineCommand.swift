internal import Allocation
internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig

/// `berth confine PID|parent [limits] [filter] [memory=BYTES] [cpus=COUNT]`: what the Slurm plugin's privileged hook has done
/// for a task before the user's command starts. docs/reference/commands/confine.md.
///
/// Started by slurmstepd as root. Nothing of the user's has a say: no variable, no file but the site's, no path.
struct ConfineCommand {
    let process: Int32
    /// A parent that is gone has its number no more.
    let isParent: Bool
    /// The limits, and nothing else.
    var onlyLimits = false
    /// Descriptor 3 takes the seccomp filter that the task is to load.
    var handsFilter = false
    var memory: UInt64?
    var cpus: Int?

    init(_ arguments: [String]) throws(Failure) {
        func usage(_ argument: String) -> Failure {
            .report(
                Report(
                    "confine does not take \"\(argument)\"",
                    hint: "berth confine PID|parent [limits] [filter] [memory=BYTES] [cpus=COUNT]"))
        }
        isParent = arguments.first == "parent"
        guard let first = arguments.first, let number = isParent ? Processes.parentID : Int32(first), number > 1
        else { throw usage(arguments.first ?? "") }
        process = number
        for argument in arguments.dropFirst() {
            if argument == "limits" {
                onlyLimits = true
                continue
            }
            if argument == "filter" {
                handsFilter = true
                continue
            }
            let parts = argument.split(separator: "=", maxSplits: 1)
            switch (parts.first, parts.last.flatMap { UInt64($0) }) {
            case ("memory", let bytes?) where bytes > 0: memory = bytes
            case ("cpus", let count?) where (1...65536).contains(count): cpus = Int(count)
            default: throw usage(argument)
            }
        }
    }

    func carryOut() throws(Failure) -> Never {
        guard Identity.isRoot else {
            throw .report(Report("confine is for root", hint: "the Slurm plugin calls it from slurmstepd"))
        }
        let configuration = try mapError(to: Failure.configuration) { () throws(ConfigurationError) in
            try SiteConfiguration.readSite()
        }
        let site = try SitePolicy(configuration)
        try raiseLimits(site)
        if !onlyLimits, let wanted = site.mandatorySeccomp { try hand(wanted, configuration) }
        if !onlyLimits, let cgroupPolicy = try wanted(site, configuration) {
            let membership = try settled()
            try mapError(to: Failure.system) { () throws(SystemError) in try join(membership) }
            var cgroupPolicy = cgroupPolicy
            // Found by asking the kernel, and so only from within the task's cgroup.
            if cgroupPolicy.devices != nil {
                let devices = try mapError(to: Failure.system) { () throws(SystemError) in try HostDevices() }
                cgroupPolicy.devices =
                    devices.gpus + devices.gpuControl + devices.fabric
                    + configuration.allowedDevices.map { DeviceNode($0) }
            }
            let enforcer = CgroupEnforcer(cgroupPolicy, membership, isOfOneTask: SlurmCgroup.isTask)
            try mapError(to: Failure.cgroupPolicy) { () throws(CgroupPolicyError) in try enforcer.apply(to: process) }
        }
        Processes.exit(0)
    }

    /// The filter of the profile that the site enforces, as JoinSpec has filters. The task loads it, as it may refuse what the
    /// task needs to join its container. The image tool compiles a profile as root, here, as does `berth run` of root: no record
    /// that another user could have written counts.
    private func hand(_ wanted: PlacedProfile, _ configuration: SiteConfiguration) throws(Failure) {
        guard handsFilter else {
            throw .report(
                Report(
                    "berth.conf enforces a seccomp profile, which this hook does not load",
                    hint: "install berth and its Slurm plugin from one build, or remove seccomp from `enforce =` [\(wanted.place)]"))
        }
        let system = configuration.systemStore.flatMap { $0.owner == nil ? $0.path : nil }
        // No variable and no home directory: root's own store.
        let store = system ?? SiteConfiguration().storePath(
            option: nil, environment: { _ in nil }, userID: 0, isRoot: true, accountHome: nil)
        let source = SeccompProfileSource(
            storePath: store, owner: nil, userID: 0, environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], capabilities: [])
        let filter = try source.filter(wanted.profile, .site(wanted.place))
        try mapError(to: Failure.system) { () throws(SystemError) in
            try OwnedFileDescriptor(inherited: 3).writeAll(
                Array(JoinSpec.words(filter: filter.flags, filter.instructions).utf8))
        }
    }

    /// Slurm hands tasks slurmd's hard limits; the soft ones it sets after this.
    private func raiseLimits(_ site: SitePolicy) throws(Failure) {
        let target = OtherProcess(Int(process))
        for wanted in site.limits {
            try mapError(to: Failure.system) { () throws(SystemError) in
                let limit = wanted.limit.limit
                guard let now = target?.limit(limit) else {
                    throw SystemError(call: "open", errno: Errno.ENOENT, subject: "/proc/\(process)/limits")
                }
                let hard = max(now.hard, wanted.limit.hard ?? wanted.limit.soft)
                let raised = LimitValues(soft: max(now.soft, wanted.limit.soft), hard: hard)
                if raised == now { return }
                do throws(SystemError) { try limit.set(raised, of: process) } catch {
                    // A default and no demand, as everywhere: without CAP_SYS_RESOURCE slurmd's own limits stay.
                    if error.errno != Errno.EPERM { throw error }
                }
            }
        }
    }

    private func wanted(_ site: SitePolicy, _ configuration: SiteConfiguration) throws(Failure) -> CgroupPolicy? {
        guard let enforcement = site.enforcement else { return nil }
        let request = enforcement.request
        let cgroupPolicy = CgroupPolicy(
            devices: request.devices ? [] : nil, memory: request.memory ? memory : nil,
            cpus: request.cpus ? cpus : nil, processes: request.processes, origin: .site(enforcement.place))
        let isEmpty =
            cgroupPolicy.devices == nil && cgroupPolicy.memory == nil && cgroupPolicy.cpus == nil
            && cgroupPolicy.processes == nil
        return isEmpty ? nil : cgroupPolicy
    }

    /// Slurm moves a task into its cgroup after it has forked it, and this may run meanwhile.
    private func settled() throws(Failure) -> CgroupMembership {
        var waited = 0
        while true {
            let membership = try mapError(to: Failure.system) { () throws(SystemError) in
                try CgroupMembership(of: "\(process)")
            }
            let places = membership.separate + [membership.unified].compactMap { $0 }
            if places.contains(where: { SlurmCgroup.isTask($0.path) }) { return membership }
            if isParent, Processes.parentID != process { Processes.exit(0) }  // the task has been cancelled
            guard waited < 5000 else {
                throw .report(
                    Report(
                        "process \(process) is in no cgroup of a Slurm task after 5 s",
                        hint: "enforcement needs TaskPlugin=task/cgroup in slurm.conf"))
            }
            Clock.sleep(milliseconds: 5)
            waited += 5
        }
    }

    private func join(_ membership: CgroupMembership) throws(SystemError) {
        for place in membership.separate + [membership.unified].compactMap({ $0 })
        where SlurmCgroup.isTask(place.path) {
            try OwnedFileDescriptor(opening: place.directory + "/cgroup.procs", .writeOnly).writeAll(Array("0".utf8))
        }
    }
}
