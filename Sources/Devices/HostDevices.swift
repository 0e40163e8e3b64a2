package import LinuxKernel

/// The device nodes that this process may use according to the kernel. The device cgroup returns `EPERM` for other
/// nodes, whatever the environment says. `HostTree.isGranted` queries it with access(2).
package struct HostDevices: Equatable, Sendable {
    /// The vendor of the host's GPUs. If both are present, only NVIDIA's GPUs are granted.
    package let vendor: DeviceNode.Vendor?
    /// `/dev/nvidiaN`, or AMD's `/dev/dri/renderDN`, in ascending order.
    package let gpus: [DeviceNode]
    /// The nodes that all GPUs share.
    package private(set) var gpuControl: [DeviceNode]
    /// The capability nodes of the MIG slices of `gpus`. `gpuControl` contains them as well.
    package private(set) var capabilities: [DeviceNode]
    /// RDMA verbs, the RDMA connection manager, Slingshot, and memory shared between processes. Management nodes (umad,
    /// issm) are for administrators only.
    package let fabric: [DeviceNode]
    /// Device directories that this user cannot read. None of their nodes is granted.
    package let unreadable: [SystemError]

    /// Lists `/dev` only if it contains a name that reveals such a driver, because listing it costs more than anything
    /// else that a launch reads.
    ///
    /// - Parameter openable: The GPUs and MIG slices that other tasks may open, to grant them instead of the caller's.
    ///   Entries that the host lacks are ignored. `nil` queries the kernel for the calling process.
    /// - Throws: `SystemError` if a directory is unreadable for a reason other than its mode.
    package init(host: HostTree = HostTree(), openable: [DeviceNode]? = nil) throws(SystemError) {
        func isGranted(_ node: DeviceNode) -> Bool { openable?.contains(node) ?? host.isGranted(node) }
        let directory = try OwnedFileDescriptor(opening: host.path("/dev"), .readOnly | .directory)
        let isNVIDIA = directory.holds("nvidiactl") || directory.holds("nvidia0")
        let isAMD = !isNVIDIA && directory.holds("kfd")
        var unreadable: [SystemError] = []
        vendor = isNVIDIA ? .nvidia : isAMD ? .amd : nil
        let names = isNVIDIA ? try directory.entries(startingWith: "nvidia").sorted() : []
        gpus = (isNVIDIA ? Self.nvidiaNodes(names) : isAMD ? try Self.amdNodes(host, &unreadable) : []).filter(
            isGranted)
        capabilities =
            names.contains("nvidia-caps") ? try Self.slices(host, of: gpus, &unreadable).filter(isGranted) : []
        gpuControl =
            isNVIDIA
            ? try Self.control(names, capabilities, hasCopying: directory.holds("gdrdrv"), host, &unreadable)
            : isAMD ? Self.amdControl.filter(host.isGranted) : []
        let isFabric =
            directory.holds("infiniband") || directory.holds("cxi0") || directory.holds("xpmem")
            || directory.holds("knem")
        fabric = isFabric ? try Self.fabrics(directory, host, &unreadable) : []
        self.unreadable = unreadable
    }

    /// Adds MIG slices of other tasks in the same container, which this process itself may not open.
    package mutating func add(capabilities others: [DeviceNode]) {
        for node in others where !capabilities.contains(node) {
            capabilities.append(node)
            gpuControl.append(node)
        }
    }

    private static func nvidiaNodes(_ names: [String]) -> [DeviceNode] {
        names.map { DeviceNode("/dev/" + $0) }.filter { $0.kind == .gpu }.sorted(by: isBefore)
    }

    private static func isBefore(_ one: DeviceNode, _ other: DeviceNode) -> Bool { one.index ?? 0 < other.index ?? 0 }

    /// Control nodes are added even if this task has no GPU, because another task in the same container may have one.
    private static func control(
        _ names: [String], _ capabilities: [DeviceNode], hasCopying: Bool, _ host: HostTree,
        _ unreadable: inout [SystemError]
    ) throws(SystemError) -> [DeviceNode] {
        let nodes = names.map { DeviceNode("/dev/" + $0) }
        let plain = controlOrder.filter(nodes.contains)
        let further = nodes.filter { $0.kind == .storage || $0.kind == .nvSwitch }
        let channels =
            names.contains("nvidia-caps-imex-channels")
            ? try host.names("/dev/nvidia-caps-imex-channels", unreadable: &unreadable)
                .map { DeviceNode("/dev/nvidia-caps-imex-channels/" + $0) } : []
        let copying: [DeviceNode] = hasCopying ? ["/dev/gdrdrv"] : []
        return plain.filter(host.isGranted) + capabilities + (channels + further + copying).filter(host.isGranted)
    }

    private static func fabrics(
        _ directory: borrowing OwnedFileDescriptor, _ host: HostTree, _ unreadable: inout [SystemError]
    ) throws(SystemError) -> [DeviceNode] {
        let verbs = try host.names("/dev/infiniband", unreadable: &unreadable).map {
            DeviceNode("/dev/infiniband/" + $0)
        }
        .filter { $0.kind == .verbs || $0.kind == .connectionManager }
        let slingshot = try directory.entries(startingWith: "cxi").sorted().map { DeviceNode("/dev/" + $0) }
            .filter { $0.kind == .slingshot }
        let memory = ["knem", "xpmem"].filter { directory.holds($0) }.map { DeviceNode("/dev/" + $0) }
        return (verbs + slingshot + memory).filter(host.isGranted)
    }

    private static let amdControl: [DeviceNode] = ["/dev/kfd"]
    private static let controlOrder: [DeviceNode] = [
        "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset",
    ]

    /// The render nodes of AMD's driver, in ascending order.
    private static func amdNodes(
        _ host: HostTree, _ unreadable: inout [SystemError]
    ) throws(SystemError) -> [DeviceNode] {
        try host.names("/dev/dri", unreadable: &unreadable).filter { name in
            guard DeviceNode("/dev/dri/" + name).kind == .gpu else { return false }
            guard let driver = host.link("/sys/class/drm/\(name)/device/driver") else { return true }
            return driver.hasSuffix("/amdgpu")
        }.map { DeviceNode("/dev/dri/" + $0) }.sorted(by: isBefore)
    }

    /// The capability nodes of the GPUs' MIG slices: one for the GPU instance and one for the compute instance.
    /// Excludes the nodes that manage slices (`mig/config`, `mig/monitor`) and those of other GPUs. If the driver does
    /// not assign the nodes to GPUs, all nodes that open are included.
    /// https://docs.nvidia.com/datacenter/tesla/mig-user-guide/device-nodes-and-capabilities.html
    private static func slices(
        _ host: HostTree, of gpus: [DeviceNode], _ unreadable: inout [SystemError]
    ) throws(SystemError) -> [DeviceNode] {
        let nodes = try host.names("/dev/nvidia-caps", unreadable: &unreadable).map {
            DeviceNode("/dev/nvidia-caps/" + $0)
        }.filter { $0.index != nil }
        let base = "/proc/driver/nvidia/capabilities"
        guard !nodes.isEmpty, host.exists(base) else { return nodes }
        var result: [DeviceNode] = []
        for number in gpus.compactMap(\.index) {
            let slices = "\(base)/gpu\(number)/mig"
            for instance in try host.names(slices) where instance.hasPrefix("gi") {
                let directory = "\(slices)/\(instance)"
                let names = try host.names(directory)
                let files = ["access"] + names.filter { $0.hasPrefix("ci") }.map { $0 + "/access" }
                for file in files {
                    guard let minor = field("DeviceFileMinor", in: host.text("\(directory)/\(file)") ?? "") else {
                        continue
                    }
                    let node = DeviceNode("/dev/nvidia-caps/nvidia-cap\(minor)")
                    if nodes.contains(node) { result.append(node) }
                }
            }
        }
        return result
    }

    /// The value of `NAME:` in a file of the driver.
    static func field(_ name: String, in text: String) -> String? {
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) where line.starts(with: (name + ":").utf8) {
            let value = line.dropFirst(name.utf8.count + 1).drop { $0 == 0x20 || $0 == 0x09 }
            return String(decoding: value, as: UTF8.self)
        }
        return nil
    }
}
