internal import Allocation
internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

extension RunCommand {
    func plan(_ image: PreparedImage, grant: DeviceGrant, gpus: [String]) throws(Failure) -> LaunchPlan {
        let options = try wantedOptions()
        return try plan(
            image, grant: grant, options, try decide(grant, gpus: gpus, image: image.image, options: options))
    }

    /// With what files say.
    func wantedOptions() throws(Failure) -> LaunchOptions {
        var options = self.options
        options.variables = try environmentFiles() + options.variables
        options.commandIsSlurms = isForOthers
        if options.fabric == nil { options.fabric = configuration.fabric.flatMap(Fabric.init(rawValue:)) }
        return options
    }

    /// Looked up beneath the tree: a link of the image's must not lead to the host's APT.
    private static func hasAPT(_ tree: String) -> Bool {
        (try? OwnedFileDescriptor(opening: tree, .path | .directory)  // absent: another layer's, or none
            .resolve("/etc/apt/apt.conf.d", .path | .directory)) != nil
    }

    func plan(
        _ image: PreparedImage, grant: DeviceGrant, _ options: LaunchOptions, _ decision: DeviceDecision
    ) throws(Failure) -> LaunchPlan {
        var options = options
        options.gpus = decision.request
        let facts = try facts(grant.devices, decision)
        warnOfLockedMemory(facts)
        var container = image.image
        if options.root, !host.isRoot {
            container.usesAPT = container.trees.contains(where: Self.hasAPT)
        }
        let (site, wanted) = (site, options)
        let plan = try named(Failure.plan) { [container] () throws(PlanError) in
            try LaunchPlan(options: wanted, image: container, site: site, host: facts)
        }
        if !options.requirements.isEmpty || !site.requirements.isEmpty {
            try requireLibraries(plan, container, facts.requirements)
        }
        return plan
    }

    /// What would be done, as far as it can be known without doing it.
    func dryPlan() throws(Failure) -> (plan: LaunchPlan, edits: [DeviceEdit]) {
        let grant = try grant()
        var image: PreparedImage?
        do throws(Failure) { image = try found() } catch {
            if options.pull == .never || options.dryRun == .oci { throw error }
            if case .directory = source { throw error }
            Terminal.note(
                "\(options.image) is not in the store yet: it would be pulled first, and decides the rest of the plan")
        }
        let unknown = ContainerImage(
            trees: ["(layers of \(options.image))"], command: ["(the image's command)"], name: options.image)
        let options = try wantedOptions()
        let prepared = image ?? PreparedImage(image: unknown, mountPoint: "/", leases: [])
        let decision = try decide(grant, gpus: grant.gpus, image: prepared.image, options: options)
        var plan = try plan(prepared, grant: grant, options, decision)
        // What an image has that is not there yet nobody can tell.
        if image != nil {
            let paths = PlannedPaths(plan)
            plan.process.dropVariables(exists: paths.exists)
        }
        return (plan, decision.edits)
    }

    private func facts(_ devices: HostDevices, _ decision: DeviceDecision) throws(Failure) -> HostFacts {
        try named(Failure.system) { () throws(SystemError) in
            var limits: LimitTable = [:]
            for limit in limitsInPlay { limits[limit] = try StartingState.callersValue(of: limit) }
            var facts = HostFacts(
                userID: host.userID, groupID: host.groupID,
                isInInitialUserNamespace: host.isInInitialUserNamespace, accounts: try host.accounts(),
                environment: decision.environment,
                limits: limits, terminal: Streams.terminal(terminal), memoryLimit: memoryLimit,
                grantedGPUs: decision.granted,
                gpuControlNodes: decision.withheld.isEmpty
                    ? devices.gpuControl : devices.gpuControl.filter { !decision.withheld.contains($0) },
                fabricNodes: devices.fabric,
                raisesHardLimits: host.isRoot && Identity.holds(.systemResource),
                requirements: requirementFacts(devices))
            facts.deviceEdits = decision.edits
            if site.mountHome, let home = host.variable("HOME") { facts.hasHome = Self.isUsable(home) }
            if options.slurm { facts.accounts.others = slurmAccounts }
            return facts
        }
    }

    private static func isUsable(_ directory: String) -> Bool {
        (try? OwnedFileDescriptor(opening: directory + "/.", .path | .directory)) != nil  // absent or closed: no
    }

    /// What Slurm says, or what the cgroups of a job say where Slurm counts per CPU.
    private var memoryLimit: UInt64? {
        if let limit = task?.memoryLimit { return limit }
        return host.variable("SLURM_JOB_ID") == nil ? nil : CgroupMemory.limit
    }

    /// Those that are raised by themselves or that an option names.
    private var limitsInPlay: [ResourceLimit] {
        var limits: [ResourceLimit] = [.lockedMemory, .stack, .openFiles]
        for wanted in options.limits { limits.append(wanted.limit) }
        for wanted in site.limits { limits.append(wanted.limit.limit) }
        return limits
    }

