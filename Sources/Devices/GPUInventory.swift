package import LinuxKernel

/// All GPUs of the host, granted or not, in the order in which CUDA, ROCm and Slurm count them: NVIDIA's by PCI address,
/// AMD's as the compute driver lists them. The number in `/dev/nvidiaN` follows another order on some hosts.
package struct GPUInventory: Equatable, Sendable {
    package struct GPU: Equatable, Sendable {
        package let address: String
        /// `GPU-…`; empty where the driver shows none.
        package let uuid: String
        package let node: DeviceNode
        /// As the driver calls it: `NVIDIA H100 80GB HBM3`; empty where it does not say.
        package var model = ""
    }

    package private(set) var gpus: [GPU] = []
    /// Whether GPUs that were not granted are among them: AMD's driver may hide those.
    package private(set) var isWhole = true

    /// - Throws: What keeps the list from being read. Without it nothing could be narrowed to what Slurm granted.
    package init(_ vendor: DeviceNode.Vendor?, host: HostTree = HostTree()) throws(SystemError) {
        switch vendor {
        case .nvidia: gpus = try Self.nvidia(host)
        case .amd:
            if let topology = try KFDTopology(host) {
                (gpus, isWhole) = (topology.gpus, topology.isWhole)
            } else {
                gpus = try Self.amd(host)
            }
        case nil: break
        }
    }

    /// `/proc/driver/nvidia/gpus/ADDRESS/information`, whose names sort as the addresses do.
    private static func nvidia(_ host: HostTree) throws(SystemError) -> [GPU] {
        let base = "/proc/driver/nvidia/gpus"
        var gpus: [GPU] = []
        for address in try host.names(base) {
            // One that is left out would shift the numbers of those behind it.
            guard let text = try host.readable("\(base)/\(address)/information"),
                let minor = HostDevices.field("Device Minor", in: text).flatMap({ Int($0) }),
                HostDevices.field("GPU Excluded", in: text) != "Yes"
            else { continue }
            let uuid = HostDevices.field("GPU UUID", in: text) ?? ""
            gpus.append(
                GPU(
                    address: address, uuid: uuid.hasPrefix("GPU-") ? uuid : "", node: "/dev/nvidia\(minor)",
                    model: HostDevices.field("Model", in: text) ?? ""))
        }
        return gpus
    }

    /// Without the compute driver's list: by PCI address.
    private static func amd(_ host: HostTree) throws(SystemError) -> [GPU] {
        try host.names("/sys/class/drm").compactMap { name -> GPU? in
            guard DeviceNode("/dev/dri/" + name).kind == .gpu, let device = host.link("/sys/class/drm/\(name)/device"),
                let address = device.split(separator: "/").last,
                host.link("/sys/class/drm/\(name)/device/driver")?.hasSuffix("/amdgpu") ?? false
            else { return nil }
            return GPU(address: String(address), uuid: "", node: DeviceNode("/dev/dri/" + name))
        }.sorted { $0.address < $1.address }
    }

    /// Nodes in the order of the inventory; those that it does not know come last, as they were.
    package func sorted(_ nodes: [DeviceNode]) -> [DeviceNode] {
        let known = gpus.map(\.node).filter(nodes.contains)
        return known + nodes.filter { !known.contains($0) }
    }
}

// MARK: What Slurm granted where it does not constrain devices

extension GPUInventory {
    /// The nodes behind Slurm's indices, where all of the host's GPUs open and so no cgroup says which are the step's.
    ///
    /// `SLURM_STEP_GPUS` and `SLURM_JOB_GPUS` count GPUs by PCI address over the whole host. `CUDA_VISIBLE_DEVICES` does
    /// so too where devices are not constrained, and is taken only where the others are missing.
    ///
    /// - Returns: `nil` where nothing has to be narrowed, or where the lists count something else than whole GPUs.
    package func grantedBySlurm(open: [DeviceNode], variable: (String) -> String?) -> [DeviceNode]? {
        guard variable("SLURM_JOB_ID") != nil, isWhole, !gpus.isEmpty, gpus.allSatisfy({ open.contains($0.node) })
        else { return nil }
        guard let list = Self.list(variable) else { return nil }
        // Slurm's word for no GPU at all, before 21.08.
        if list == "NoDevFiles" { return [] }
        guard let indices = Self.indices(list), indices.count < gpus.count,
            indices.allSatisfy({ $0 < gpus.count })
        else { return nil }
        return indices.sorted().map { gpus[$0].node }
    }

