internal import Diagnostics
internal import LinuxKernel

// The launcher. It knows the verb that must start in about a millisecond, and those that the Slurm plugin calls; everything
// else, help included, is the image tool's.
let arguments = Array(Processes.arguments().dropFirst())
let rest = Array(arguments.dropFirst())
let entersContainer = ["run", "exec", "shell", "slurm-prepare"].contains(arguments.first)
let isOwn =
    entersContainer
    || ["confine", "container-changes", "probe", "slurm-check", "slurm-save", "slurm-sweep", "slurm-copy-root"]
        .contains(arguments.first)
// Descriptors stay open where this program is executed again, and for the image tool, which reads what the caller passes by
// descriptor: `BERTH_CONFIG=<(…)`, an archive's `/dev/fd/3`.
StartingState.establish(marksDescriptors: isOwn && !entersContainer)
if entersContainer {
    do throws(SystemError) { try Processes.continueSealed() } catch { Terminal.fail(Failure.system(error).report) }
    StartingState.markDescriptors()
}
switch arguments.first {
// `berth run --version` is in its help, which the image tool has.
case "run" where rest.first != "--version":
    do throws(Failure) { try RunCommand(rest).carryOut() } catch {
        if case .wantsHelp = error { ImageTool.become(["run", "--help"]) }
        Terminal.fail(error.report)
    }
case "exec" where rest.first != "--version":
    do throws(Failure) { try ExecCommand(rest).carryOut() } catch {
        if case .wantsHelp = error { ImageTool.become(["exec", "--help"]) }
        Terminal.fail(error.report)
    }
case "shell" where rest.first != "--version":
    do throws(Failure) { try ShellCommand.carryOut(rest) } catch {
        if case .wantsHelp = error { ImageTool.become(["shell", "--help"]) }
        Terminal.fail(error.report)
    }
case "container-changes":
    do throws(Failure) { try ChangesCommand.carryOut(rest) } catch { Terminal.fail(error.report) }
case "confine" where rest.first != "--help":
    do throws(Failure) { try ConfineCommand(rest).carryOut() } catch { Terminal.fail(error.report) }
case "probe": ProbeCommand.carryOut(rest)
case "slurm-prepare": PrepareCommand.carryOut(rest)
case "slurm-check": CheckCommand.carryOut(rest)
case "slurm-save": SaveCommand.carryOut(rest)
case "slurm-sweep": SweepCommand.carryOut(rest)
case "slurm-copy-root": CopyRootCommand.carryOut(rest)
default: ImageTool.become(arguments)
}
