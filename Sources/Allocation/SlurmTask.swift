internal import LinuxKernel

/// What Slurm's environment says about a task: srun(1), "OUTPUT ENVIRONMENT VARIABLES".
package struct SlurmTask: Equatable, Sendable {
    package let jobID: String
    package let stepID: String
    /// The node's index in the step, from 0.
    package let nodeID: Int
    /// The task's index on its node, from 0.
    package let localID: Int
    /// The number of the step's tasks on this node.
    package let localTasks: Int
    /// The job's memory limit on this node in bytes; `nil` if Slurm sets none.
    package let memoryLimit: UInt64?

    /// Returns `nil` outside a step, as in a login shell or the shell of `salloc`.
    package init?(environment: (String) -> String?) {
        guard let job = environment("SLURM_JOB_ID"), let step = environment("SLURM_STEP_ID"),
            let local = environment("SLURM_LOCALID").flatMap({ Int($0) }), environment("SLURM_PROCID") != nil
        else { return nil }
        jobID = job
        stepID = step
        localID = local
        let node = environment("SLURM_NODEID").flatMap { Int($0) } ?? 0
        nodeID = node
        let counts = environment("SLURM_STEP_TASKS_PER_NODE") ?? environment("SLURM_TASKS_PER_NODE") ?? "1"
        localTasks = Self.count(in: counts, node: node) ?? 1
        memoryLimit = environment("SLURM_MEM_PER_NODE").flatMap { UInt64($0) }.flatMap { $0 == 0 ? nil : $0 << 20 }
    }

    /// The entry for one node in Slurm's compressed list, such as `2(x3),1`.
    static func count(in list: String, node: Int) -> Int? {
        var first = 0
        for item in list.split(separator: ",") {
            let parts = item.split(separator: "(")
            guard let count = parts.first.flatMap({ Int($0) }) else { return nil }
            var repeats = 1
            if parts.count == 2 {
                guard let times = Int(parts[1].dropFirst().dropLast()), parts[1].hasPrefix("x") else { return nil }
                repeats = times
            }
            if node < first + repeats { return count }
            first += repeats
        }
        return nil
    }
}
