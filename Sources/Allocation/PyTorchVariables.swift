internal import LinuxKernel

/// Sets the variables that `torch.distributed` reads, from Slurm's variables of the step:
/// https://docs.pytorch.org/docs/stable/distributed.html#environment-variable-initialization
package enum PyTorchVariables {
    /// The variables that differ between tasks, and Slurm's variables with their values.
    package static let perTask = [
        (name: "RANK", source: "SLURM_PROCID"), (name: "LOCAL_RANK", source: "SLURM_LOCALID"),
    ]

    /// All that `torch.distributed` and torchrun set.
    package static let names = [
        "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK",
        "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME",
    ]

    /// The variables that all tasks of a step share on a node, for a process that is not a task.
    package static func sharedEntries(_ environment: (String) -> String?) -> [String] {
        entries { name in perTask.contains { $0.source == name } ? "0" : environment(name) }
            .filter { entry in !perTask.contains { entry.hasPrefix($0.name + "=") } }
    }

    /// Entries `NAME=VALUE`; empty outside a step, where the other tasks are unknown.
    package static func entries(_ environment: (String) -> String?) -> [String] {
        guard let job = environment("SLURM_JOB_ID"), let jobNumber = UInt64(job),
            let rank = environment("SLURM_PROCID"), let local = environment("SLURM_LOCALID"),
            let list = environment("SLURM_STEP_NODELIST") ?? environment("SLURM_JOB_NODELIST"),
            let size = environment("SLURM_STEP_NUM_TASKS") ?? environment("SLURM_NTASKS"),
            let first = Hostlist.expand(list)?.first
        else { return [] }
        // All tasks compute the same port without communication. It must differ between steps of a job and should
        // differ between jobs on a node. It is above the kernel's range of ephemeral ports (32768 to 60999).
        let step = UInt64(environment("SLURM_STEP_ID") ?? "") ?? 0
        let port = 61000 + (jobNumber &+ step &* 97) % 4536
        var entries = [
            "MASTER_ADDR=\(first)", "MASTER_PORT=\(port)", "WORLD_SIZE=\(size)", "RANK=\(rank)", "LOCAL_RANK=\(local)",
        ]
        if let task = SlurmTask(environment: environment) {
            entries += ["LOCAL_WORLD_SIZE=\(task.localTasks)", "NODE_RANK=\(task.nodeID)", "GROUP_RANK=\(task.nodeID)"]
        }
        // As Enroot's hook: processes that share a node share its cores.
        if let nodes = (environment("SLURM_STEP_NUM_NODES") ?? environment("SLURM_NNODES")).flatMap({ Int($0) }),
            let tasks = Int(size), tasks > nodes
        {
            entries.append("OMP_NUM_THREADS=1")
        }
        return entries
    }

    /// Whether a variable is right for one step only, so that a value which the caller brings is another step's. The place
    /// to meet and the threads are the caller's to choose.
    package static func isOfStep(_ entry: String) -> Bool {
        !["MASTER_ADDR=", "MASTER_PORT=", "OMP_NUM_THREADS="].contains(where: entry.hasPrefix)
    }
}

/// Settings that a PMIx client in the image must share with Slurm's server. Slurm sets the variables of PMIx 2, and
/// current clients read these.
package enum PMIxVariables {
    /// The variables to set, and Slurm's variables with their values.
    package static let perTask = [
        (name: "PMIX_MCA_psec", source: "PMIX_SECURITY_MODE"), (name: "PMIX_MCA_gds", source: "PMIX_GDS_MODULE"),
        (name: "PMIX_MCA_ptl", source: "PMIX_PTL_MODULE"),
    ]
}
