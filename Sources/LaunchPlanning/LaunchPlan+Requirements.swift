package import Devices
package import LinuxKernel

/// A requirement that this launch does not meet.
package struct UnmetRequirement: Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        case gpus(shown: Int, granted: Int)
        /// The host has no such device.
        case noFabric(others: [String])
        /// It has some, but this task may not open them, or the options leave them out.
        case fabricNotGranted([DeviceNode])
        case portsDown([String])
        case lockedMemory(LimitValues, LimitCause)
        /// An option or the site set it lower than the hard limit.
        case lockedMemoryChosen(LimitValues, Origin)
        case noSharedMemory
        case sharedMemory(FileSystemSpace)
        /// A tmpfs that the options or the site put there.
        case sharedMemoryMount(size: UInt64, Origin)
        /// What is written to /dev/shm counts as the job's memory.
        case sharedMemoryAboveJob(limit: UInt64)
        case noChannel
        /// None of these is found inside, and NCCL asks for one to use these devices.
        case noLibrary([String], devices: [String])
    }

    package let requirement: Requirement
    package let origin: Origin
    package let reason: Reason
    package init(_ requirement: Requirement, _ origin: Origin, _ reason: Reason) {
        self.requirement = requirement
        self.origin = origin
        self.reason = reason
    }
}

extension LaunchPlan {
    /// Under which NCCL, UCX and libfabric fail to register their buffers.
    package static let lockedMemoryForRDMA: UInt64 = 1 << 30

    /// Those that this plan, on this host, does not meet.
    func unmet(_ wanted: [PlacedRequirement], _ host: HostFacts) -> [UnmetRequirement] {
        let facts = host.requirements
        var result: [UnmetRequirement] = []
        for one in wanted {
            let reason: UnmetRequirement.Reason?
            switch one.requirement {
            case .gpu(let count):
                let shown = DeviceNode.gpus(among: nodes).count
                let own = min(shown, facts.ownGPUs)
                reason = own < count ? .gpus(shown: own, granted: facts.ownGPUs) : nil
            case .fabric(let fabric): reason = self.reason(fabric, facts, host)
            case .lockedMemory(let bytes): reason = self.reason(lockedMemory: bytes, facts, host)
            case .sharedMemory(let bytes): reason = self.reason(sharedMemory: bytes, facts, host)
            case .imex:
                reason =
                    nodes.contains { $0.kind == .imexChannel } ? nil : .noChannel
            // Looked at once the plan stands: it takes the image's own files.
            case .nccl: reason = nil
            }
            if let reason { result.append(UnmetRequirement(one.requirement, one.origin, reason)) }
        }
        return result
    }

    /// What NCCL would open to use a fabric, and would go over TCP without, in silence: libibverbs for InfiniBand, a plugin
    /// for the others. `NCCL_NET_PLUGIN` names another plugin.
    /// https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html#nccl-net-plugin
    ///
    /// - Parameter isFound: Whether the loader inside finds a library of that name.
    package func unmetLibraries(
        _ wanted: [PlacedRequirement], _ facts: RequirementFacts, isFound: (String) -> Bool
    ) -> [UnmetRequirement] {
        let usable = shown(of: facts.fabrics)
        let needsPlugin = usable.contains { $0.driver == "efa" || $0.node.kind == .slingshot }
        let names = plugins + (needsPlugin ? [] : ["libibverbs.so.1", "libibverbs.so"])
        let reason: UnmetRequirement.Reason
        if facts.fabrics.isEmpty {
            reason = .noFabric(others: [])
        } else if usable.isEmpty {
            reason = .fabricNotGranted(facts.fabrics.map(\.node))
        } else if names.contains(where: isFound) {
            return []
        } else {
            reason = .noLibrary(names, devices: usable.map(\.shortName))
        }
        return wanted.filter { $0.requirement == .nccl }.map { UnmetRequirement($0.requirement, $0.origin, reason) }
    }

