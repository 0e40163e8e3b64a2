internal import LaunchPlanning
internal import LinuxKernel

extension PlanInterpreter {
    /// The failure to make a mount point, where the directory that lacks it is not the image's but a volume's.
    func explained(_ failure: StepFailure, target: String) -> StepFailure {
        let cause: SystemError?
        switch failure {
        case .targetMissing: cause = nil
        case .system(let error) where error.errno == Errno.EPERM || error.errno == Errno.EACCES: cause = error
        default: return failure
        }
        var found: BindMount?
        for step in plan.steps {
            guard case .bind(let bind) = step.action, bind.target != target else { continue }
            // The innermost: of nested volumes, the one in which the place would be.
            let covers = target.hasPrefix(bind.target == "/" ? "/" : bind.target + "/")
            if covers, bind.target.utf8.count >= found?.target.utf8.count ?? 0 { found = bind }
        }
        // /proc, /sys and /dev are Berth's own.
        guard let found, !["/proc", "/sys", "/dev"].contains(found.target) else { return failure }
        return .targetMissingInVolume(
            target, source: found.source + target.dropFirst(found.target.utf8.count), volume: found.target, cause)
    }
}
