package import LinuxKernel

/// All GPUs of the host, granted or not, in the order of CUDA, ROCm and Slurm: NVIDIA's by PCI address, AMD's in the
/// order of the compute driver. On some hosts the number in `/dev/nvidiaN` follows another order.
package struct GPUInventory: Equatable, Sendable {
    package struct GPU: Equatable, Sendable {
        package let address: String
        /// `GPU-…`; empty if the driver does not report it.
        package let uuid: String
        package let node: DeviceNode
        /// The driver's name for the model, such as `NVIDIA H100 80GB HBM3`; empty if unknown.
        package var model = ""
    }

    package private(set) var gpus: [GPU] = []
    /// Whether the list includes the GPUs that were not granted, which AMD's driver may hide.
    package private(set) var isWhole = true

    /// - Throws: The error of an unreadable list, without which the GPUs cannot be limited to those that Slurm granted.
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

    /// Reads `/proc/driver/nvidia/gpus/ADDRESS/information`. The names sort in the order of the addresses.
    private static func nvidia(_ host: HostTree) throws(SystemError) -> [GPU] {
        let base = "/proc/driver/nvidia/gpus"
        var gpus: [GPU] = []
        for address in try host.names(base) {
            // Skipping a GPU would shift the indices of those after it, so an error is thrown.
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

    /// The fallback without the compute driver's list: by PCI address.
    private static func amd(_ host: HostTree) throws(SystemError) -> [GPU] {
        try host.names("/sys/class/drm").compactMap { name -> GPU? in
            guard DeviceNode("/dev/dri/" + name).kind == .gpu, let device = host.link("/sys/class/drm/\(name)/device"),
                let address = device.split(separator: "/").last,
                host.link("/sys/class/drm/\(name)/device/driver")?.hasSuffix("/amdgpu") ?? false
            else { return nil }
            return GPU(address: String(address), uuid: "", node: DeviceNode("/dev/dri/" + name))
        }.sorted { $0.address < $1.address }
    }

    /// Sorts nodes by the inventory. Unknown nodes come last, in their order.
    package func sorted(_ nodes: [DeviceNode]) -> [DeviceNode] {
        let known = gpus.map(\.node).filter(nodes.contains)
        return known + nodes.filter { !known.contains($0) }
    }
}

// MARK: Slurm's grants without device constraints

extension GPUInventory {
    /// The nodes of Slurm's indices if all GPUs of the host open, so that no cgroup limits the step.
    ///
    /// `SLURM_STEP_GPUS` and `SLURM_JOB_GPUS` count the host's GPUs by PCI address. Without device constraints,
    /// `CUDA_VISIBLE_DEVICES` does, too; it is used only if the others are missing.
    ///
    /// - Returns: `nil` if nothing must be limited, or if the lists do not contain indices of whole GPUs.
    package func grantedBySlurm(open: [DeviceNode], variable: (String) -> String?) -> [DeviceNode]? {
        guard variable("SLURM_JOB_ID") != nil, isWhole, !gpus.isEmpty, gpus.allSatisfy({ open.contains($0.node) })
        else { return nil }
        guard let list = Self.list(variable) else { return nil }
        // Before 21.08, Slurm used this word for no GPUs.
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

    /// Whether Slurm lists fewer GPUs than open. Only then does the launch query the driver for all GPUs.
    package static func mayBeNarrower(than open: [DeviceNode], variable: (String) -> String?) -> Bool {
        guard variable("SLURM_JOB_ID") != nil, let list = list(variable) else { return false }
        return list == "NoDevFiles" || (indices(list)?.count ?? open.count) < open.count
    }

    /// Parses `0,2` or `0-1,4`; returns `nil` for other lists, such as names of MIG slices.
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

    /// The variables that select visible GPUs by index. AMD's ROCr is the lower runtime: on a host with AMD GPUs, the
    /// other variables count within what the first one selects. NVIDIA's runtime ignores it, although Slurm sets them
    /// all. https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html
    package static let selectors = [
        "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
    ]

    /// Renumbers all these lists of an environment.
    ///
    /// - Returns: Whether the environment has such a list.
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
                // The list has names. The other variables count within it on the host and in the container alike.
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

    /// Converts host indices within `before` to container indices within `after`, and drops GPUs that `after` lacks.
    /// Names of MIG slices and UUIDs stay as they are.
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
    /// Finds granted nodes by index among the granted nodes, by UUID or a prefix of one, or by PCI address.
    ///
    /// - Returns: The node for each name; `nil` if it is not granted.
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
