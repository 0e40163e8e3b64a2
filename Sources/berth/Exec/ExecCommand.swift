internal import Allocation
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// `berth exec`: this process joins a running container and becomes a command in it.
///
/// What the container's first process is, the command is: environment, directory, user, limits, capabilities. It stays in the
/// caller's cgroup. Everything is read on this side from a process pinned by descriptor; paths are resolved inside.
struct ExecCommand {
    let options: LaunchOptions
    let caller = CallerContext()
    /// Instead of a command, the shell that the container has.
    let isShell: Bool

    /// Options of `berth run` that mean the same here.
    static let names = [
        "interactive", "tty", "user", "workdir", "env", "env-file", "here", "quiet", "detach", "detach-keys", "privileged",
    ]

    init(_ arguments: [String], isShell: Bool = false) throws(Failure) {
        self.isShell = isShell
        let directory = caller.workingDirectory
        do throws(OptionError) {
            var parsed = try LaunchOptions(parsing: arguments, workingDirectory: directory, names: Self.names)
            parsed.notePrivileged("the command has the capabilities of the container's first process")
            options = parsed
        } catch {
            throw Self.failure(error, isShell ? "shell" : "exec")
        }
        if options.command.isEmpty, !isShell {
            throw .report(
                Report(
                    "no command given",
                    hint: options.image.isEmpty
                        ? "berth exec [OPTIONS] CONTAINER COMMAND…; `berth ps` lists the containers"
                        : "berth exec [OPTIONS] \(options.image) COMMAND…, or `berth shell \(options.image)` for a shell"))
        }
        if options.here != nil, options.workingDirectory != nil {
            throw .options(.contradiction("--here", "--workdir"))
        }
    }

    private static func failure(_ error: OptionError, _ verb: String) -> Failure {
        let help = "`berth \(verb) --help` lists the options"
        switch error {
        case .helpRequested: return .wantsHelp
        case .unknown(let option):
            let word = option.drop { $0 == "-" }
            let isOfRun = RunOption.named(String(word)) != nil || word.first.flatMap(RunOption.lettered) != nil
            return .report(
                Report(
                    "unknown option \(option) of `berth \(verb)`",
                    hint: isOfRun ? "\(option) is an option of `berth run`, for a new container. " + help : help))
        case .hidesImage(let path): return .report(notMounted(path))
        case .missingValue(let option): return .report(Report("option \(option) needs a value", hint: help))
        default: return .options(error)
        }
    }

    func carryOut() throws(Failure) -> Never {
        let container = try ContainerFinder.find(
            options.image.isEmpty ? nil : options.image, verb: isShell ? "shell" : "exec")
        try enter(try target(container))
    }

    private func target(_ container: RunningContainer) throws(Failure) -> ExecTarget {
        while let first = container.pin() {
            do throws(SystemError) { return try ExecTarget(first, container) } catch {
                // Of one that has ended meanwhile; another process is the oldest one now, if any is left.
                if first.isRunning { throw .system(error) }
            }
        }
        throw .report(
            Report(
                "the container \(container.shownName) ended before the command could start in it",
                hint: "`berth ps` lists the containers that run"))
    }

    private func enter(_ target: ExecTarget) throws(Failure) -> Never {
        var process = try plan(target)
        if !options.quiet {
            for line in options.notes + target.notes(process) { Terminal.note(line) }
        }
        let place = options.here.flatMap { try? FileStatus(of: $0) }  // gone: not mounted inside either
        try mapError(to: Failure.system) { () throws(SystemError) in
            // Of the command's own: it keeps the image's files as long as it runs, like every process of the container.
            for lease in target.leases { try lease.descriptor.duplicate().inheritAcrossExec() }
            if target.isOfOtherUser {
                // Everything that root can do ends here: from now on this is a process of the container's user.
                for change in process.limits { try change.limit.set(change.to) }
                let who = target.credentials
                try Identity.become(user: who.userID, group: who.groupID, supplementaryGroups: who.groups)
            }
            try Identity.hideFromTracing()
        }
        // Before the container's /proc takes the place of the host's.
        let broadcaster = target.processes == nil ? nil : SlurmSignals.broadcaster(caller)
        for (kind, box) in target.namespaces {
            do throws(SystemError) { try Namespaces.join(box.descriptor, kind) } catch {
                throw .sandbox(.process(.join, error))
            }
        }
        if let box = target.processes {
            // No process changes its own; a child is in it, and this process stands for the child outside.
            try mapError(to: { .sandbox(.process(.join, $0)) }) { () throws(SystemError) in
                try Namespaces.join(box.descriptor, .process)
                try Namespaces.becomeFirstProcess(broadcaster: broadcaster)
            }
        }
        try settleUser(&process, target)
        try settleDirectory(&process, place)
        if isShell {
            guard let shell = ContainerShell.path(preferring: caller.variable("SHELL")) else {
                let name = target.container.shownName
                throw .report(
                    Report(
                        "the container \(name) has no shell", hint: "run a program that it has: berth exec \(name) COMMAND",
                        status: .notFound))
            }
            process.arguments = [shell]
        }
        let quiet = options.quiet
        try mapError(to: Failure.sandbox) { () throws(SandboxError) in
            try process.start { if !quiet { Terminal.say(Report($0.text)) } }
        }
    }

