internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

/// What a verb of the plugin's is about: the user's options, the named container, and the caller, whom the plugin has become.
struct PluginRequest {
    let caller: CallerContext
    let workingDirectory: String
    let options: LaunchOptions
    let name: ContainerName?
    /// The command of the step, which slurmstepd executes; empty in a batch script and on all nodes but the first.
    let command: [String]
    /// The options as they would be written for `berth run`.
    let words: [String]
    /// What an experiment file says of the image's entrypoint.
    let usesEntrypoint: Bool?
    /// When everything must have ended, in `Clock.monotonicNanoseconds`.
    let deadline: UInt64?
    let started: UInt64

    static let names = ["--name", "--scope", "--mounts", "--script", "--node", "--timeout", "--quiet", "--command"]

    /// - Parameter place: Where relative paths begin; `nil` for the caller's working directory.
    init(
        _ arguments: InternalArguments, workingDirectory place: ((CallerContext) -> String)? = nil
    ) throws(Failure) {
        started = Clock.monotonicNanoseconds
        let own = CallerContext()
        // Before the container's /proc takes the place of the host's.
        Terminal.node = own.variable("SLURMD_NODENAME") ?? Self.hostname
        // Only tasks have it among their variables.
        caller = own.setting(arguments.value("--node").map { ["SLURM_NODEID=" + $0] } ?? [])
        workingDirectory = place?(own) ?? own.workingDirectory
        name = try ContainerName.parse(arguments)
        let read = try Self.options(arguments, workingDirectory: workingDirectory, environment: caller.environment)
        (options, usesEntrypoint) = (read.options, read.usesEntrypoint)
        command = arguments.values("--command")
        let mounts = arguments.value("--mounts").flatMap { [workingDirectory] in
            try? MountRequest.list(pyxis: $0, workingDirectory: workingDirectory)  // an error of the options, above
        }
        words = read.words + (mounts ?? []).flatMap(\.words)
        deadline = arguments.value("--timeout").flatMap { UInt64($0) }.map { [started] in started + min($0, 31_536_000) * 1_000_000_000 }
    }

    /// Read where they are needed: a broken configuration must not keep a container from being saved to a directory.
    func settings() throws(Failure) -> LaunchSettings {
        try LaunchSettings(caller: caller, workingDirectory: workingDirectory, store: options.store)
    }

    /// The user's options, as far as the command line says: no file of the node's is read.
    static func options(
        _ arguments: InternalArguments, workingDirectory: String, environment: [String]
    ) throws(Failure) -> (options: LaunchOptions, words: [String], usesEntrypoint: Bool?) {
        let (rest, mounts, script) = (arguments.rest, arguments.value("--mounts"), arguments.value("--script"))
        let isQuiet = arguments.has("--quiet")
        let written = try mapError(to: Failure.options) { () throws(OptionError) in
            try LaunchOptions(parsing: rest, workingDirectory: workingDirectory, needsImage: false)
        }
        let file =
            written.files.isEmpty
            ? nil
            : try ExperimentFile(written.files, workingDirectory: workingDirectory, environment: environment)
        return try mapError(to: Failure.options) { () throws(OptionError) in
            var (options, words) =
                try file?.merged(with: written, rest, workingDirectory: workingDirectory, hasCommand: false)
                ?? (written, written.words(of: rest))
            if isQuiet { options.quiet = true }
            // What runs in the batch script would take the script's rank for its own.
            if script != nil { options.profile = LaunchProfile.none }
            // In Pyxis' grammar.
            if let mounts { options.mounts += try MountRequest.list(pyxis: mounts, workingDirectory: workingDirectory) }
            if let script {
                options.mounts.append(
                    MountRequest(kind: .bind(source: script, recursive: false), target: script, readOnly: true))
            }
            return (options, words, file?.usesEntrypoint)
        }
    }

    /// With everything that was asked for, and this image.
    ///
    /// - Parameter isAttached: Without devices: a container that runs has those with which it was made.
    func request(image: String, isAttached: Bool = false) throws(Failure) -> LaunchRequest {
        var options = self.options
        options.image = image
        if isAttached { (options.gpus, options.devices, options.cdiDevices) = (.granted, [], []) }
        return try LaunchRequest(
            options, caller: caller, workingDirectory: workingDirectory, settings: try settings(), audience: .tasksOfPlugin,
            deadline: deadline)
    }

    /// A path is kept absolute: the next step may have another working directory.
    func canonicalImage() throws(Failure) -> String {
        try LaunchSource.canonicalName(options.image, workingDirectory: workingDirectory)
    }

    private static var hostname: String {
        let name = (try? contents(of: "/proc/sys/kernel/hostname", limit: 256)) ?? []  // only to be read by people
        return String(decoding: name.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }
}

/// A verb's failure as the plugin's users read it: with the plugin's flags, and the node in front.
enum PluginFailure {
    static func say(_ error: Failure) -> Int32 {
        let report = error.report?.forPlugin(node: Terminal.node)
        Terminal.say(report)
        return (report?.status ?? .ownFailure).rawValue
    }
}
