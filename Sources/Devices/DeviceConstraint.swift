package import LinuxKernel

/// Which grantable nodes the device cgroup denies, found without opening a node.
package enum DeviceConstraint {
    /// The denied nodes, sorted.
    package static func refused() throws(SystemError) -> [DeviceNode] {
        try grantable().filter { OwnedFileDescriptor.isRefusedByCgroup($0.path) }
    }

    /// GPUs, their partitions and channels, and fabrics.
    package static func grantable() throws(SystemError) -> [DeviceNode] {
        let host = HostTree()
        var nodes: [DeviceNode] = []
        // In a directory that this user cannot read, the mode denies all nodes, whatever the cgroup allows.
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
        // NVIDIA's control nodes are open to all processes.
        case .gpuControl: node.vendor == .amd
        default: false
        }
    }
}
