internal import Allocation
internal import Devices
internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig

/// One run: what was asked for, the image by digest, and the machine. docs/reference/run-records.md describes each field.
struct RunRecord {
    /// `YYYYMMDD-HHMMSS-`, the milliseconds as three hexadecimal digits, and four random ones.
    let id: String
    private let mask: SecretMask
    private var members: [(String, JSON?)] = []
    private var workTree: WorkTree?

    init(
        _ request: LaunchRequest, _ image: LocatedImage, _ plan: LaunchPlan, words: [String], command: [String]
    ) throws(SystemError) {
        let now = Clock.now
        let time = Clock.text(now.seconds)
        let digits = time.utf8.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        // Milliseconds first: runs of one second sort by their start.
        let milliseconds = String(String(now.nanoseconds / 1_000_000 + 0x1000, radix: 16).dropFirst())
        id =
            RawText.string(digits[..<8]) + "-" + RawText.string(digits[8...]) + "-" + milliseconds
            + (try Random.hexadecimal(bytes: 2))
        mask = SecretMask(names: request.configuration.mask)
        let caller = request.caller
        // Root reads no files of users: git's configuration names programs.
        workTree = caller.isRoot ? nil : WorkTree(above: caller.workingDirectory, environment: caller.environment)
        members = [
            ("record", .number(1)),
            ("id", .string(id)),
            ("time", .string(time)),
            ("berth", .string(Version.text)),
            ("replayOf", caller.variable("BERTH_REPLAY_OF").map { .string($0) }),
            ("image", Self.image(request, image)),
            ("command", .strings(mask.masked(words: plan.process.arguments))),
            ("written", .strings(mask.masked(words: command))),
            ("options", .strings(mask.masked(words: words))),
            ("workingDirectory", .members(("host", .string(caller.workingDirectory)), ("container", .string(plan.process.workingDirectory)))),
            ("user", Self.user(request)),
            ("mounts", .array(Self.mounts(plan))),
            ("environment", .array(environment(plan.process))),
            ("job", Self.job(caller)),
            ("devices", try Self.devices(plan)),
            ("limits", .array(Self.limits(plan.process))),
            ("host", Self.host()),
            ("files", caller.isRoot ? nil : .array(NamedFiles(plan).hashes(words: command))),
        ]
        if plan.process.firstProcess != nil {
            // From then on this is a child of the process that git is a child of, and cannot wait for it.
            members.append(("git", workTree?.state()))
            workTree = nil
        }
    }

    /// With what git has found in the meantime.
    var text: String {
        JSON.object(
            (members + [("git", workTree?.state())]).compactMap { name, value in value.map { JSON.Member(name, $0) } }
        ).text
    }
}

// MARK: Parts

extension RunRecord {
    private static func image(_ request: LaunchRequest, _ located: LocatedImage) -> JSON {
        let image = located.image
        var pinned: String?
        var name = image.name
        var layers = image.trees.map { tree in
            // `layers/sha256-…/tree`
            let parts = tree.split(separator: "/")
            return String(parts.count > 1 && parts.last == "tree" ? parts[parts.count - 2] : parts.last ?? "")
        }
        if case .stored(let source) = request.source {
            if !image.digest.isEmpty { pinned = source.pinned(image.digest) }
            // For a replay, which starts elsewhere.
            if source.path != nil { name = source.description }
        } else {
            layers = []
        }
        return .members(
            ("reference", .string(request.written.image)),
            ("name", .string(name)),
            ("pinned", pinned.map { .string($0) }),
            ("digest", image.digest.isEmpty ? nil : .string(image.digest)),
            ("platform", .string(request.platform.description)),
            ("layers", layers.isEmpty ? nil : .strings(layers)))
    }

    private static func user(_ request: LaunchRequest) -> JSON {
        .members(
            ("name", request.caller.account.flatMap(\.first).map { .string($0) }),
            ("uid", .number(UInt64(request.caller.userID))), ("gid", .number(UInt64(request.caller.groupID))),
            ("rootInside", .bool(request.options.root)))
    }

