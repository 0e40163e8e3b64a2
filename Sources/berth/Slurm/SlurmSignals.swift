internal import Allocation
internal import LinuxKernel

/// Signals that Slurm sends to a step.
///
/// In a PID namespace the command is another process than the one that slurmstepd has started, which passes signals on. Where
/// Slurm signals every process, the command would get each of them twice, and programs such as torchrun take a second SIGINT
/// for a demand to stop at once.
enum SlurmSignals {
    /// slurmstepd, where this process is in a step and what it is sent reaches all processes of the step.
    static func broadcaster(_ caller: CallerContext) -> Int32? {
        guard reachEveryProcess(caller), SlurmTask(environment: caller.variable) != nil else { return nil }
        return OtherProcess.ancestors().first { $0.name == "slurmstepd" }.map { Int32($0.processID) }
    }

    static func reachEveryProcess(_ caller: CallerContext) -> Bool {
        caller.variable("SLURM_JOB_ID") != nil
            && SlurmConfiguration(named: caller.variable("SLURM_CONF")).signalsEveryProcess
    }
}
