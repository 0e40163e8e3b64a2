package import LinuxKernel

/// The device nodes that this process may use, by the kernel's word: the device cgroup answers `EPERM` where a node was
/// not granted, whatever the environment says. They are asked for with access(2), see `HostTree.isGranted`.
package struct HostDevices: Equatable, Sendable {
    package enum Vendor: Equatable, Sendable { case nvidia, amd }

    /// Whose GPUs the host has; where both are there, NVIDIA's are the ones that are granted.
    package let vendor: Vendor?
    /// `/dev/nvidiaN`, or AMD's `/dev/dri/renderDN`, by rising number.
    package let gpus: [String]
    /// What every GPU needs besides its own node.
    package private(set) var gpuControl: [String]
    /// MIG slices' nodes, `/dev/nvidia-caps/nvidia-capN`: those of the GPUs above; they are in `gpuControl` as well.
    package private(set) var capabilities: [String]
    /// RDMA verbs and their connection manager, Slingshot, and memory shared between processes; management nodes (umad,
    /// issm) are an administrator's.
    package let fabric: [String]

    /// Looks below `/dev`. Where it holds none of the names by which every such driver shows, it is not even listed: that
    /// would be the dearest single thing that a launch reads.
    ///
    /// - Parameter openable: GPUs and MIG slices that others may open, for whom this is. Of what they name only such nodes
    ///   count as the host has; `nil` where this process asks for itself.
    /// - Throws: `SystemError` where `/dev` itself can not be read.
    package init(host: HostTree = HostTree(), openable: [String]? = nil) throws(SystemError) {
        func isGranted(_ path: String) -> Bool { openable?.contains(path) ?? host.isGranted(path) }
        let directory = try OwnedFileDescriptor(opening: host.path("/dev"), .readOnly | .directory)
        let isNVIDIA = directory.holds("nvidiactl") || directory.holds("nvidia0")
        let isAMD = !isNVIDIA && directory.holds("kfd")
        vendor = isNVIDIA ? .nvidia : isAMD ? .amd : nil
        let names = isNVIDIA ? try directory.entries(startingWith: "nvidia").sorted() : []
        gpus = (isNVIDIA ? Self.nvidiaNodes(names) : isAMD ? Self.amdNodes(host) : []).filter(isGranted)
        capabilities = names.contains("nvidia-caps") ? Self.slices(host, of: gpus).filter(isGranted) : []
        gpuControl =
            isNVIDIA
            ? Self.control(names, capabilities, hasCopying: directory.holds("gdrdrv"), host)
            : isAMD ? ["/dev/kfd"].filter(host.isGranted) : []
        let isFabric =
            directory.holds("infiniband") || directory.holds("cxi0") || directory.holds("xpmem")
            || directory.holds("knem")
        fabric = isFabric ? try Self.fabrics(directory, host) : []
    }

    /// Slices of neighbours in the same container, who may open them while this process may not.
    package mutating func add(capabilities others: [String]) {
        for node in others where !capabilities.contains(node) {
            capabilities.append(node)
            gpuControl.append(node)
        }
    }

    private static func nvidiaNodes(_ names: [String]) -> [String] {
        names.compactMap { name -> (Int, String)? in
            gpuNumber("/dev/" + name).map { ($0, "/dev/" + name) }
        }.sorted { $0.0 < $1.0 }.map(\.1)
    }

    /// Whether or not this task has a GPU: a neighbour in the same container may.
    private static func control(
        _ names: [String], _ capabilities: [String], hasCopying: Bool, _ host: HostTree
    ) -> [String] {
        func granted(_ names: [String]) -> [String] { names.map { "/dev/" + $0 }.filter(host.isGranted) }
        let plain = controlOrder.filter(names.contains)
        let further = names.filter { name in
            !plain.contains(name) && furtherPrefixes.contains { name.hasPrefix($0) }
        }
        let channels =
            names.contains("nvidia-caps-imex-channels")
            ? host.names("/dev/nvidia-caps-imex-channels").map { "nvidia-caps-imex-channels/" + $0 } : []
        return granted(plain) + capabilities + granted(channels + further + (hasCopying ? ["gdrdrv"] : []))
    }

    private static func fabrics(
        _ directory: borrowing OwnedFileDescriptor, _ host: HostTree
    ) throws(SystemError) -> [String] {
        let verbs = host.names("/dev/infiniband").filter { $0.hasPrefix("uverbs") || $0 == "rdma_cm" }
            .map { "infiniband/" + $0 }
        let slingshot = try directory.entries(startingWith: "cxi").filter { number(in: $0, after: "cxi") != nil }
            .sorted()
        let memory = ["knem", "xpmem"].filter { directory.holds($0) }
        return (verbs + slingshot + memory).map { "/dev/" + $0 }.filter(host.isGranted)
    }

    private static let controlOrder = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"]
    /// GPUDirect Storage, and NVSwitch as NVML and DCGM look at it.
    private static let furtherPrefixes = ["nvidia-fs", "nvidia-nvswitch", "nvidia-nvlink"]

    /// The minor number in `/dev/nvidiaN`; `nil` for every other path.
    package static func gpuNumber(_ path: String) -> Int? { number(in: path, after: "/dev/nvidia") }

    private static func number(in text: String, after prefix: String) -> Int? {
        guard text.utf8.starts(with: prefix.utf8) else { return nil }
        let digits = text.utf8.dropFirst(prefix.utf8.count)
        guard !digits.isEmpty, digits.allSatisfy(QualifiedName.isDigit) else { return nil }
        return Int(String(Substring(digits)))
    }

    /// The render nodes whose driver is AMD's, by rising number.
    private static func amdNodes(_ host: HostTree) -> [String] {
        host.names("/dev/dri").compactMap { name -> (Int, String)? in
            number(in: name, after: "renderD").map { ($0, name) }
        }.sorted { $0.0 < $1.0 }.map(\.1).filter { name in
            guard let driver = host.link("/sys/class/drm/\(name)/device/driver") else { return true }
            return driver.hasSuffix("/amdgpu")
        }.map { "/dev/dri/" + $0 }
    }

    /// The capability nodes of the GPUs' MIG slices: a GPU instance's and a compute instance's for each. What manages
    /// slices (`mig/config`, `mig/monitor`) is not among them, nor what belongs to other GPUs. A driver that does not
    /// say whose each is leaves it to what can be opened.
    /// https://docs.nvidia.com/datacenter/tesla/mig-user-guide/device-nodes-and-capabilities.html
    private static func slices(_ host: HostTree, of gpus: [String]) -> [String] {
        let nodes = host.names("/dev/nvidia-caps").filter { number(in: $0, after: "nvidia-cap") != nil }
        let base = "/proc/driver/nvidia/capabilities"
        guard !nodes.isEmpty, host.exists(base) else { return nodes.map { "/dev/nvidia-caps/" + $0 } }
        var result: [String] = []
        for number in gpus.compactMap(gpuNumber) {
            let slices = "\(base)/gpu\(number)/mig"
            for instance in host.names(slices) where instance.hasPrefix("gi") {
                let directory = "\(slices)/\(instance)"
                let files = ["access"] + host.names(directory).filter { $0.hasPrefix("ci") }.map { $0 + "/access" }
                for file in files {
                    guard let minor = field("DeviceFileMinor", in: host.text("\(directory)/\(file)") ?? "") else {
                        continue
                    }
                    if nodes.contains("nvidia-cap\(minor)") { result.append("/dev/nvidia-caps/nvidia-cap\(minor)") }
                }
            }
        }
        return result
    }

    /// The value behind `NAME:` in one of the driver's files of lines.
    static func field(_ name: String, in text: String) -> String? {
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) where line.starts(with: (name + ":").utf8) {
            let value = line.dropFirst(name.utf8.count + 1).drop { $0 == 0x20 || $0 == 0x09 }
            return String(decoding: value, as: UTF8.self)
        }
        return nil
    }
}
