package import Devices
internal import LinuxKernel

/// Where a variable comes from. One byte, as every launch carries one for each and only `--dry-run` reads them.
package enum VariableSource: UInt8, Sendable {
    case host, berth, image
    /// `--env-file` or `--env`.
    case option
    /// What a CDI specification, the fabric or a profile sets.
    case device
}

/// What `--dry-run` says beyond the plan: read on the host for it alone.
package struct Explanation: Equatable, Sendable {
    /// Who refuses what was not granted.
    package enum DeviceLayer: Equatable, Sendable {
        /// `--enforce`, `enforce =`, or root in a task of Slurm's.
        case berth(version: Int, inPlace: Bool)
        /// A device cgroup that was seen to refuse.
        case cgroup(ofSlurm: Bool, refused: [DeviceNode])
        /// Nothing was refused: all may be granted, or nobody constrains. `configured` is cgroup.conf's word.
        case unseen(inJob: Bool, configured: Bool?)
    }

    package struct CgroupLimit: Equatable, Sendable {
        package let value: String
        package let cgroup: String
        package init(value: String, cgroup: String) {
            self.value = value
            self.cgroup = cgroup
        }
    }

    package var devices: DeviceLayer
    package var memory: CgroupLimit?
    package var cpuQuota: CgroupLimit?
    package var processes: CgroupLimit?
    /// As in cpuset(7): `0-3,8`.
    package var affinity: String
    package var inJob: Bool
    /// By name: `--env`, or `--env-file FILE:LINE`.
    package var variables: [(name: String, place: String)] { didSet { index() } }
    /// Which variables and groups among them come from where.
    package var edits: [DeviceEdit]
    /// The host's own, of which lists of GPUs are counted anew.
    package var environment: [String] { didSet { index() } }
    /// The same by their bytes, as a file and an environment may have 100,000 of them.
    private var places: [[UInt8]: String] = [:]
    private var entries: Set<[UInt8]> = []

    package init(
        devices: DeviceLayer, memory: CgroupLimit? = nil, cpuQuota: CgroupLimit? = nil, processes: CgroupLimit? = nil,
        affinity: String = "", inJob: Bool = false, variables: [(name: String, place: String)] = [],
        edits: [DeviceEdit] = [], environment: [String] = []
    ) {
        self.devices = devices
        self.memory = memory
        self.cpuQuota = cpuQuota
        self.processes = processes
        self.affinity = affinity
        self.inJob = inJob
        self.variables = variables
        self.edits = edits
        self.environment = environment
        index()
    }

    private mutating func index() {
        for variable in variables { places[Array(variable.name.utf8)] = variable.place }
        entries = Set(environment.map { Array($0.utf8) })
    }

    package static func == (one: Explanation, other: Explanation) -> Bool {
        one.devices == other.devices && one.memory == other.memory && one.cpuQuota == other.cpuQuota
            && one.processes == other.processes && one.affinity == other.affinity && one.inJob == other.inJob
            && one.variables.elementsEqual(other.variables, by: ==) && one.edits == other.edits
            && one.environment == other.environment
    }
}

extension Explanation {
    /// In the brackets of a device's line.
    func suffix(_ step: PlannedStep) -> String {
        guard case .bind(let bind) = step.action, let node = bind.node, node.kind != .standard,
            !bind.recursive || bind.device
        else { return "" }
        let mode = "; held by the node's mode and owner"
        switch devices {
        case .berth: return "; held by Berth's cgroup"
        case .cgroup(let ofSlurm, let refused):
            // Schedulers constrain what they grant, and nothing else: that kind of node of which others are refused.
            guard case .grant = step.origin,
                refused.contains(where: { $0.kind == node.kind && $0.vendor == node.vendor })
            else { return mode }
            return ofSlurm ? "; held by Slurm's device cgroup" : "; held by a device cgroup"
        case .unseen: return mode
        }
    }

    func place(of entry: String, _ source: VariableSource?) -> String? {
        switch source {
        case nil: return nil
        case .host: return entries.isEmpty || entries.contains(Array(entry.utf8)) ? "host" : "host, renumbered"
        case .berth: return "berth"
        case .image: return "image"
        case .device: return device(entry)?.summary ?? "device"
        case .option:
            return places[Array(entry.prefix { $0 != "=" }.utf8)] ?? "--env"
        }
    }

    /// The edit that a variable has its value from: the last one that overrules, else the first default.
    private func device(_ entry: String) -> Origin? {
        let name = entry.prefix { $0 != "=" }
        var found: Origin?
        for edit in edits {
            guard case .variable(let other, let isDefault) = edit.action, other.prefix(while: { $0 != "=" }) == name
            else { continue }
            if !isDefault || found == nil { found = Origin(edit.origin) }
        }
        return found
    }

    func place(ofGroup group: UInt32) -> String? {
        edits.first { $0.action == .group(group) }.map { Origin($0.origin).summary }
    }

    func lines(_ plan: LaunchPlan) -> [String] {
        var lines = ["held by"]
        lines.append("     devices: " + deviceSentence)
        if let confined = plan.cgroupPolicy?.memory {
            lines.append("     memory: \(confined) bytes by Berth's cgroup")
        } else {
            lines.append(
                "     memory: " + (memory.map { "\($0.value) bytes by the cgroup \($0.cgroup)" } ?? "not limited"))
        }
        if let confined = plan.cgroupPolicy?.cpus {
            lines.append("     cpus: \(confined) by Berth's cgroup, affinity \(affinity)")
        } else {
            let quota = cpuQuota.map { "\($0.value) by the cgroup \($0.cgroup), " } ?? ""
            lines.append("     cpus: \(quota)affinity \(affinity)")
        }
        if let confined = plan.cgroupPolicy?.processes {
            lines.append("     processes: \(confined) by Berth's cgroup")
        } else {
            lines.append(
                "     processes: " + (processes.map { "\($0.value) by the cgroup \($0.cgroup)" } ?? "not limited"))
        }
        let isOwnUser = plan.steps.contains { step in
            if case .createNamespaces(let kinds, _) = step.action { kinds.contains(.user) } else { false }
        }
        lines.append(
            "     mounts: the mount namespace; "
                + (isOwnUser
                    ? "read-only ones are locked by the user namespace"
                    : plan.process.boundingCapabilities?.contains(21 /* SYS_ADMIN */) == true
                        ? "--cap-add lets the command change them" : "no capability to mount is left"))
        lines.append(
            "     limits: the kernel; hard limits are " + (inJob ? "slurmd's" : "the login's or the service's"))
        return lines
    }

    private var deviceSentence: String {
        switch devices {
        case .berth(let version, let inPlace):
            "Berth's \(version == 2 ? "device program" : "device list") (cgroups version \(version)), in "
                + (inPlace ? "Slurm's cgroup of this task" : "a cgroup of its own")
        case .cgroup(let ofSlurm, let refused):
            (ofSlurm ? "Slurm's device cgroup" : "a device cgroup")
                + "; it refuses \(refused.map(\.path).joined(separator: ", "))"
        case .unseen(let inJob, let configured):
            switch configured {
            case true where inJob:
                "Slurm's device cgroup (ConstrainDevices=yes in cgroup.conf); nothing that is here is refused"
            case false where inJob:
                "modes and owners of the nodes only: ConstrainDevices is not set in Slurm's cgroup.conf"
            default: "modes and owners of the nodes only, as far as can be seen: nothing that is here is refused"
            }
        }
    }
}
