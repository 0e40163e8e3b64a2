package import Devices
internal import LinuxKernel

/// What is to be enforced: by cgroups `--enforce` and `enforce =` of a site, by the site alone its seccomp profile.
package struct EnforcementRequest: Equatable, Sendable {
    package var devices = false
    package var memory = false
    package var cpus = false
    package var processes: Int?
    /// The profile of `seccomp =`, which no option leaves out: `SiteConfiguration.mandatorySeccomp()`.
    package var seccomp = false

    package static let nothing = EnforcementRequest()
    package init() {}

    private static func forms(_ isOption: Bool) -> String {
        "devices, memory, cpu\(isOption ? "" : ", seccomp") or pids=COUNT, separated by commas, or none"
    }

    package init(parsing text: String, option: String = "--enforce") throws(OptionError) {
        let words = text.split(whereSeparator: { $0 == "," || $0 == " " || $0 == "\t" })
        let isOption = option.hasPrefix("-")
        func bad() -> OptionError { .badValue(option: option, value: text, expected: Self.forms(isOption)) }
        guard !words.isEmpty else { throw bad() }
        for word in words {
            switch word {
            case "none": guard words.count == 1 else { throw bad() }
            case "devices": devices = true
            case "memory": memory = true
            case "cpu": cpus = true
            case "seccomp" where !isOption: seccomp = true
            default:
                guard word.hasPrefix("pids="), let count = Int(word.dropFirst(5)), count > 0 else { throw bad() }
                processes = count
            }
        }
    }
}

/// The cgroup that the command runs in: part of a plan where Berth has the privilege to make one.
package struct CgroupPolicy: Equatable, Sendable {
    /// Nodes of the host that may be opened besides the standard ones; `nil` where devices are left alone.
    package var devices: [DeviceNode]?
    /// Those of `devices` that, where they are directories, stand for every node in them.
    package var deviceDirectories: [DeviceNode] = []
    /// Bytes.
    package var memory: UInt64?
    package var cpus: Int?
    package var processes: Int?
    /// Only where Slurm made a cgroup for this task alone: nobody asked, and moving into a new one costs milliseconds.
    package var onlyInPlace: Bool
    package var origin: Origin

    package init(
        devices: [DeviceNode]? = nil, memory: UInt64? = nil, cpus: Int? = nil, processes: Int? = nil,
        onlyInPlace: Bool = false, origin: Origin
    ) {
        self.devices = devices
        self.memory = memory
        self.cpus = cpus
        self.processes = processes
        self.onlyInPlace = onlyInPlace
        self.origin = origin
    }
}

extension CgroupPolicy {
    /// `nil` where there is nothing to enforce, or no privilege to.
    init?(
        options: LaunchOptions, site: SitePolicy, host: HostFacts, steps: [PlannedStep]
    ) throws(PlanError) {
        if options.enforcement != nil, options.enforcement != .nothing, !host.isRoot { throw .enforcementNeedsRoot }
        guard host.isRoot else { return nil }
        let wanted: EnforcementRequest
        let origin: Origin
        var onlyInPlace = false
        if let enforcement = options.enforcement {
            (wanted, origin) = (enforcement, .option("--enforce"))
        } else if let enforcement = site.enforcement {
            (wanted, origin) = (enforcement.request, .site(enforcement.place))
        } else {
            guard host.variable("SLURM_PROCID") != nil else { return nil }
            var devices = EnforcementRequest()
            devices.devices = true
            (wanted, origin, onlyInPlace) = (devices, .berth, true)
        }
        guard wanted != .nothing else { return nil }
        self.init(
            devices: wanted.devices ? Self.nodes(steps) : nil,
            memory: wanted.memory
                ? host.memoryLimit ?? Self.memory("SLURM_MEM_PER_CPU", times: "SLURM_CPUS_ON_NODE", host)
                    ?? Self.memory("SLURM_MEM_PER_GPU", times: "SLURM_GPUS_ON_NODE", host) : nil,
            cpus: wanted.cpus ? Self.cpus(host) : nil, processes: wanted.processes, onlyInPlace: onlyInPlace,
            origin: origin)
        if devices != nil { deviceDirectories = Self.directories(steps) }
        if devices == nil, memory == nil, cpus == nil, processes == nil { return nil }
    }

    /// Whatever of /dev is shown inside; of those, the interpreter takes what proves to be device nodes.
    private static func nodes(_ steps: [PlannedStep]) -> [DeviceNode] {
        steps.compactMap { step in
            // Berth's own, such as /dev/shm, are optional directories.
            guard case .bind(let bind) = step.action, !bind.recursive || !bind.optional else { return nil }
            return bind.node
        }
    }

    /// A directory says nothing of what is meant by it, unless it was given with --device.
    private static func directories(_ steps: [PlannedStep]) -> [DeviceNode] {
        steps.compactMap { step in
            guard case .bind(let bind) = step.action, bind.device else { return nil }
            return bind.node
        }
    }

    private static func number(_ name: String, _ host: HostFacts) -> Int? {
        host.variable(name).flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
    }

    /// What this task was given, or, where Slurm does not say, what the job has on this node.
    private static func cpus(_ host: HostFacts) -> Int? {
        number("SLURM_CPUS_PER_TASK", host) ?? number("SLURM_CPUS_ON_NODE", host)
    }

    /// Mebibytes of each, in bytes.
    private static func memory(_ each: String, times count: String, _ host: HostFacts) -> UInt64? {
        guard let mebibytes = number(each, host), let count = number(count, host) else { return nil }
        let (total, overflow) = UInt64(mebibytes).multipliedReportingOverflow(by: UInt64(count))
        return overflow || total > UInt64.max >> 20 ? nil : total << 20
    }
}
