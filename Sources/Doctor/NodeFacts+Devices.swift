package import Devices
package import LinuxKernel

extension NodeFacts.NVIDIA {
    package init(_ host: HostTree) throws(SystemError) {
        self.init()
        driver = NVIDIADriver.loadedVersion(host)
        gpus = try GPUInventory(.nvidia, host: host).gpus.count
        let names = try host.names("/dev")
        nodes = names.map { DeviceNode("/dev/" + $0) }.filter { $0.kind == .gpu }
            .sorted { $0.index ?? 0 < $1.index ?? 0 }
        hasControl = names.contains("nvidiactl")
        hasUVM = names.contains("nvidia-uvm")
        library = NVIDIADriver.library(host)
        hasIMEX = (host.text("/proc/devices") ?? "").split(separator: "\n").contains {
            $0.hasSuffix(" nvidia-caps-imex-channels")
        }
        let places = try host.names("/dev/nvidia-caps-imex-channels").map {
            DeviceNode("/dev/nvidia-caps-imex-channels/" + $0)
        }
        channels = places.count
        openChannels = places.count(where: host.isGranted)
        hasPeerMemory = host.exists("/sys/module/nvidia_peermem")
    }
}

extension NodeFacts.AMD {
    package init(_ host: HostTree) throws(SystemError) {
        self.init()
        hasKFD = host.exists("/dev/kfd")
        guard hasKFD else { return }
        let inventory = try GPUInventory(.amd, host: host)
        (gpus, isWhole) = (inventory.gpus.count, inventory.isWhole)
        let nodes: [DeviceNode] = ["/dev/kfd"] + inventory.gpus.map(\.node)
        granted = nodes.filter(host.isGranted)
        refusedByMode = nodes.filter { node in
            host.exists(node.path) && !granted.contains(node)
                && !OwnedFileDescriptor.isRefusedByCgroup(host.path(node.path))
        }
    }
}

extension NodeFacts.CDI {
    /// - Parameter driver: The version of NVIDIA's driver, if it is loaded.
    package init(_ registry: DeviceRegistry, driver: String?, nodes: [DeviceNode]) {
        self.init()
        refused = registry.refused
        conflicts = registry.conflicts.map { "\($0.name) in \($0.paths.joined(separator: " and "))" }
        specifications = registry.specifications.map { specification in
            let mounts = specification.edits.mounts + specification.devices.flatMap(\.edits.mounts)
            return NodeFacts.Specification(
                path: specification.path,
                isOfNVIDIA: specification.vendor == "nvidia.com" && specification.class == "gpu",
                namesDriver: driver.map { version in mounts.contains { $0.hostPath.hasSuffix(".so." + version) } }
                    ?? false)
        }
        if specifications.contains(where: \.isOfNVIDIA) {
            let known = registry.devices(class: "gpu").flatMap {
                $0.device.edits.deviceNodes.map { DeviceNode($0.source) }
            }
            unknownNodes = nodes.filter { !known.contains($0) }
        }
    }
}