    // MARK: What the command is

    private func plan(_ target: ExecTarget) throws(Failure) -> ProcessPlan {
        var environment = target.environment
        // The terminal is the caller's.
        if Streams.terminal() != nil, let terminal = caller.variable("TERM") { environment.set(["TERM=\(terminal)"]) }
        for variable in try LaunchRequest.variables(ofFiles: options.environmentFiles) + options.variables {
            switch variable {
            case .set(let name, let value): environment.set(["\(name)=\(value)"])
            case .fromHost(let name):
                if let value = caller.variable(name) { environment.set(["\(name)=\(value)"]) }
            case .expanded, .unset: break  // no options of `berth exec`
            }
        }
        var limits: [LimitChange] = []
        let raises = caller.isRoot && Capabilities.holds(.systemResource)
        for (limit, wanted) in target.limits {
            guard let now = try? StartingState.callersValue(of: limit) else { continue }  // unknown to this kernel
            let most = raises ? UInt64.max : now.hard
            let to = LimitValues(soft: min(wanted.soft, most), hard: min(wanted.hard, most))
            if to != now { limits.append(LimitChange(limit: limit, from: now, to: to, origin: .host)) }
        }
        let who = target.credentials
        var user = ProcessPlan.User.unchanged
        if target.namespaces.allSatisfy({ $0.kind != .user }), caller.isRoot {
            user =
                options.user.map { .named($0, .option("--user")) }
                ?? .like(user: who.userID, group: who.groupID, supplementaryGroups: who.groups)
        }
        var process = ProcessPlan(
            arguments: options.command, environment: environment,
            workingDirectory: options.workingDirectory ?? options.here ?? target.workingDirectory,
            workingDirectoryOrigin: options.workingDirectory != nil
                ? .option("--workdir") : options.here != nil ? .option("--here") : .host,
            limits: limits, user: user, boundingCapabilities: who.bounding)
        process.noNewPrivileges = who.noNewPrivileges
        if target.processes != nil { process.firstProcess = .command }
        process.filters = try LaunchRequest.filters(of: target.container.label)
        return process
    }

    /// In a container with a user namespace there is one user.
    private func settleUser(_ process: inout ProcessPlan, _ target: ExecTarget) throws(Failure) {
        guard let text = options.user, process.user == .unchanged else { return }
        let found = try mapError(to: Failure.sandbox) { () throws(SandboxError) in try ProcessPlan.resolve(text) }
        guard found.userID == Identity.userID else {
            throw .report(
                Report(
                    "--user \(text): the only user of this container is uid \(Identity.userID)",
                    hint: found.userID == 0
                        ? "start the container with `berth run --root` to be root in it"
                        : "leave it out: an ordinary user's container has one user"))
        }
    }

    private func settleDirectory(_ process: inout ProcessPlan, _ place: FileStatus?) throws(Failure) {
        let path = process.workingDirectory
        if options.here != nil {
            let inside = try? FileStatus(of: path)  // absent: not mounted
            guard let place, let inside, inside.device == place.device, inside.inode == place.inode else {
                throw .report(Self.notMounted(path))
            }
        } else if options.workingDirectory == nil, !path.hasPrefix("/") || !ContainerPaths.exists(path) {
            if !options.quiet { Terminal.note("the container's working directory \(path) is gone; starting in /") }
            process.workingDirectory = "/"
        }
    }

    private static func notMounted(_ path: String) -> Report {
        Report(
            "--here: the current directory \(path) is not mounted in the container",
            hint: "choose a directory of the container with --workdir")
    }
}
