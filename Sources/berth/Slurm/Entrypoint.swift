internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// This very program and a place for what it reports, both without a name, so that they are there inside as well.
struct EntrypointLauncher {
    let program: (box: DescriptorBox, number: Int32)
    let answer: (box: DescriptorBox, number: Int32)
    /// The program's inside.
    let path: String

    /// - Parameter plan: Gets a mount of the program where the container has no /proc through which descriptors have paths.
    init(_ plan: inout LaunchPlan) throws(Failure) {
        (program, answer) = try mapError(to: Failure.system) { () throws(SystemError) in
            let own = try OwnedFileDescriptor(opening: "/proc/self/exe", .readOnly)
            return (
                try own.inheritableCopy(), try OwnedFileDescriptor(inMemory: "environment").inheritableCopy()
            )
        }
        guard Self.hidesProc(plan), let pivot = plan.steps.firstIndex(where: { $0.action == .pivot }) else {
            path = "/proc/self/fd/\(program.number)"
            return
        }
        path = "/dev/.berth-report"
        let source = try mapError(to: Failure.system) { () throws(SystemError) in try Processes.ownPath() }
        let bind = BindMount(source: source, target: path, recursive: false, attributes: .readOnly)
        plan.steps.insert(PlannedStep(.bind(bind), .berth), at: pivot)
    }

    private static func hidesProc(_ plan: LaunchPlan) -> Bool {
        plan.steps.contains { step in
            let target: String
            switch step.action {
            case .bind(let bind) where bind.source != "/proc": target = bind.target
            case .mount(_, let path, _, _), .unmount(let path): target = path
            default: return false
            }
            return absolutePath(target, from: "/") == "/proc"
        }
    }
}

/// What becomes of the image's entrypoint.
enum EntrypointUse { case ignored, quiet, shown }

extension PrepareCommand {
    /// Runs the image's entrypoint once, before the tasks and in front of a command that reports its environment: what
    /// the entrypoint has set up is there for every task, in files and in variables. It sees the image's variables and what
    /// `--container-env` names, and Slurm's, not the whole job's, as with Pyxis: an image decides by variables that it
    /// documents, and the shell that submitted may have some of these by chance.
    func run(
        _ entrypoint: [String], _ launcher: EntrypointLauncher, _ process: inout ProcessPlan, deadline: UInt64?
    ) throws(Failure) {
        let shown = self.entrypoint == .shown
        var (seen, kept): ([String], [String]) = ([], [])
        for (entry, source) in zip(process.environment, process.environmentSources) {
            let isJobs =
                source == VariableSource.host.rawValue && !ContainerEnvironment.isOfScheduler(entry)
                && !entry.hasPrefix("TERM=")
            if isJobs { kept.append(entry) } else { seen.append(entry) }
        }
        let given = zip(process.environment, process.environmentSources)
            .filter { $0.1 == VariableSource.option.rawValue }.map(\.0)
        let ended: Processes.Ended
        do throws(SystemError) {
            ended = try Processes.run(
                Self.path(of: entrypoint[0], seen),
                arguments: entrypoint + [
                    launcher.path, "report-environment", "\(launcher.answer.number)",
                ],
                environment: seen, output: shown ? .standardError : .captureBoth(limit: 1 << 16),
                deadline: deadline ?? UInt64.max)
        } catch {
            throw .report(
                error.errno == Errno.ETIMEDOUT
                    ? Report(
                        "the image's entrypoint \(entrypoint[0]) was still running at the end of the start time-out",
                        hint: Self.timeoutHint)
                    : Report(
                        "cannot run the image's entrypoint \(entrypoint[0]): \(error.sentence)",
                        hint: "leave it out with --no-container-entrypoint"))
        }
        let file = launcher.answer.box
        let answer = try mapError(to: Failure.system) { () throws(SystemError) in
            try file.descriptor.seek(to: 0)
            return try file.descriptor.readAll()
        }
        guard ended.status == 0, answer.last == 0 else {
            let said = String(decoding: ended.output, as: UTF8.self).split(separator: "\n").suffix(20).map(String.init)
            throw .report(
                Report(
                    ended.status == 0
                        ? "the image's entrypoint \(entrypoint[0]) ended without running the command it was given"
                        : "the image's entrypoint \(entrypoint[0]) ended with status \(ended.status)",
                    details: said, hint: "leave it out with --no-container-entrypoint"))
        }
        let own = ["_=", "SHLVL=", "PWD=", "OLDPWD=", "=cwd="]
        let entries = answer.split(separator: 0).map { RawText.string($0) }
        // Where the entrypoint went the tasks begin, unless the user chose a directory.
        if let place = entries.first(where: { $0.hasPrefix("=cwd=") })?.dropFirst(5), plugin.options.workingDirectory == nil {
            process.workingDirectory = String(place)
        }
        let reported = entries
            .filter { entry in !own.contains(where: entry.hasPrefix) && !ContainerEnvironment.isOfScheduler(entry) }
        // What the entrypoint says wins over the job's, and what `--container-env` names over both. Of the scheduler's
        // variables an image changes none.
        let named = Set(given.map { JoinSpec.name($0).kernelBytes })
        kept += seen.filter(ContainerEnvironment.isOfScheduler)
        process.environment = given + reported.filter { !named.contains(JoinSpec.name($0).kernelBytes) }
        let set = Set(process.environment.map { JoinSpec.name($0).kernelBytes })
        process.environment += kept.filter { !set.contains(JoinSpec.name($0).kernelBytes) }
        process.environmentSources = []
    }

    /// execvp(3)'s search.
    private static func path(of name: String, _ environment: [String]) -> String {
        if name.contains("/") { return name }
        let path = environment.first { $0.hasPrefix("PATH=") }.map { $0.dropFirst(5) } ?? "/usr/bin:/bin"
        let places = path.split(separator: ":").map { "\($0)/\(name)" }
        return places.first { (try? FileStatus(of: $0))?.kind == .regular } ?? name  // absent there: the next place
    }
}
