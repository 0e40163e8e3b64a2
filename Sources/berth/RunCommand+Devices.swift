internal import Allocation
internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// The host's devices as this task was granted them.
struct DeviceGrant {
    var devices: HostDevices
    /// Nodes of GPUs: those that open, or of these the ones that Slurm names where it constrains nothing.
    let gpus: [String]
    /// The GPUs that the variables of the host's environment count, where these are more than the granted ones.
    let counted: [String]?
}

extension DeviceGrant {
    /// What a task's cgroup may let it alone open: its GPUs, or its slices of one.
    var ownNodes: [String] { gpus + devices.capabilities }

    /// What a container of several tasks shows, and the GPUs among it.
    func shared(with lists: [[String]]) -> (grant: DeviceGrant, gpus: [String]) {
        let nodes = DeviceOrder.union(lists)
        let slices = nodes.filter { $0.hasPrefix("/dev/nvidia-caps/") }
        var shared = self
        shared.devices.add(capabilities: slices)
        return (shared, nodes.filter { !slices.contains($0) })
    }
}

/// The devices of one launch, decided.
struct DeviceDecision {
    var request: LaunchOptions.GPURequest
    var granted: [String]
    var environment: [String]
    var edits: [DeviceEdit]
    /// Nodes by which the tasks' variables count GPUs, and those that the container shows in their place; empty where
    /// nothing has to be counted anew. Only where others do it, as the variables are each task's own.
    var counted: [String] = []
    var shown: [String] = []
    /// Nodes of slices that are granted and not asked for.
    var withheld: [String] = []
}

extension RunCommand {
    /// Whether other tasks use the container, with variables of their own.
    var isShared: Bool { isForOthers || (task?.localTasks ?? 1) > 1 }

    func grant() throws(Failure) -> DeviceGrant {
        let openable = self.openable
        let devices = try named(Failure.system) { () throws(SystemError) in try HostDevices(openable: openable) }
        // A task's own list would make each task of a step want another container.
        let perTask = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"]
        let host = self.host
        let isShared = isShared
        let variable = { (name: String) in isShared && perTask.contains(name) ? nil : host.variable(name) }
        guard !devices.gpus.isEmpty, GPUInventory.mayBeNarrower(than: devices.gpus, variable: variable)
        else {
            return DeviceGrant(devices: devices, gpus: devices.gpus, counted: nil)
        }
        let inventory = GPUInventory(devices.vendor)
        let narrowed = inventory.grantedBySlurm(open: devices.gpus, variable: variable)
        return DeviceGrant(
            devices: devices, gpus: narrowed ?? devices.gpus, counted: narrowed.map { _ in inventory.gpus.map(\.node) })
    }

    /// - Parameter gpus: Those of all tasks that share the container.
    func decide(
        _ grant: DeviceGrant, gpus: [String], image: ContainerImage, options: LaunchOptions
    ) throws(Failure) -> DeviceDecision {
        // A host without devices of whom nobody asks any.
        let isPlain = gpus.isEmpty && options.cdiDevices.isEmpty && grant.devices.fabric.isEmpty
        var decision = DeviceDecision(
            request: isPlain ? options.gpus : request(grant.devices.vendor, image, options), granted: gpus,
            environment: host.environment,
            edits: [])
        if !gpus.isEmpty || !options.cdiDevices.isEmpty {
            try decideGPUs(grant, image, options, &decision)
        } else if case .names(let names) = decision.request, let first = names.first {
            throw .devices(.noSuchGPU(first, granted: []))
        }
        if !grant.devices.fabric.isEmpty || options.fabric != nil { decision.edits += try fabricEdits(grant, options) }
        if options.slurm { decision.edits += try slurmEdits() }
        if !isForOthers {
            for (name, source) in PMIxVariables.perTask {
                guard let value = host.variable(source) else { continue }
                decision.edits.append(
                    DeviceEdit(.variable("\(name)=\(value)", isDefault: true), .host("PMIx of Slurm")))
            }
        }
        if wantsPyTorch(image, options) {
            let entries =
                isForOthers ? PyTorchVariables.sharedEntries(host.variable) : PyTorchVariables.entries(host.variable)
            decision.edits += entries.map {
                DeviceEdit(.variable($0, isDefault: true), .host("profile pytorch"))
            }
        }
        return decision
    }