    /// What options and the site mount of the host.
    private static func mounts(_ plan: LaunchPlan) -> [JSON] {
        plan.steps.compactMap { step in
            switch step.origin {
            case .option, .site: break
            default: return nil
            }
            guard case .bind(let bind) = step.action, bind.node == nil else { return nil }
            let system =
                (try? OwnedFileDescriptor(opening: bind.source, .path).fileSystemType())  // absent: an error elsewhere
                .map { FileSystemType.remote($0) ?? "local" }
            return .members(
                ("source", .string(bind.source)), ("target", .string(bind.target)),
                ("readOnly", .bool(bind.attributes.contains(.readOnly))),
                ("fileSystem", system.map { .string($0) }))
        }
    }

    private func environment(_ process: ProcessPlan) -> [JSON] {
        process.environment.enumerated().map { index, entry in
            let name = JoinSpec.name(entry)
            let value = String(entry.utf8.dropFirst(name.utf8.count + 1)) ?? ""
            let source = process.environmentSources.indices.contains(index) ? process.environmentSources[index] : 0
            return .members(
                ("name", .string(name)), ("value", .string(mask.masked(name: name, value: value))),
                ("from", .string("\(VariableSource(rawValue: source) ?? .host)")))
        }
    }

    /// Of the variables that Slurm sets, those that say what was allocated.
    private static func job(_ caller: CallerContext) -> JSON? {
        guard let job = caller.variable("SLURM_JOB_ID") else { return nil }
        let names = [
            ("step", "SLURM_STEP_ID"), ("name", "SLURM_JOB_NAME"), ("cluster", "SLURM_CLUSTER_NAME"),
            ("account", "SLURM_JOB_ACCOUNT"), ("partition", "SLURM_JOB_PARTITION"), ("qos", "SLURM_JOB_QOS"),
            ("nodeList", "SLURM_STEP_NODELIST"), ("nodes", "SLURM_STEP_NUM_NODES"), ("tasks", "SLURM_STEP_NUM_TASKS"),
            ("tasksPerNode", "SLURM_STEP_TASKS_PER_NODE"), ("cpusPerTask", "SLURM_CPUS_PER_TASK"),
            ("memoryPerNode", "SLURM_MEM_PER_NODE"), ("gpusOnNode", "SLURM_GPUS_ON_NODE"),
            ("arrayJob", "SLURM_ARRAY_JOB_ID"), ("arrayTask", "SLURM_ARRAY_TASK_ID"),
            ("submitDirectory", "SLURM_SUBMIT_DIR"),
        ]
        return .object(
            [JSON.Member("id", .string(job))]
                + names.compactMap { name, variable in caller.variable(variable).map { JSON.Member(name, .string($0)) } })
    }

    private static func devices(_ plan: LaunchPlan) throws(SystemError) -> JSON? {
        var (nodes, specifications): ([DeviceNode], [String]) = ([], [])
        for step in plan.steps {
            if case .bind(let bind) = step.action, let node = bind.node, node.kind != .standard, step.origin != .berth,
                step.origin != .host
            {
                nodes.append(node)
            }
            if case .cdi(let place) = step.origin, !specifications.contains(place) { specifications.append(place) }
        }
        if nodes.isEmpty { return nil }
        let vendor = nodes.lazy.filter { $0.kind == .gpu }.compactMap(\.vendor).first
        let gpus = try GPUInventory(vendor).gpus.filter { nodes.contains($0.node) }
        return .members(
            ("nodes", .strings(nodes.map(\.path))),
            ("gpus", gpus.isEmpty ? nil : .array(gpus.map { gpu in
                .members(
                    ("node", .string(gpu.node.path)), ("address", .string(gpu.address)),
                    ("uuid", gpu.uuid.isEmpty ? nil : .string(gpu.uuid)), ("model", gpu.model.isEmpty ? nil : .string(gpu.model)))
            })),
            ("driver", NVIDIADriver.loadedVersion(HostTree()).map { .string($0) }),
            ("cdi", specifications.isEmpty ? nil : .strings(specifications)))
    }

    private static func limits(_ process: ProcessPlan) -> [JSON] {
        process.limits.map { change in
            .members(
                ("name", .string(change.limit.rawValue)), ("soft", .number(change.to.soft)),
                ("hard", .number(change.to.hard)))
        }
    }

    private static func host() -> JSON {
        func line(_ path: String) -> JSON? {
            guard let bytes = try? contents(of: path, limit: 4096) else { return nil }  // not mounted here: left out
            return .string(RawText.string(bytes.prefix { $0 != UInt8(ascii: "\n") }))
        }
        return .members(
            ("name", line("/proc/sys/kernel/hostname")), ("kernel", line("/proc/sys/kernel/osrelease")))
    }
}
