internal import Allocation
internal import Devices
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

extension DryRun {
    /// What holds the command to the plan. Asked for by `--dry-run` alone.
    func explanation(_ plan: LaunchPlan, _ edits: [DeviceEdit]) throws(Failure) -> Explanation {
        // Without /proc there are no cgroups to tell of.
        let membership = try? CgroupMembership()
        let limits = membership.map { CgroupLimits($0) }
        let inJob = request.caller.variable("SLURM_JOB_ID") != nil
        func limit(_ found: CgroupLimits.Limit?) -> Explanation.CgroupLimit? {
            found.map { Explanation.CgroupLimit(value: $0.value, cgroup: $0.cgroup) }
        }
        return Explanation(
            devices: try deviceLayer(plan, membership, inJob: inJob), memory: limit(limits?.memory),
            cpuQuota: limit(limits?.cpuQuota), processes: limit(limits?.processes), affinity: Self.affinity,
            inJob: inJob, variables: try variablePlaces(), edits: edits, environment: request.caller.environment)
    }

    private func deviceLayer(
        _ plan: LaunchPlan, _ membership: CgroupMembership?, inJob: Bool
    ) throws(Failure) -> Explanation.DeviceLayer {
        if let cgroupPolicy = plan.cgroupPolicy, let membership,
            // What can not be done is said when it is tried.
            let part = try? CgroupEnforcer(cgroupPolicy, membership, isOfOneTask: SlurmCgroup.isTask).parts().first(
                where: { $0.controllers.contains("devices") })
        {
            return .berth(version: part.isUnified ? 2 : 1, inPlace: part.inPlace)
        }
        let refused = try mapError(to: Failure.system) { () throws(SystemError) in try DeviceConstraint.refused() }
        if !refused.isEmpty {
            let places = (membership?.separate ?? []) + [membership?.unified].compactMap { $0 }
            return .cgroup(ofSlurm: places.contains { SlurmCgroup.isOfJob($0.path) }, refused: refused)
        }
        let configuration = SlurmConfiguration(named: request.caller.variable("SLURM_CONF"))
        return .unseen(inJob: inJob, configured: configuration.isSet("ConstrainDevices", in: "cgroup.conf"))
    }

    private static var affinity: String {
        guard let bytes = try? contents(of: "/proc/self/status", limit: 65536) else { return "unknown" }  // no /proc
        let line = bytes.split(separator: UInt8(ascii: "\n")).first { $0.starts(with: "Cpus_allowed_list:".utf8) }
        return line.map { String(decoding: $0.drop { $0 != UInt8(ascii: "\t") }.dropFirst(), as: UTF8.self) }
            ?? "unknown"
    }

    /// `--env-file FILE:LINE` for what files set; `--env` is what is in none, or wins.
    private func variablePlaces() throws(Failure) -> [(name: String, place: String)] {
        var places: [(name: String, place: String)] = []
        for path in request.written.environmentFiles {
            // Read once already, so that it can be.
            guard let bytes = try? contents(of: path, limit: 1 << 20) else { continue }
            let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            for (index, line) in lines.enumerated() {
                let name = line.drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }.prefix {
                    $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: "\r")
                }
                places.append((String(decoding: name, as: UTF8.self), "--env-file \(path):\(index + 1)"))
            }
        }
        for variable in request.written.variables {
            switch variable {
            case .set(let name, _): places.append((name, "--env"))
            case .fromHost(let name): places.append((name, "--env, from the host"))
            case .expanded(let name, _): places.append((name, "--expand-env"))
            case .unset: break
            }
        }
        return places
    }
}