    private func decideGPUs(
        _ grant: DeviceGrant, _ image: ContainerImage, _ options: LaunchOptions, _ decision: inout DeviceDecision
    ) throws(Failure) {
        switch decision.request {
        case .positions, .names:
            let inventory = GPUInventory(grant.devices.vendor)
            decision.granted = inventory.sorted(decision.granted)
            try resolveNames(inventory, &decision)
        case .granted, .all, .none: break
        }
        let (request, granted, isForOthers) = (decision.request, decision.granted, isForOthers)
        var chosen = try named(Failure.plan) { () throws(PlanError) in
            try LaunchPlan.chosenGPUs(request, granted: granted)
        }
        let registry = chosen.isEmpty && options.cdiDevices.isEmpty ? nil : try registry()
        let slices = chosen.isEmpty ? nil : try slices(registry, grant, granted: granted, options)
        if let slices {
            let nodes = slices.flatMap { $0.device.edits.deviceNodes.map(\.source) }
            chosen = chosen.filter(nodes.contains)
            decision.granted = chosen
            decision.withheld = grant.devices.capabilities.filter { !nodes.contains($0) }
        }
        // A task counts its own GPUs, whichever its neighbours add to the container.
        let own = { (node: String) in isForOthers || grant.gpus.contains(node) }
        if renumber(
            before: grant.counted ?? granted.filter(own), after: granted.filter { chosen.contains($0) && own($0) },
            grant.devices.vendor, &decision),
            grant.devices.vendor == .nvidia
        {
            // CUDA itself counts the fastest first, and Slurm by PCI address.
            decision.edits.append(
                DeviceEdit(.variable("CUDA_DEVICE_ORDER=PCI_BUS_ID", isDefault: true), .host("GPUs counted anew")))
        }
        guard !chosen.isEmpty || !options.cdiDevices.isEmpty else { return }

        var edits = try cdiEdits(registry, slices, grant, chosen: chosen, granted: granted, image, options)
        if edits == nil, !chosen.isEmpty, grant.devices.vendor == .nvidia {
            edits = driverEdits(chosen, image, options)
        }
        if !chosen.isEmpty { edits = (edits ?? []) + Fabric.companionEdits() }
        if !chosen.isEmpty, grant.devices.gpuControl.contains(where: { $0.hasPrefix("/dev/nvidia-fs") }) {
            edits = (edits ?? []) + NVIDIADriver.storageEdits()
        }
        decision.edits += edits ?? []
        if !image.overlay, speaks(options),
            decision.edits.contains(where: { if case .bind = $0.action { true } else { false } })
        {
            Terminal.note(
                "warning: the driver's files can not be added to this image: its root file system is read-only (see berth "
                    + "inspect)")
        }
    }

    /// What no CDI specification says.
    func driverEdits(_ chosen: [String], _ image: ContainerImage, _ options: LaunchOptions) -> [DeviceEdit]? {
        guard let driver = NVIDIADriver() else {
            if speaks(options), let version = NVIDIADriver.loadedVersion(HostTree()) {
                Terminal.note(
                    "warning: NVIDIA's driver \(version) is loaded, but the host's loader knows no libraries of that version "
                        + "(/etc/ld.so.cache) and there is no CDI specification: the container gets GPUs without a driver; "
                        + "see berth doctor")
            }
            return nil
        }
        let wanted = NVIDIADriver.capabilities(variable("NVIDIA_DRIVER_CAPABILITIES", image, options))
        return driver.edits(wanted) + NVIDIADriver.renderEdits(of: chosen, wanted)
    }

    // MARK: Which GPUs

    /// `--gpus`, else what the image or `-e` says through `NVIDIA_VISIBLE_DEVICES` or `AMD_VISIBLE_DEVICES`, which can only
    /// take away.
    private func request(
        _ vendor: HostDevices.Vendor?, _ image: ContainerImage, _ options: LaunchOptions
    ) -> LaunchOptions.GPURequest {
        guard case .granted = options.gpus else { return options.gpus }
        let name = vendor == .amd ? "AMD_VISIBLE_DEVICES" : "NVIDIA_VISIBLE_DEVICES"
        switch variable(name, image, options) ?? "" {
        case "", "all": return .granted
        case "none", "void": return .none
        case let list: return .names(list.split(separator: ",").map(String.init))
        }
    }

