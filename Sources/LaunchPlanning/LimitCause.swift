package import LinuxKernel

/// The limits of those whom a process has its own from.
package struct LimitSources: Equatable, Sendable {
    /// Of the slurmstepd that started this process, if one did.
    package var slurmstepd: LimitValues?
    /// Of the node's slurmd.
    package var slurmd: LimitValues?
    package init(slurmstepd: LimitValues? = nil, slurmd: LimitValues? = nil) {
        self.slurmstepd = slurmstepd
        self.slurmd = slurmd
    }
}

/// Who keeps a limit below what is wanted.
///
/// Slurm hands its tasks the hard limit of slurmd and the soft limit of the shell that submitted, unless
/// `PropagateResourceLimitsExcept` names it: slurm.conf(5).
package enum LimitCause: Equatable, Sendable {
    /// `LimitMEMLOCK` and its like in slurmd's unit.
    case slurmd(LimitValues)
    /// pam_limits in slurmstepd: `UsePAM=1`.
    case pam(slurmd: LimitValues)
    /// Something between slurmstepd and here: a script's `ulimit`.
    case between(slurmstepd: LimitValues)
    /// The soft limit alone, which came from the shell that submitted.
    case propagation
    /// No Slurm: PAM at login, or the service that this runs in.
    case session

    package init(wanted: UInt64, own: LimitValues, _ sources: LimitSources) {
        if own.hard >= wanted {
            self = sources.slurmstepd == nil ? .session : .propagation
        } else if let step = sources.slurmstepd {
            if step.hard >= wanted {
                self = .between(slurmstepd: step)
            } else if let daemon = sources.slurmd, daemon.hard >= wanted {
                self = .pam(slurmd: daemon)
            } else {
                self = .slurmd(sources.slurmd ?? step)
            }
        } else {
            self = .session
        }
    }
}
