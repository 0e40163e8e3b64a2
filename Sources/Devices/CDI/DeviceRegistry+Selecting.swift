internal import LinuxKernel

extension DeviceRegistry {
    /// Devices that two files of one directory define and no directory of higher priority overrides; each once.
    package var conflicts: [(name: String, paths: [String])] {
        var left = definitions.filter { $0.value.paths.count > 1 }
        var result: [(name: String, paths: [String])] = []
        for specification in specifications where !left.isEmpty {
            for device in specification.devices {
                let name = specification.kind + "=" + device.name
                if let found = left.removeValue(forKey: name) { result.append((name, found.paths)) }
            }
        }
        return result
    }

    /// The CDI devices for GPUs with these nodes; `nil` if no specification has one of the nodes, which means that the
    /// specification is out of date.
    ///
    /// A GPU and its MIG slices have the same node. A slice is selected if its capability nodes are granted, and then
    /// the whole GPU is not. If a device has several names, the first one in the file is used.
    package func devices(forNodes nodes: [DeviceNode], capabilities: [DeviceNode]) -> [Found]? {
        let candidates = devices(class: "gpu").map { (found: $0, nodes: Nodes($0)) }
        var result: [Found] = []
        for node in nodes {
            var slices: [[DeviceNode]] = []
            for candidate in candidates
            where candidate.nodes.gpus == [node] && !candidate.nodes.capabilities.isEmpty
                && candidate.nodes.capabilities.allSatisfy(capabilities.contains)
                && !slices.contains(candidate.nodes.capabilities)
            {
                slices.append(candidate.nodes.capabilities)
                result.append(candidate.found)
            }
            if !slices.isEmpty { continue }
            guard let whole = candidates.first(where: { $0.nodes.gpus == [node] && $0.nodes.capabilities.isEmpty })
            else { return nil }
            result.append(whole.found)
        }
        return result
    }

    /// Checks that a device selected by name contains no GPU or MIG slice that this process was not granted.
    package static func checkGrant(
        of devices: [Found], gpus granted: [DeviceNode], capabilities: [DeviceNode] = []
    ) throws(DeviceError) {
        for found in devices {
            let nodes = Nodes(found)
            for node in nodes.gpus where !granted.contains(node) {
                throw .notGranted(found.name, node: node, granted: granted)
            }
            for node in nodes.capabilities where !capabilities.contains(node) {
                throw .notGranted(found.name, node: node, granted: granted + capabilities)
            }
        }
    }

    /// The nodes of a device's own edits that identify the GPU.
    private struct Nodes {
        let gpus: [DeviceNode]
        let capabilities: [DeviceNode]

        init(_ found: Found) {
            let nodes = found.device.edits.deviceNodes.map { DeviceNode($0.source) }
            gpus = DeviceNode.gpus(among: nodes)
            capabilities = nodes.filter { $0.kind == .migCapability }
        }
    }
}
