internal import LinuxKernel

/// What a device cgroup refuses here, of the kinds of nodes that schedulers grant. Nothing is opened.
package enum DeviceConstraint {
    /// Sorted; empty where nothing is refused, or nothing is there.
    package static func refused() -> [DeviceNode] {
        grantable().filter { OwnedFileDescriptor.isRefusedByCgroup($0.path) }
    }

    /// GPUs, their partitions and channels, and fabrics.
    package static func grantable() -> [DeviceNode] {
        var nodes: [DeviceNode] = []
        for directory in ["/dev", "/dev/dri", "/dev/infiniband", "/dev/nvidia-caps", "/dev/nvidia-caps-imex-channels"] {
            nodes += names(directory).map { DeviceNode(directory + "/" + $0) }.filter(isGrantable)
        }
        return nodes
    }

    private static func isGrantable(_ node: DeviceNode) -> Bool {
        switch node.kind {
        case .gpu, .migCapability, .imexChannel, .verbs, .slingshot: node.index != nil
        // NVIDIA's is everybody's.
        case .gpuControl: node.vendor == .amd
        default: false
        }
    }

    private static func names(_ path: String) -> [String] {
        guard let directory = try? OwnedFileDescriptor(opening: path, .readOnly | .directory),  // absent: none of these
            let names = try? directory.entries()
        else { return [] }
        return names.map(\.displayPath).sorted()
    }
}
