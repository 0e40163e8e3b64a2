internal import LinuxKernel

/// A device node of the host. Only this type parses the path; other code asks for `kind`.
package struct DeviceNode: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// `/dev/nvidiaN` or `/dev/dri/renderDN`. An AMD GPU has only the latter. NVIDIA GPUs have both, and use the
        /// latter for graphics; `gpus(among:)` tells them apart.
        case gpu
        /// What all GPUs of a vendor share: `/dev/nvidiactl`, `/dev/nvidia-uvm`, `/dev/kfd`.
        case gpuControl
        /// The capability node of a MIG slice: `/dev/nvidia-caps/nvidia-capN`.
        case migCapability
        /// NVLink between hosts: `/dev/nvidia-caps-imex-channels/channelN`.
        case imexChannel
        /// GPUDirect Storage: `/dev/nvidia-fsN`.
        case storage
        /// NVSwitch and NVLink nodes for NVML and DCGM.
        case nvSwitch
        /// RDMA: `/dev/infiniband/uverbsN`.
        case verbs
        /// The RDMA connection manager: `/dev/infiniband/rdma_cm`.
        case connectionManager
        /// HPE Slingshot: `/dev/cxiN`.
        case slingshot
        /// Memory shared between processes of a host: `/dev/xpmem`, `/dev/knem`.
        case sharedMemory
        /// The nodes of every container: `DeviceNode.standard`.
        case standard
        case other
    }

    package enum Vendor: Equatable, Sendable { case nvidia, amd }

    package let path: String
    package let kind: Kind
    /// `nil` if the path does not identify the vendor: GPUs of both vendors have render nodes.
    package let vendor: Vendor?
    /// The number in the name, for kinds with numbered nodes.
    package let index: Int?

    package init(_ path: String) {
        self.path = path
        (kind, vendor, index) = path.hasPrefix(Self.directory) ? Self.classified(path) : (.other, nil, nil)
    }

    /// Returns `nil` for a path that is not below `/dev`.
    package init?(inDev path: String) {
        guard path.hasPrefix(Self.directory) else { return nil }
        self.init(path)
    }

    /// Compares only the paths, because the other fields derive from them.
    package static func == (one: DeviceNode, other: DeviceNode) -> Bool { one.path == other.path }

    /// https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices
    package static let standard: [DeviceNode] = standardNames.map { DeviceNode(directory + $0) }

    /// The GPUs among nodes. A render node counts only if no other GPU node is present.
    package static func gpus(among nodes: [DeviceNode]) -> [DeviceNode] {
        let gpus = nodes.filter { $0.kind == .gpu }
        let own = gpus.filter { $0.vendor == .nvidia }
        return own.isEmpty ? gpus : own
    }
}

// MARK: Parsing the path

extension DeviceNode {
    private static let directory = "/dev/"
    private static let standardNames = ["null", "zero", "full", "random", "urandom", "tty"]

    private static func classified(_ path: String) -> (Kind, Vendor?, Int?) {
        let name = path.utf8.dropFirst(directory.utf8.count)
        func rest(_ prefix: String) -> Substring.UTF8View? {
            name.starts(with: prefix.utf8) ? name.dropFirst(prefix.utf8.count) : nil
        }
        if let rest = rest("nvidia") {
            if let index = number(rest) { return (.gpu, .nvidia, index) }
            let kind = nvidiaKind(rest)
            return (kind, .nvidia, kind == .other ? nil : trailingNumber(rest))
        }
        if let index = rest("dri/renderD").flatMap(number) { return (.gpu, nil, index) }
        if let rest = rest("infiniband/uverbs") { return (.verbs, nil, number(rest)) }
        if let index = rest("cxi").flatMap(number) { return (.slingshot, nil, index) }
        switch String(Substring(name)) {
        case "kfd": return (.gpuControl, .amd, nil)
        case "gdrdrv": return (.gpuControl, .nvidia, nil)
        case "infiniband/rdma_cm": return (.connectionManager, nil, nil)
        case "xpmem", "knem": return (.sharedMemory, nil, nil)
        case let name: return (standardNames.contains(name) ? .standard : .other, nil, nil)
        }
    }

    /// - Parameter rest: The part of the name after `nvidia`.
    private static func nvidiaKind(_ rest: Substring.UTF8View) -> Kind {
        switch String(Substring(rest)) {
        case "ctl", "-uvm", "-uvm-tools", "-modeset": .gpuControl
        case let rest where rest.hasPrefix("-caps/"): .migCapability
        case let rest where rest.hasPrefix("-caps-imex-channels/channel"): .imexChannel
        case let rest where rest.hasPrefix("-fs"): .storage
        case let rest where rest.hasPrefix("-nvswitch") || rest.hasPrefix("-nvlink"): .nvSwitch
        default: .other
        }
    }

    private static func number(_ digits: Substring.UTF8View) -> Int? {
        guard !digits.isEmpty, digits.allSatisfy(QualifiedName.isDigit) else { return nil }
        return Int(String(Substring(digits)))
    }

    /// The number at the end of a name such as `-caps/nvidia-cap7`.
    private static func trailingNumber(_ name: Substring.UTF8View) -> Int? {
        number(
            name.suffix(from: name.lastIndex { !QualifiedName.isDigit($0) }.map(name.index(after:)) ?? name.startIndex))
    }
}

// MARK: Device number

extension DeviceNode {
    /// The type and number by which a device cgroup identifies a node.
    package struct Number: Equatable, Sendable {
        package let isBlock: Bool
        package let major: UInt32
        package let minor: UInt32
    }

    /// `nil` if the path is absent or not a device node.
    package var number: Number? {
        guard let status = try? FileStatus(of: path),  // absent: no number
            [.characterDevice, .blockDevice].contains(status.kind)
        else { return nil }
        return Number(isBlock: status.kind == .blockDevice, major: status.majorNumber, minor: status.minorNumber)
    }
}

// MARK: As text

extension DeviceNode: CustomStringConvertible, ExpressibleByStringInterpolation {
    package var description: String { path }
    package init(stringLiteral path: String) { self.init(path) }
}
