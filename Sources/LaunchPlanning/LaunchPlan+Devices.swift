package import Devices
internal import LinuxKernel

extension LaunchPlan {
    /// A /dev with the standard nodes of the runtime-spec and what was granted, nothing else.
    /// https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices
    static func devices(_ options: LaunchOptions, _ host: HostFacts) throws(PlanError) -> [PlannedStep] {
        var steps: [PlannedStep] = [
            PlannedStep(.deviceDirectory("/dev"), .berth)
        ]
        for node in DeviceNode.standard { steps.append(PlannedStep(.bind(BindMount(node)), .berth)) }
        // Our own devpts: the host's would be of no use, as its ptmx can not be opened from here.
        steps.append(PlannedStep(.directory("/dev/pts", mode: 0o755), .berth))
        steps.append(
            PlannedStep(
                .mount(
                    type: "devpts", target: "/dev/pts", flags: .noSetUserID | .noExecution,
                    data: "newinstance,ptmxmode=0666,mode=0620"), .berth))
        if let terminal = host.terminal {
            steps.append(
                PlannedStep(.bind(BindMount(source: terminal, target: "/dev/console", recursive: false)), .host))
        }
        // The host's, not a fresh one: NCCL and UCX recognise a neighbour by it.
        if options.unshare.contains(.ipc) {
            let size = options.sharedMemorySize.map { "size=\($0)," } ?? ""
            for (type, name, data) in [("tmpfs", "shm", size + "mode=1777"), ("mqueue", "mqueue", "")] {
                steps.append(PlannedStep(.directory("/dev/\(name)", mode: 0o755), .option("--unshare")))
                steps.append(
                    PlannedStep(
                        .mount(
                            type: type, target: "/dev/\(name)", flags: .noSetUserID | .noDevices | .noExecution,
                            data: data), .option("--unshare")))
            }
        }
        for name in options.unshare.contains(.ipc) ? [] : ["shm", "mqueue"] {
            steps.append(
                PlannedStep(.bind(BindMount(source: "/dev/\(name)", target: "/dev/\(name)", optional: true)), .host))
        }
        steps.append(PlannedStep(.symlink("/dev/ptmx", target: "pts/ptmx"), .berth))
        steps.append(PlannedStep(.symlink("/dev/fd", target: "/proc/self/fd"), .berth))
        steps.append(PlannedStep(.symlink("/dev/stdin", target: "/proc/self/fd/0"), .berth))
        steps.append(PlannedStep(.symlink("/dev/stdout", target: "/proc/self/fd/1"), .berth))
        steps.append(PlannedStep(.symlink("/dev/stderr", target: "/proc/self/fd/2"), .berth))
        var shown: [DeviceNode] = []
        for gpu in try gpus(options.gpus, host) {
            shown.append(gpu.node)
            steps.append(PlannedStep(.bind(BindMount(gpu.node)), .grant(gpu.reason)))
        }
        if options.fabric != Fabric.none {
            shown += host.fabricNodes
            steps += host.fabricNodes.map { PlannedStep(.bind(BindMount($0)), .grant("fabric")) }
        }
        for edit in host.deviceEdits {
            // What was granted is there already.
            guard case .node(let node, let path) = edit.action, !shown.contains(DeviceNode(path)) else { continue }
            steps.append(
                PlannedStep(
                    .bind(BindMount(node, target: path, device: true)),
                    Origin(edit.origin)))
        }
        for device in options.devices {
            steps.append(
                PlannedStep(
                    .bind(BindMount(DeviceNode(device.hostPath), target: device.containerPath, device: true)),
                    .option("--device")))
        }
        return steps
    }

    private static func gpus(
        _ request: LaunchOptions.GPURequest, _ host: HostFacts
    ) throws(PlanError) -> [(node: DeviceNode, reason: String)] {
        let chosen = try chosenGPUs(request, granted: host.grantedGPUs)
        guard !chosen.isEmpty else { return [] }
        return chosen.map { (node: $0, reason: "GPU, opens here") }
            + host.gpuControlNodes.map { (node: $0, reason: "GPU control") }
    }

