internal import Diagnostics
internal import LinuxKernel

// The lean launcher. It knows the one verb that must start in about a millisecond, and the same for the Slurm plugin;
// everything else, help included, is the rich program's.
var arguments = Array(Processes.arguments().dropFirst())
let isOwn =
    switch arguments.first {
    case "run", "confine", "probe", "hold", "report": true
    default: false
    }
// The rich program is to read what the caller hands over by descriptor: `BERTH_CONFIG=<(…)`, an archive's `/dev/fd/3`.
StartingState.establish(closesDescriptors: isOwn)
if arguments.first == "run" {
    arguments.removeFirst()
    do throws(Failure) {
        try RunCommand(arguments).carryOut()
    } catch {
        if case .wantsHelp = error { RichProgram.become(["run", "--help"]) }
        Terminal.fail(error.report)
    }
} else if arguments.first == "confine" {
    arguments.removeFirst()
    do throws(Failure) { try ConfineCommand(arguments).carryOut() } catch { Terminal.fail(error.report) }
} else if arguments.first == "probe" {
    ProbeCommand.carryOut(Array(arguments.dropFirst()))
} else if arguments.first == "hold" {
    HoldCommand.carryOut(Array(arguments.dropFirst()))
} else if arguments.first == "report" {
    HoldCommand.reportEnvironment(arguments.last)
} else {
    RichProgram.become(arguments)
}
