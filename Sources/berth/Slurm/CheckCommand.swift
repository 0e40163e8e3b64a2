internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

/// `berth slurm-check`, for srun, salloc and sbatch: parses what was asked for, before there is a job. Nothing is looked up
/// that only the node has.
enum CheckCommand {
    static func carryOut(_ words: [String]) -> Never {
        do throws(Failure) {
            let arguments = try InternalArguments(words, verb: "slurm-check", PluginRequest.names + ["--save"])
            let caller = CallerContext()
            let options = try PluginRequest.options(
                arguments, workingDirectory: caller.workingDirectory, environment: caller.environment
            ).options
            _ = try ContainerName.parse(arguments)
            if let path = arguments.value("--save") { try SaveCommand.checkDestination(path) }
            try LaunchSource.check(options.image)
        } catch {
            Processes.exit(PluginFailure.say(error))
        }
        Processes.exit(0)
    }
}

/// `berth slurm-sweep JOB`, for the epilog: removes the named containers of a job that is over.
enum SweepCommand {
    static func carryOut(_ words: [String]) -> Never {
        do throws(Failure) {
            let arguments = try InternalArguments(words, verb: "slurm-sweep", ["--job"])
            let plugin = try PluginRequest(arguments)
            guard let job = arguments.value("--job"), UInt32(job) != nil else {
                throw .report(Report("`berth slurm-sweep` needs --job=ID"))
            }
            try plugin.removeContainers(ofJob: job)
        } catch {
            Processes.exit(PluginFailure.say(error))
        }
        Processes.exit(0)
    }
}