    private func environmentFiles() throws(Failure) -> [LaunchOptions.Variable] {
        var result: [LaunchOptions.Variable] = []
        for path in options.environmentFiles {
            let text = try named({ (error: SystemError) in
                .report(
                    Report(
                        "cannot read the environment file \(path): \(error.sentence)",
                        hint: "check the path given to --env-file"))
            }) { () throws(SystemError) in try contents(of: path, limit: 1 << 20) }
            result += try named(Failure.options) { () throws(OptionError) in
                try LaunchOptions.Variable.parse(file: text, path: path)
            }
        }
        return result
    }
}

extension SitePolicy {
    init(_ configuration: SiteConfiguration) throws(Failure) {
        self.init()
        mountHome = configuration.home
        scratchDirectory = configuration.scratch
        for setting in configuration.places {
            switch setting.name {
            case "home": homePlace = setting.place
            case "scratch": scratchPlace = setting.place
            default: scratchLimitPlace = setting.place
            }
        }
        if let text = configuration.scratchLimit {
            guard let bytes = byteCount(text) else {
                throw .report(
                    Report(
                        "the setting scratch-limit can not be \"\(text)\"", hint: "it takes bytes, with k, m, g or t"))
            }
            scratchLimit = bytes
        }
        try add(limits: configuration.limits)
        try add(requirements: configuration.requirements)
        try add(enforcement: configuration.enforcement)
        if configuration.mounts.isEmpty { return }
        for mount in configuration.mounts {
            let readOnly = mount.options.contains("ro")
            let size = mount.options.last { $0.hasPrefix("size=") }
            let kind: MountRequest.Kind =
                mount.type == "tmpfs"
                ? .tmpfs(size: size.flatMap { byteCount(String($0.dropFirst(5))) }, mode: 0o1777)
                : .bind(source: mount.source, recursive: !mount.options.contains("bind"))
            var request = MountRequest(
                kind: kind, target: mount.target, readOnly: readOnly, optional: mount.options.contains("nofail"))
            // The kernel knows how much memory the node has.
            if let size, size.hasSuffix("%") { request.data = [size] }
            mounts.append(Mount(request: request, place: mount.place))
        }
    }
}

/// The nodes that any task of the step may open, each once, by rising number: every task counts its own within them.
enum DeviceOrder {
    static func union(_ lists: [[String]]) -> [String] {
        var seen: Set<String> = []
        let all = lists.flatMap { $0 }.filter { seen.insert($0).inserted }
        return all.sorted { number($0) < number($1) }
    }

    private static func number(_ path: String) -> Int { Int(path.drop { !$0.isNumber }) ?? 0 }
}

extension ImageSource {
    /// Paths as the user meant them, from where he stands.
    /// Of a local one.
    var path: String? {
        switch self {
        case .docker: nil
        case .ociLayout(let path, _), .ociArchive(let path, _), .dockerArchive(let path, _), .directory(let path): path
        }
    }

    func absolute(from cwd: String) -> ImageSource {
        switch self {
        case .docker: self
        case .ociLayout(let path, let tag): .ociLayout(path: absolutePath(path, from: cwd), tag: tag)
        case .ociArchive(let path, let tag): .ociArchive(path: absolutePath(path, from: cwd), tag: tag)
        case .dockerArchive(let path, let tag): .dockerArchive(path: absolutePath(path, from: cwd), tag: tag)
        case .directory(let path): .directory(path: absolutePath(path, from: cwd))
        }
    }
}

extension LaunchOptions {
    /// Equal for tasks that may share a container: everything but what is each process's own. Of the variables, those that
    /// choose devices are the container's.
    func containerKey(_ host: (String) -> String?) -> String {
        var shared = self
        shared.command = []
        shared.variables = []
        shared.environmentFiles = []
        shared.workingDirectory = nil
        shared.entrypoint = nil
        shared.limits = []
        shared.profile = nil
        shared.requirements = []
        shared.enforcement = nil
        shared.preservedDescriptors = 0
        shared.quiet = false
        shared.verbose = false
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        let text = String(describing: shared) + deviceVariables(host).joined(separator: "\0")
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }

    /// `NAME=value` of those that steer which devices a container shows, the last one of each name.
    private func deviceVariables(_ host: (String) -> String?) -> [String] {
        var values: [(name: String, value: String)] = []
        for variable in variables {
            let (name, value): (String, String?) =
                switch variable {
                case .set(let name, let value): (name, value)
                case .fromHost(let name): (name, host(name))
                }
            guard ["NVIDIA_", "AMD_", "MELLANOX_"].contains(where: name.hasPrefix) else { continue }
            values.removeAll { $0.name == name }
            if let value { values.append((name, value)) }
        }
        return values.map { "\($0.name)=\($0.value)" }.sorted()
    }
}
