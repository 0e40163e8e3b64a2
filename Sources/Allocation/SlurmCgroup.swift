internal import LinuxKernel

/// The cgroups of Slurm's task/cgroup: `…/job_7/step_0/task_0` in version 1, `…/job_7/step_0/user/task_0` in version 2.
/// The prefix is `/slurm/uid_1001` or `/system.slice/slurmstepd.scope` on a normal node.
package enum SlurmCgroup {
    /// Whether the cgroup belongs to a single task and is removed with it.
    package static func isTask(_ path: String) -> Bool {
        let names = path.split(separator: "/")
        guard let last = names.last, number(last, after: "task_"),
            let job = names.firstIndex(where: { number($0, after: "job_") })
        else { return false }
        return names[job...].contains { $0.hasPrefix("step_") }
    }

    /// Whether the cgroup belongs to a job or is below one.
    package static func isOfJob(_ path: String) -> Bool {
        path.split(separator: "/").contains { number($0, after: "job_") }
    }

    private static func number(_ name: Substring, after prefix: String) -> Bool {
        name.hasPrefix(prefix) && UInt64(name.dropFirst(prefix.utf8.count)) != nil
    }
}
