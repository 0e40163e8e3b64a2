internal import LinuxKernel

/// The cgroups that Slurm's task/cgroup makes: `…/job_7/step_0/task_0` in version 1, `…/job_7/step_0/user/task_0` in
/// version 2. A normal node has `/slurm/uid_1001` or `/system.slice/slurmstepd.scope` before it.
package enum SlurmCgroup {
    /// Of one task alone, which goes with the task.
    package static func isTask(_ path: String) -> Bool {
        let names = path.split(separator: "/")
        guard let last = names.last, number(last, after: "task_"),
            let job = names.firstIndex(where: { number($0, after: "job_") })
        else { return false }
        return names[job...].contains { $0.hasPrefix("step_") }
    }

    /// Of a job or anything below.
    package static func isOfJob(_ path: String) -> Bool {
        path.split(separator: "/").contains { number($0, after: "job_") }
    }

    private static func number(_ name: Substring, after prefix: String) -> Bool {
        name.hasPrefix(prefix) && UInt64(name.dropFirst(prefix.utf8.count)) != nil
    }
}