    /// The granted nodes that a request names.
    package static func chosenGPUs(
        _ request: LaunchOptions.GPURequest, granted: [DeviceNode]
    ) throws(PlanError) -> [DeviceNode] {
        switch request {
        case .none: return []
        case .granted: return granted
        case .all:
            guard !granted.isEmpty else { throw .noGPUs }
            return granted
        case .count(let count):
            guard count <= granted.count else { throw .tooFewGPUs(requested: count, granted: granted.count) }
            return Array(granted.prefix(count))
        case .positions(let positions):
            var nodes: [DeviceNode] = []
            for position in positions {
                guard position < granted.count else {
                    throw .gpuNotGranted(position: position, granted: granted.count)
                }
                nodes.append(granted[position])
            }
            return nodes
        case .names:
            // Names are positions once somebody has looked at the host; a plan can not.
            return granted
        }
    }
}

// MARK: What devices bring along

extension LaunchPlan {
    /// Places that the host's own file systems cover: an edit there comes after them.
    private static let coveredPlaces = ["/proc/", "/sys/", "/dev/", "/tmp/"]

    static func isCovered(_ path: String) -> Bool { coveredPlaces.contains { path.hasPrefix($0) } }

    /// Files and links in the image's own directories. They come before all mounts: no link of the image may lead a file
    /// of ours into a directory of the host.
    static func deviceFiles(_ host: HostFacts, _ image: ContainerImage) -> [PlannedStep] {
        uncovered(host, image).filter { !isMount($0) }.compactMap(step)
    }

    /// Mounts on the image's own directories.
    static func deviceMounts(_ host: HostFacts, _ image: ContainerImage) -> [PlannedStep] {
        uncovered(host, image).filter(isMount).compactMap(step)
    }

    private static func uncovered(_ host: HostFacts, _ image: ContainerImage) -> [DeviceEdit] {
        // Nothing can be made in a read-only tree; the caller has been warned.
        guard image.overlay, !host.deviceEdits.isEmpty else { return [] }
        return host.deviceEdits.filter { edit in edit.path.map { !isCovered($0) } ?? true }
    }

    /// The same below the host's file systems; hooks at the very end, when all stands.
    static func coveredDeviceFiles(_ host: HostFacts) -> [PlannedStep] {
        guard !host.deviceEdits.isEmpty else { return [] }
        let covered = host.deviceEdits.filter { edit in edit.path.map(isCovered) ?? false }
        // What is written first: none of it may lie in what is mounted.
        var steps = (covered.filter { !isMount($0) } + covered.filter(isMount)).compactMap(step)
        for edit in host.deviceEdits {
            // Only directories that Berth made, such as /dev/dri, which exist by now.
            if case .mode(let path, let mode) = edit.action {
                steps.append(PlannedStep(.mode(path, mode), Origin(edit.origin)))
            }
        }
        return steps
    }

    static func hooks(_ host: HostFacts, inside: Bool) -> [PlannedStep] {
        guard !host.deviceEdits.isEmpty else { return [] }
        return host.deviceEdits.compactMap { edit in
            guard case .hook(let call) = edit.action, call.isInside == inside else { return nil }
            return PlannedStep(.hook(call), Origin(edit.origin))
        }
    }

    private static func isMount(_ edit: DeviceEdit) -> Bool {
        switch edit.action {
        case .bind, .fileSystem: true
        default: false
        }
    }

    private static func step(_ edit: DeviceEdit) -> PlannedStep? {
        let action: PlanAction
        switch edit.action {
        case .bind(let source, let path, let recursive, let attributes):
            // What nobody asked for must not keep an image from running in whose directories nothing can be made.
            var isUnasked = false
            if case .host = edit.origin { isUnasked = true }
            action = .bind(
                BindMount(
                    source: source, target: path, recursive: recursive, attributes: attributes, optional: isUnasked))
        case .fileSystem(let type, let path, let flags, let data):
            action = .mount(type: type, target: path, flags: flags, data: data)
        case .symlink(let path, let target): action = .symlink(path, target: target)
        case .loader(let update): action = .loader(update)
        case .cover(let path, let bytes): action = .cover(path, bytes)
        case .file(let path, let bytes): action = .file(bytes, path)
        case .node, .variable, .mode, .group, .hook: return nil
        }
        return PlannedStep(action, Origin(edit.origin))
    }
}

extension Origin {
    init(_ origin: DeviceEdit.Origin) {
        switch origin {
        case .cdi(let place): self = .cdi(place)
        case .host(let reason): self = .grant(reason)
        case .site(let place): self = .site(place)
        case .option(let name): self = .option(name)
        }
    }
}
