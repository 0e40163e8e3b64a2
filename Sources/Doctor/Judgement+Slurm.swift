internal import Allocation
internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

extension Diagnosis {
    static func cgroups(_ facts: NodeFacts) -> [Finding] {
        let area = "cgroups"
        var findings: [Finding] = []
        switch (facts.hasUnifiedCgroups, facts.hasSeparateCgroups) {
        case (true, false): findings.append(Finding(area, "version", .ok, "2"))
        case (true, true): findings.append(Finding(area, "version", .ok, "1 and 2 side by side"))
        case (false, true): findings.append(Finding(area, "version", .ok, "1"))
        case (false, false):
            findings.append(
                Finding(
                    area, "version", .warning, "no hierarchy is mounted: nothing limits a job",
                    remedy: "mount -t cgroup2 none /sys/fs/cgroup"))
        }
        if !facts.constrained.isEmpty {
            findings.append(
                Finding(
                    area, "devices", .ok,
                    "denies devices that were not granted: \(facts.constrained.map(\.path).joined(separator: ", "))"
                ))
        } else if facts.isInJob, facts.slurm.constrainsDevices == true {
            findings.append(Finding(area, "devices", .ok, "ConstrainDevices=yes; no device is denied here"))
        } else if facts.isInJob, !facts.nvidia.nodes.isEmpty {
            findings.append(
                Finding(
                    area, "devices", .warning, "every GPU of the node can be opened, granted or not",
                    remedy:
                        "set ConstrainDevices=yes in cgroup.conf and TaskPlugin=task/cgroup in slurm.conf, or use a "
                        + "hook: "
                        + "`berth confine`"))
        } else {
            findings.append(
                Finding(
                    area, "devices", .ok,
                    facts.isInJob ? "no device is constrained" : "not in a job: no device to constrain"))
        }
        if let memory = facts.cgroupLimits?.memory {
            findings.append(
                Finding(area, "memory", .ok, "\(bytes(UInt64(memory.value) ?? 0)) by \(memory.cgroup)"))
        }
        return findings
    }

    static func slurm(_ facts: NodeFacts) -> [Finding] {
        let area = "Slurm"
        let slurm = facts.slurm
        guard let directory = slurm.directory else {
            return [Finding(area, "configuration", .ok, "no slurm.conf: not a node of a cluster")]
        }
        guard slurm.isReadable else {
            return [
                Finding(
                    area, "configuration", .warning, "slurm.conf in \(directory) cannot be read by this user",
                    remedy: "run the doctor as root on the node, or make slurm.conf and cgroup.conf readable")
            ]
        }
        var findings = [Finding(area, "configuration", .ok, directory)]
        func check(_ name: String, _ isWell: Bool, _ well: String, _ ill: String, _ remedy: String) {
            findings.append(
                isWell ? Finding(area, name, .ok, well) : Finding(area, name, .warning, ill, remedy: remedy))
        }
        let taskPlugins = slurm.taskPlugin?.split(separator: ",").map(String.init) ?? []
        check(
            "TaskPlugin", taskPlugins.contains("task/cgroup"), "task/cgroup",
            "\(slurm.taskPlugin ?? "not set"): tasks have no cgroups of their own, so nothing is constrained",
            "TaskPlugin=task/cgroup,task/affinity in slurm.conf")
        check(
            "ProctrackType", slurm.trackingPlugin == nil || slurm.trackingPlugin == "proctrack/cgroup",
            slurm.trackingPlugin ?? "proctrack/cgroup, the default",
            "\(slurm.trackingPlugin ?? ""): processes that detach escape scancel",
            "ProctrackType=proctrack/cgroup in slurm.conf")
        if slurm.hasGres || !facts.nvidia.nodes.isEmpty {
            check(
                "ConstrainDevices", slurm.constrainsDevices == true, "yes",
                "not set: every job can open every GPU", "ConstrainDevices=yes in cgroup.conf, then restart slurmd")
        }
        let excepted = slurm.propagateExcept?.uppercased().split(separator: ",") ?? []
        let propagates =
            slurm.propagate.map { $0.uppercased() != "NONE" }
            ?? !(excepted.contains("MEMLOCK") || excepted.contains("ALL"))
        if facts.fabrics.contains(where: { $0.node.kind == .verbs }) {
            check(
                "PropagateResourceLimits", !propagates, "memlock is not propagated",
                "jobs get the soft memlock of the submitting shell; Berth raises it, other programs do not",
                "PropagateResourceLimitsExcept=MEMLOCK in slurm.conf")
            if let limit = slurm.slurmd {
                findings.append(
                    limit.hard >= LaunchPlan.lockedMemoryForRDMA
                        ? Finding(area, "LimitMEMLOCK", .ok, "slurmd may lock \(bytes(limit.hard))")
                        : Finding(
                            area, "LimitMEMLOCK", .error, "slurmd may lock \(bytes(limit.hard)), and so may its jobs",
                            remedy: LimitCause.slurmd(limit).remedy))
            }
        }
        check(
            "JobContainerType", slurm.container == "job_container/tmpfs",
            "job_container/tmpfs: each job has its own /tmp and /dev/shm",
            "jobs share /tmp and /dev/shm, and their files there stay",
            "JobContainerType=job_container/tmpfs and PrologFlags=Contain in slurm.conf, and a job_container.conf next "
                + "to it")
        findings.append(
            Finding(
                area, "plugin", .ok,
                slurm.plugin.map { "plugstack.conf has: \($0)" }
                    ?? "Berth's plugin is not in plugstack.conf: use srun berth run …"))
        if !slurm.hasMunge {
            findings.append(
                Finding(
                    area, "munge", .warning,
                    "munge's socket is not in /run/munge: srun and PMIx in containers will "
                        + "not work",
                    remedy: "start munge.service on this node"))
        }
        return findings
    }

    static func credentials(_ facts: NodeFacts) -> [Finding] {
        let area = "credentials"
        guard !facts.credentials.isEmpty else {
            return [Finding(area, "files", .ok, "none: registries are accessed anonymously")]
        }
        var findings: [Finding] = []
        for file in facts.credentials {
            let missing = file.helpers.filter { !$0.isThere }.map { "docker-credential-" + $0.name }
            if !file.isReadable {
                findings.append(
                    Finding(
                        area, "files", .warning, "\(file.path) is unreadable and ignored",
                        remedy: "chown and chmod 600 \(file.path)"))
            } else if !file.isPrivate {
                findings.append(
                    Finding(
                        area, "files", .warning, "other users can read \(file.path), which may contain passwords",
                        remedy: "chmod 600 \(file.path)"))
            } else if !missing.isEmpty {
                findings.append(
                    Finding(
                        area, "files", .warning,
                        "\(file.path) refers to \(missing.joined(separator: ", ")), not in PATH here",
                        remedy: "install it on this node, or log in without it and set REGISTRY_AUTH_FILE to the "
                            + "resulting file"))
            } else {
                findings.append(Finding(area, "files", .ok, file.path))
            }
        }
        return findings
    }
}
