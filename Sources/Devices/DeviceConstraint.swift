package import LinuxKernel

/// What a device cgroup refuses here, of the kinds of nodes that schedulers grant. Nothing is opened.
package enum DeviceConstraint {
    /// Sorted; empty where nothing is refused, or nothing is there.
    package static func refused() throws(SystemError) -> [DeviceNode] {
        try grantable().filter { OwnedFileDescriptor.isRefusedByCgroup($0.path) }
    }

    /// GPUs, their partitions and channels, and fabrics.
    package static func grantable() throws(SystemError) -> [DeviceNode] {
        let host = HostTree()
        var nodes: [DeviceNode] = []
        // In a directory that this user may not read, a mode refuses the nodes, whatever the cgroup says.
        var unreadable: [SystemError] = []
        for directory in ["/dev", "/dev/dri", "/dev/infiniband", "/dev/nvidia-caps", "/dev/nvidia-caps-imex-channels"] {
            nodes += try host.names(directory, unreadable: &unreadable).map { DeviceNode(directory + "/" + $0) }.filter(
                isGrantable)
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
}
