internal import Allocation
internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig
internal import Store

/// The site's settings and the store as they apply to one caller: read once, whatever is launched with them.
struct LaunchSettings {
    let configuration: SiteConfiguration
    let policy: SitePolicy
    let storePath: String

    /// The caller's own store, then the site's.
    var storePlaces: [StorePlace] {
        let (path, stores) = (storePath, configuration.sharedStores)
        if stores.isEmpty { return [StorePlace(path: path)] }
        let shared = stores.map { StorePlace(path: $0.path, owner: $0.owner) }
        // The site may vouch for it where it is the own one, too.
        let own = shared.first { $0.path == path } ?? StorePlace(path: path)
        return [own] + shared.filter { $0.path != path }
    }

    /// - Parameter store: The value of `--store`.
    init(caller: CallerContext, workingDirectory: String, store: String?) throws(Failure) {
        configuration = try mapError(to: Failure.configuration) { () throws(ConfigurationError) in
            try SiteConfiguration.read(
                environment: caller.variable, homes: caller.homes, account: caller.account)
        }
        policy = try SitePolicy(configuration)
        let path = configuration.storePath(
            option: store, environment: caller.variable, userID: caller.userID, isRoot: caller.isRoot,
            accountHome: caller.account?.homeDirectory)
        storePath = absolutePath(path, from: workingDirectory)
    }
}

/// What was asked for, complete: options, what files and the site add to them, and the caller. Everything that starts a
/// container begins with one, and no later stage changes it.
struct LaunchRequest {
    /// Who uses the container that is built.
    enum Audience {
        /// This process alone, which becomes the command.
        case thisProcess
        /// Tasks of a step on this node that all run `berth run`; each becomes its own command.
        case tasksOfStep
        /// Tasks that the Slurm plugin holds, each with variables that are not known here: its rank, its GPUs.
        case tasksOfPlugin
    }

    /// As written on the command line.
    let written: LaunchOptions
    /// With the variables of `--env-file` and the site's defaults.
    let options: LaunchOptions
    let settings: LaunchSettings
    let source: LaunchSource
    let platform: Platform
    let audience: Audience
    private(set) var caller: CallerContext
    let task: SlurmTask?
    /// When everything before the command must have ended, in `Clock.monotonicNanoseconds`.
    let deadline: UInt64?
    /// The descriptor to look for a terminal at: standard error for tasks of the plugin, where slurmstepd's standard input
    /// is not theirs; otherwise standard input.
    var terminal: Int32 { audience == .tasksOfPlugin ? 2 : 0 }
    /// GPUs and MIG slices that the tasks may open, as they have reported; `nil` where this process asks the kernel itself.
    private(set) var openable: [DeviceNode]?

    init(
        _ written: LaunchOptions, caller: CallerContext, workingDirectory: String, settings: LaunchSettings,
        audience: Audience? = nil, deadline: UInt64? = nil
    ) throws(Failure) {
        let configuration = settings.configuration
        var written = written
        written.settleRoot(siteDefault: configuration.root, isRoot: caller.isRoot)
        let task = SlurmTask(environment: caller.variable)
        // A process cannot enter another PID namespace: each task has a container of its own. Those of the plugin share all
        // but the mount of /proc.
        let isAlone = written.unshare.contains(.process)
        let audience = audience ?? ((task?.localTasks ?? 1) > 1 && !isAlone ? .tasksOfStep : .thisProcess)
        var options = written
        options.variables = try Self.variables(ofFiles: written.environmentFiles) + written.variables
        // A later step, which finds the image by this name, may have another working directory.
        options.image = try LaunchSource.canonicalName(written.image, workingDirectory: workingDirectory)
        options.commandIsSlurms = audience == .tasksOfPlugin
        if options.fabric == nil { options.fabric = configuration.fabric.flatMap(Fabric.init(rawValue:)) }
        (self.written, self.options, self.settings) = (written, options, settings)
        (self.caller, self.task, self.audience, self.deadline) = (caller, task, audience, deadline)
        let wanted = written.platform
        let platform = try mapError(to: Failure.platform) { () throws(PlatformError) in
            try wanted.map { (text) throws(PlatformError) in try Platform(parsing: text) } ?? .host
        }
        self.platform = platform
        source = try LaunchSource(written.image, workingDirectory: workingDirectory) { source in
            ImageStores.haveName(of: source, platform, in: settings.storePlaces)
        }
        // Whether or not the store has it already.
        if case .stored(.docker(let reference)) = source {
            try mapError(to: { .report(Report($0)) }) { () throws(RegistryPolicy.Refusal) in
                try configuration.registries.check(
                    registry: reference.registry, repository: reference.repository)
            }
        }
    }

    var configuration: SiteConfiguration { settings.configuration }
    var policy: SitePolicy { settings.policy }

    /// Whether several processes use the container, each with variables of its own.
    var isShared: Bool { audience != .thisProcess }

    /// Of the tasks that share a container, one speaks for all.
    var speaks: Bool { !options.quiet && (task?.localID ?? 0) == 0 }

    /// `JOB.STEP`, or `JOB` outside of steps; empty outside of jobs.
    var step: String {
        task.map { "\($0.jobID).\($0.stepID)" } ?? caller.variable("SLURM_JOB_ID") ?? ""
    }

    /// With what only the tasks know.
    func completed(by reports: WaitingTasks.Reports) -> LaunchRequest {
        var complete = self
        complete.caller = caller.setting(reports.variables)
        complete.openable = reports.openable
        return complete
    }

    func tell(_ notes: [SandboxNote]) {
        if options.quiet { return }
        for note in notes { Terminal.say(Report(note.text)) }
    }

    static func variables(ofFiles paths: [String]) throws(Failure) -> [LaunchOptions.Variable] {
        var result: [LaunchOptions.Variable] = []
        for path in paths {
            let text = try mapError(to: { (error: SystemError) in
                .report(
                    Report(
                        "cannot read the environment file \(path): \(error.sentence)",
                        hint: "check the path given to --env-file"))
            }) { () throws(SystemError) in try contents(of: path, limit: 1 << 20) }
            result += try mapError(to: Failure.options) { () throws(OptionError) in
                try LaunchOptions.Variable.parse(file: text, path: path)
            }
        }
        return result
    }
}