    /// As the command will see it: `-e`, else the image. With the plugin the job's own choice of GPUs and of the driver's
    /// parts wins over the image's, as with Enroot.
    func variable(_ name: String, _ image: ContainerImage, _ options: LaunchOptions) -> String? {
        for variable in options.variables.reversed() {
            switch variable {
            case .set(name, let value): return value
            case .fromHost(name): if let value = host.variable(name) { return value }
            default: continue
            }
        }
        if isForOthers, name.hasPrefix("NVIDIA_"), let value = host.variable(name) { return value }
        let prefix = name + "="
        return image.environment.last { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.utf8.count)) }
    }

    /// Names become positions. What an image names and was not granted is passed over; what the user names is an error.
    private func resolveNames(_ inventory: GPUInventory, _ decision: inout DeviceDecision) throws(Failure) {
        guard case .names(let names) = decision.request else { return }
        // A slice's name is CDI's to know; its GPU's node is granted or it is not.
        if names.allSatisfy({ $0.hasPrefix("MIG-") }) {
            decision.request = .granted
            return
        }
        var isAsked = false
        if case .names = options.gpus { isAsked = true }
        var positions: [Int] = []
        for (name, node) in zip(names, inventory.nodes(named: names, granted: decision.granted)) {
            if let node, let position = decision.granted.firstIndex(of: node) {
                if !positions.contains(position) { positions.append(position) }
            } else if isAsked {
                throw .devices(.noSuchGPU(name, granted: decision.granted))
            }
        }
        decision.request = positions.isEmpty ? .none : .positions(positions)
    }

    /// Lists that count GPUs, for what the container shows.
    private func renumber(
        before: [String], after: [String], _ vendor: HostDevices.Vendor?, _ decision: inout DeviceDecision
    ) -> Bool {
        if before == after { return false }
        if isForOthers {
            (decision.counted, decision.shown) = (before, after)
            return true
        }
        return GPUInventory.renumber(&decision.environment, before: before, after: after, vendor)
    }

    /// Of the tasks that share a container, one is enough.
    func speaks(_ options: LaunchOptions) -> Bool { !options.quiet && (task?.localID ?? 0) == 0 }

    // MARK: Fabric and profile

    private func fabricEdits(_ grant: DeviceGrant, _ options: LaunchOptions) throws(Failure) -> [DeviceEdit] {
        let wanted = options.fabric ?? .auto
        // Nothing there, nothing asked: nothing to look for.
        guard wanted != .none, !(wanted == .auto && grant.devices.fabric.isEmpty) else { return [] }
        let present = Fabric.present(grant.devices.fabric)
        switch wanted {
        case .efa where present != .efa: throw .devices(.noFabric("efa"))
        case .ib where present == .none: throw .devices(.noFabric("ib"))
        default: break
        }
        let chosen = wanted == .auto ? present : wanted
        let rules = configuration.fabricRules.compactMap(FabricRule.init)
        var edits = chosen.edits(rules)
        if options.unshare.contains(.network) {
            // Loopback is all there is, and NCCL would find no interface.
            edits.removeAll { edit in
                if case .host = edit.origin, case .variable(let entry, _) = edit.action {
                    entry.hasPrefix("NCCL_SOCKET_IFNAME=")
                } else {
                    false
                }
            }
        }
        // GPUs bring NCCL's files along already.
        return edits + (grant.gpus.isEmpty ? Fabric.companionEdits() : [])
    }

    func wantsPyTorch(_ image: ContainerImage, _ options: LaunchOptions) -> Bool {
        if let profile = options.profile { return profile == .pytorch }
        if configuration.profile == "pytorch" || variable("BERTH_PROFILE", image, options) == "pytorch" { return true }
        // Where Pyxis is, Enroot's hook does this to images that have PyTorch's version in a variable.
        return isForOthers && configuration.profile == nil && variable("PYTORCH_VERSION", image, options) != nil
    }
}

extension FabricRule {
    init?(_ line: SiteConfiguration.FabricLine) {
        guard let fabric = Fabric(rawValue: line.fabric) else { return nil }
        let action: Action =
            switch line.kind {
            case .mount(let source, let target): .mount(source: source, path: target)
            case .library(let path): .library(path)
            case .variable(let entry): .variable(entry)
            }
        self.init(fabric: fabric, action: action, place: line.place)
    }
}
