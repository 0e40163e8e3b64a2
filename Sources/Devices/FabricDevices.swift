package import LinuxKernel

/// The host's fabric devices and their state in sysfs, including devices that this process may not open.
///
/// https://docs.kernel.org/infiniband/sysfs.html
package struct FabricDevices: Equatable, Sendable {
    package struct Device: Equatable, Sendable {
        /// `/dev/infiniband/uverbs0`, `/dev/cxi0`
        package let node: DeviceNode
        /// `mlx5_0`; empty if sysfs has none.
        package let name: String
        /// `mlx5_core`, `efa`; empty if sysfs has none.
        package let driver: String
        /// The states of its ports, such as `4: ACTIVE`.
        package let states: [String]

        package init(node: DeviceNode, name: String = "", driver: String = "", states: [String] = []) {
            self.node = node
            self.name = name
            self.driver = driver
            self.states = states
        }

        /// `nil` if sysfs lists no ports.
        package var isActive: Bool? {
            states.isEmpty ? nil : states.contains { $0.hasPrefix("4:") }
        }
    }

    package let devices: [Device]

    /// - Parameter root: The directory that contains `/dev` and `/sys`; empty for the host's root.
    /// - Throws: The error of an unreadable directory. A missing directory contains no devices.
    package init(root: String = "") throws(SystemError) {
        let host = HostTree(root: root.isEmpty ? "/" : root)
        var result: [Device] = []
        for name in try host.names("/dev/infiniband") {
            let node = DeviceNode("/dev/infiniband/" + name)
            guard node.kind == .verbs else { continue }
            let device = Self.line(root + "/sys/class/infiniband_verbs/\(name)/ibdev")
            let directory = root + "/sys/class/infiniband/" + device
            let ports = device.isEmpty ? [] : try host.names("/sys/class/infiniband/\(device)/ports")
            result.append(
                Device(
                    node: node, name: device,
                    driver: device.isEmpty ? "" : Self.driver(directory + "/device"),
                    states: ports.map { Self.line(directory + "/ports/\($0)/state") }.filter { !$0.isEmpty }))
        }
        for name in try host.names("/dev") {
            let node = DeviceNode("/dev/" + name)
            guard node.kind == .slingshot else { continue }
            let directory = root + "/sys/class/cxi/\(name)/device"
            result.append(Device(node: node, name: name, driver: Self.driver(directory)))
        }
        devices = result
    }

    private static func line(_ path: String) -> String {
        guard let bytes = try? contents(of: path, limit: 4096) else { return "" }  // absent: unknown
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    private static func driver(_ directory: String) -> String {
        guard let device = try? OwnedFileDescriptor(opening: directory, .path | .directory),  // none: virtual
            let target = try? device.linkTarget("driver").displayPath  // likewise
        else { return "" }
        return target.split(separator: "/").last.map(String.init) ?? ""
    }
}
