internal import Devices
package import LaunchPlanning
package import LinuxKernel

/// What kept a policy from being enforced.
package enum CgroupPolicyError: Error, Equatable, Sendable {
    /// No hierarchy is mounted that has this controller.
    case noHierarchy(controller: String)
    /// Version 2 does not offer the controller below this cgroup.
    case controllerMissing(String, cgroup: String)
    /// About to do this.
    case system(controller: String, SystemError)
}

/// Puts a process into the cgroups that a plan asks for.
///
/// Where Slurm made a cgroup for this task alone, that one is tightened: Slurm removes it, and nothing stays. Elsewhere
/// a new one is made beside, `berth-…`. It can not be removed by a launcher that becomes the command, so each launch
/// removes those of earlier ones that are empty: the kernel refuses to remove one in which anything runs.
package struct CgroupEnforcer {
    let cgroupPolicy: CgroupPolicy
    let membership: CgroupMembership
    let isOfOneTask: (String) -> Bool

    /// - Parameter isOfOneTask: Whether the cgroup of this path was made for this process' task and goes with it.
    package init(
        _ cgroupPolicy: CgroupPolicy, _ membership: CgroupMembership, isOfOneTask: @escaping (String) -> Bool
    ) {
        self.cgroupPolicy = cgroupPolicy
        self.membership = membership
        self.isOfOneTask = isOfOneTask
    }

    /// What is written where, in one cgroup.
    package struct Part: Equatable, Sendable {
        package let place: CgroupMembership.Place
        package let isUnified: Bool
        /// Tightened as it is rather than made anew.
        package let inPlace: Bool
        package var controllers: [String] = []
    }

    /// The cgroups that take part: one of version 2, or several of version 1.
    package func parts() throws(CgroupPolicyError) -> [Part] {
        var parts: [Part] = []
        for controller in wanted {
            guard let (place, isUnified) = place(for: controller) else {
                if cgroupPolicy.onlyInPlace { continue }
                throw .noHierarchy(controller: controller)
            }
            let inPlace = isOfOneTask(place.path)
            if cgroupPolicy.onlyInPlace, !inPlace { continue }
            if let index = parts.firstIndex(where: { $0.place == place }) {
                parts[index].controllers.append(controller)
            } else {
                parts.append(
                    Part(place: place, isUnified: isUnified, inPlace: inPlace, controllers: [controller]))
            }
        }
        return parts
    }

    private var wanted: [String] {
        var wanted: [String] = []
        if cgroupPolicy.devices != nil { wanted.append("devices") }
        if cgroupPolicy.memory != nil { wanted.append("memory") }
        if cgroupPolicy.cpus != nil { wanted.append("cpu") }
        if cgroupPolicy.processes != nil { wanted.append("pids") }
        return wanted
    }

    private func place(for controller: String) -> (CgroupMembership.Place, isUnified: Bool)? {
        let separate = membership.place(of: controller)
        guard controller == "devices" else {
            // A controller is in one hierarchy only.
            return separate.map { ($0, false) } ?? membership.unified.map { ($0, true) }
        }
        // Both versions are asked when a node is opened: where Slurm's cgroup is, nothing has to be made.
        if let separate, isOfOneTask(separate.path) { return (separate, false) }
        return membership.unified.map { ($0, true) } ?? separate.map { ($0, false) }
    }

    /// - Parameter process: Whom to move where a cgroup is new; 0 is this process.
    package func apply(to process: Int32 = 0) throws(CgroupPolicyError) {
        for part in try parts() {
            do throws(SystemError) {
                let own = try OwnedFileDescriptor(opening: part.place.directory, .readOnly | .directory)
                if part.inPlace {
                    if part.isUnified { try handDown(part) }
                    try fill(own, part)
                } else {
                    try enterNew(below: own, part, process)
                }
            } catch {
                if part.isUnified, error.errno == Errno.ENOENT, let name = error.controllerOfFile {
                    throw .controllerMissing(name, cgroup: part.place.path)
                }
                throw .system(controller: part.controllers[0], error)
            }
        }
    }

    /// Slurm hands its cgroups of version 2 the controllers that it uses itself, and pids is not among them. Those above
    /// a task's are Slurm's up to its scope, `SCOPE/job_7/step_0/user/task_0`, and like that one go with the job.
    private func handDown(_ part: Part) throws(SystemError) {
        for controller in part.controllers where controller != "devices" {
            var levels = 0
            while levels < 4, try !Self.has(controller, above(part, levels)) { levels += 1 }
            // Where not even the scope has it, the controller's own file will be missing.
            for level in stride(from: levels, to: 0, by: -1) {
                let parent = try OwnedFileDescriptor(opening: above(part, level), .readOnly | .directory)
                do throws(SystemError) {
                    try parent.open("cgroup.subtree_control", .writeOnly).writeAll(Array("+\(controller)".utf8))
                } catch { if error.errno != Errno.ENOENT { throw error } }  // this one does not have it either
            }
        }
    }

    private func above(_ part: Part, _ levels: Int) -> String {
        part.place.directory + String(repeating: "/..", count: levels)
    }

    private static func has(_ controller: String, _ directory: String) throws(SystemError) -> Bool {
        try contents(of: directory + "/cgroup.controllers", limit: 4096)
            .split(whereSeparator: { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") })
            .contains { $0.elementsEqual(controller.utf8) }
    }

    private func enterNew(
        below own: borrowing OwnedFileDescriptor, _ part: Part, _ process: Int32
    ) throws(SystemError) {
        Self.sweep(own)
        if part.isUnified {
            for controller in part.controllers where controller != "devices" {
                do throws(SystemError) {
                    try own.open("cgroup.subtree_control", .writeOnly).writeAll(Array("+\(controller)".utf8))
                } catch {
                    // EBUSY: processes live in this one, and it is not the root. What is missing then shows below.
                    if ![Errno.EBUSY, Errno.EINVAL, Errno.ENOENT].contains(error.errno) { throw error }
                }
            }
        }
        var attempts = 0
        while true {
            let name = "berth-" + (try Random.hexadecimal(bytes: 8))
            try own.makeDirectory(name, mode: 0o755)
            do throws(SystemError) {
                let new = try own.open(name, .readOnly | .directory)
                try fill(new, part)
                return try Self.write("\(process)", to: "cgroup.procs", new)
            } catch {
                // Gone already: another launch took it for one that is left over.
                var isGone = false
                do throws(SystemError) { try own.removeDirectory(name) } catch { isGone = error.errno == Errno.ENOENT }
                attempts += 1
                guard isGone, attempts < 100 else { throw error }
            }
        }
    }

    /// `berth-` and sixteen hexadecimal digits.
    private static func isOurs(_ name: [UInt8]) -> Bool {
        let digits = name.dropFirst(6)
        return name.starts(with: "berth-".utf8) && digits.count == 16
            && digits.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }

    private static func sweep(_ own: borrowing OwnedFileDescriptor) {
        guard let names = try? own.entries() else { return }  // tidying: the next launch tries again
        for name in names where isOurs(name) {
            try? own.removeDirectory(name)  // EBUSY: somebody lives there
        }
    }

    private func fill(_ cgroup: borrowing OwnedFileDescriptor, _ part: Part) throws(SystemError) {
        for controller in part.controllers {
            switch controller {
            case "devices": try fill(cgroup, rules: try deviceRules(), part)
            case "memory":
                let file = part.isUnified ? "memory.max" : "memory.limit_in_bytes"
                try Self.write("\(cgroupPolicy.memory ?? 0)", to: file, cgroup)
            case "cpu":
                let quota = (cgroupPolicy.cpus ?? 0) * 100_000
                if part.isUnified {
                    try Self.write("\(quota) 100000", to: "cpu.max", cgroup)
                } else {
                    try Self.write("100000", to: "cpu.cfs_period_us", cgroup)
                    try Self.write("\(quota)", to: "cpu.cfs_quota_us", cgroup)
                }
            default: try Self.write("\(cgroupPolicy.processes ?? 0)", to: "pids.max", cgroup)
            }
        }
    }

    private func fill(
        _ cgroup: borrowing OwnedFileDescriptor, rules: [DeviceRule], _ part: Part
    ) throws(SystemError) {
        if part.isUnified {
            let program = try DevicePrograms.load(DeviceProgram.assemble(rules))
            return try DevicePrograms.attach(program, to: cgroup)
        }
        try Self.write("a", to: "devices.deny", cgroup)
        for rule in rules { try Self.write(rule.line, to: "devices.allow", cgroup) }
    }

    /// The standard nodes, and what proves to be a node of those named. What is refused already stays so: in a cgroup
    /// that several tasks' grants are known in, each keeps its own.
    package func deviceRules() throws(SystemError) -> [DeviceRule] {
        var rules = DeviceRule.standard
        for device in cgroupPolicy.devices ?? [] {
            for node in cgroupPolicy.deviceDirectories.contains(device) ? try Self.nodes(at: device) : [device] {
                guard let number = node.number, !OwnedFileDescriptor.isRefusedByCgroup(node.path) else { continue }
                let rule = DeviceRule(number)
                if !rules.contains(rule) { rules.append(rule) }
            }
        }
        return rules
    }

    /// Those in a directory of nodes, or the node itself.
    private static func nodes(at place: DeviceNode) throws(SystemError) -> [DeviceNode] {
        guard let names = try OwnedFileDescriptor.entries(of: place.path) else { return [place] }
        return names.map { DeviceNode(place.path + "/" + $0.displayPath) }
    }

    private static func write(
        _ text: String, to name: String, _ cgroup: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        do throws(SystemError) { try cgroup.open(name, .writeOnly).writeAll(Array(text.utf8)) } catch {
            throw SystemError(call: error.call, errno: error.errno, subject: name)
        }
    }
}

extension SystemError {
    /// `memory` of `memory.max`; `nil` for files that every cgroup has.
    fileprivate var controllerOfFile: String? {
        guard let name = subject.split(separator: ".").first, ["memory", "cpu", "pids"].contains(name) else {
            return nil
        }
        return String(name)
    }
}