    private static func list(_ variable: (String) -> String?) -> String? {
        variable("SLURM_STEP_GPUS") ?? variable("SLURM_JOB_GPUS") ?? variable("CUDA_VISIBLE_DEVICES")
            ?? variable("ROCR_VISIBLE_DEVICES")
    }

    /// Whether Slurm names fewer GPUs than open: only then is it worth asking the driver for all of them.
    package static func mayBeNarrower(than open: [DeviceNode], variable: (String) -> String?) -> Bool {
        guard variable("SLURM_JOB_ID") != nil, let list = list(variable) else { return false }
        return list == "NoDevFiles" || (indices(list)?.count ?? open.count) < open.count
    }

    /// `0,2` or `0-1,4`; `nil` for anything else, such as MIG's names.
    package static func indices(_ list: String) -> [Int]? {
        var result: [Int] = []
        for item in list.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = item.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard (1...2).contains(ends.count), let first = ends.first ?? nil, let last = ends.last ?? nil,
                first >= 0, first <= last, last - first < 1024
            else { return nil }
            for index in first...last where !result.contains(index) { result.append(index) }
        }
        return result.isEmpty ? nil : result
    }

    /// The variables that select among visible GPUs by number. On a host with AMD's GPUs those behind the first count what it
    /// leaves, as it is the lower runtime's; NVIDIA's knows nothing of it, though Slurm sets them all.
    /// https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html
    package static let selectors = [
        "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
    ]

    /// Counts all these lists of an environment anew.
    ///
    /// - Returns: Whether there was one.
    package static func renumber(
        _ environment: inout [String], before: [DeviceNode], after: [DeviceNode], _ vendor: DeviceNode.Vendor?
    ) -> Bool {
        var (before, after) = (before, after)
        var isCounted = false
        for name in selectors {
            let prefix = name + "="
            guard let place = environment.firstIndex(where: { $0.hasPrefix(prefix) }) else { continue }
            let list = String(environment[place].dropFirst(prefix.utf8.count))
            let isBelow = vendor == .amd && name == "ROCR_VISIBLE_DEVICES"
            guard let positions = indices(list) else {
                // By name: the others count what these leave, inside as outside.
                if isBelow, !list.isEmpty { break }
                continue
            }
            environment[place] = prefix + renumbered(list, before: before, after: after)
            isCounted = true
            if isBelow {
                before = positions.compactMap { before.indices.contains($0) ? before[$0] : nil }
                after = before.filter(after.contains)
            }
        }
        return isCounted
    }

    /// A list that counts within `before`, for a container that shows `after`; GPUs that it does not show drop out.
    /// Names, such as MIG's and UUIDs, mean the same everywhere and are left.
    package static func renumbered(_ list: String, before: [DeviceNode], after: [DeviceNode]) -> String {
        guard before != after, let positions = indices(list) else { return list }
        return positions.compactMap { position in
            guard position < before.count else { return nil }
            return after.firstIndex(of: before[position]).map { "\($0)" }
        }.joined(separator: ",")
    }
}

// MARK: GPUs by name

extension GPUInventory {
    /// The granted nodes that a list names: by position among the granted ones, by UUID or the start of one, or by PCI
    /// address.
    ///
    /// - Returns: For each name its node, `nil` where it is not among the granted.
    package func nodes(named names: [String], granted: [DeviceNode]) -> [DeviceNode?] {
        names.map { name in
            if let position = Int(name) { return granted.indices.contains(position) ? granted[position] : nil }
            let found = gpus.filter { gpu in
                granted.contains(gpu.node)
                    && ((name.hasPrefix("GPU-") && name.utf8.count > 4 && gpu.uuid.hasPrefix(name))
                        || gpu.address.lowercased().hasSuffix(name.lowercased()) && name.contains(":"))
            }
            return found.count == 1 ? found[0].node : nil
        }
    }
}
