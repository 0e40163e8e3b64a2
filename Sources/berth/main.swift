internal import Diagnostics
internal import LinuxKernel

// The lean launcher. It knows the one verb that must start in about a millisecond, and the same for the Slurm plugin;
// everything else, help included, is the rich program's.
StartingState.establish()
var arguments = Array(Processes.arguments().dropFirst())
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
