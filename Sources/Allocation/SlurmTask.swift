internal import LinuxKernel

/// What Slurm tells a task of a step through its environment: srun(1), "OUTPUT ENVIRONMENT VARIABLES".
package struct SlurmTask: Equatable, Sendable {
    package let jobID: String
    package let stepID: String
    /// This node's place in the step, from 0.
    package let nodeID: Int
    /// This task's place on its node, from 0.
    package let localID: Int
    /// How many tasks of the step run on this node.
    package let localTasks: Int
    /// The memory the job may use on this node, in bytes; `nil` where Slurm sets none.
    package let memoryLimit: UInt64?

    /// `nil` outside a step: a login shell, or the shell of `salloc`.
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

    /// The entry of one node in Slurm's compressed list, such as `2(x3),1`.
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