    private var plugins: [String] {
        let prefix = "NCCL_NET_PLUGIN="
        guard let entry = process.environment.last(where: { $0.hasPrefix(prefix) }),
            entry.utf8.count > prefix.utf8.count
        else { return ["libnccl-net.so"] }
        var names: [String] = []
        for word in entry.dropFirst(prefix.utf8.count).split(separator: ",") where word != "none" {
            let name = word.split(separator: "/").last.map(String.init) ?? ""
            names += name.contains(".so") ? [name] : ["libnccl-net-\(name).so"]
        }
        return names
    }

    private var targets: [String] {
        steps.compactMap { step in if case .bind(let bind) = step.action { bind.target } else { nil } }
    }

    /// What is shown, under whatever name.
    private var nodes: [DeviceNode] {
        steps.compactMap { step in if case .bind(let bind) = step.action { bind.node } else { nil } }
    }

    /// `-v /dev/infiniband` shows those in it as well.
    private func shown(of devices: [RequirementFacts.FabricDevice]) -> [RequirementFacts.FabricDevice] {
        let shown = targets
        return devices.filter { device in
            shown.contains { device.node.path == $0 || device.node.path.hasPrefix($0 + "/") }
        }
    }

    private func reason(
        _ fabric: Requirement.Fabric, _ facts: RequirementFacts, _ host: HostFacts
    ) -> UnmetRequirement.Reason? {
        let present = facts.fabrics.filter { fabric.includes($0) }
        guard !present.isEmpty else {
            return .noFabric(others: facts.fabrics.map(\.shortName))
        }
        let usable = shown(of: present)
        guard !usable.isEmpty else { return .fabricNotGranted(present.map(\.node)) }
        guard usable.contains(where: { $0.port != .down }) else { return .portsDown(usable.map(\.name)) }
        // Slingshot's provider does not pin through the memlock limit, and CAP_IPC_LOCK, which root keeps, lifts it.
        if fabric == .cxi || (host.isRoot && process.user == .unchanged) { return nil }
        return reason(lockedMemory: Self.lockedMemoryForRDMA, facts, host)
    }

    private func reason(
        lockedMemory wanted: UInt64, _ facts: RequirementFacts, _ host: HostFacts
    ) -> UnmetRequirement.Reason? {
        guard let now = host.limits[.lockedMemory] else { return nil }
        let change = process.limits.last { $0.limit == .lockedMemory }
        let planned = change?.to ?? now
        if planned.soft >= wanted { return nil }
        if let change, change.origin != .berth, now.hard >= wanted {
            return .lockedMemoryChosen(planned, change.origin)
        }
        return .lockedMemory(planned, LimitCause(wanted: wanted, own: now, facts.lockedMemory))
    }

    private func reason(
        sharedMemory wanted: UInt64, _ facts: RequirementFacts, _ host: HostFacts
    ) -> UnmetRequirement.Reason? {
        if let limit = host.memoryLimit, limit < wanted { return .sharedMemoryAboveJob(limit: limit) }
        for step in steps.reversed() {
            if case .mount("tmpfs", "/dev/shm", _, let data) = step.action {
                let size = data.split(separator: ",").first { $0.hasPrefix("size=") }.flatMap {
                    byteCount(String($0.dropFirst(5)))
                }
                // Without a size it is half of the host's memory, which nobody fills by mistake.
                return size.flatMap { $0 < wanted ? .sharedMemoryMount(size: $0, step.origin) : nil }
            }
            // Something else of the host's: what it holds is the caller's business.
            if case .bind(let bind) = step.action, bind.target == "/dev/shm", bind.source != "/dev/shm" { return nil }
        }
        guard let space = facts.sharedMemory else { return .noSharedMemory }
        return space.available < wanted ? .sharedMemory(space) : nil
    }
}

extension RequirementFacts.FabricDevice {
    fileprivate var shortName: String { name.isEmpty ? node.path : name }
}

extension Requirement.Fabric {
    fileprivate func includes(_ device: RequirementFacts.FabricDevice) -> Bool {
        let isCXI = device.node.kind == .slingshot
        return switch self {
        case .rdma: !isCXI
        case .ib: !isCXI && device.driver != "efa"
        case .efa: device.driver == "efa"
        case .cxi: isCXI
        }
    }
}
