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
    let gpus: [DeviceNode]
    /// The GPUs that the variables of the host's environment count, where these are more than the granted ones.
    let hostIndex: [DeviceNode]?

    /// Asks the kernel, and Slurm's variables where its cgroups constrain nothing.
    init(_ request: LaunchRequest) throws(Failure) {
        let (openable, caller, isShared) = (request.openable, request.caller, request.isShared)
        devices = try mapError(to: Failure.system) { () throws(SystemError) in try HostDevices(openable: openable) }
        if request.speaks {
            for error in devices.unreadable {
                Terminal.note("warning: the devices in \(error.subject) are not available: \(error.sentence)")
            }
        }
        // A task's own list would make each task of a step want another container.
        let perTask = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"]
        let variable = { (name: String) in isShared && perTask.contains(name) ? nil : caller.variable(name) }
        guard !devices.gpus.isEmpty, GPUInventory.mayBeNarrower(than: devices.gpus, variable: variable) else {
            (gpus, hostIndex) = (devices.gpus, nil)
            return
        }
        let vendor = devices.vendor
        let inventory = try mapError(to: Failure.system) { () throws(SystemError) in try GPUInventory(vendor) }
        let narrowed = inventory.grantedBySlurm(open: devices.gpus, variable: variable)
        gpus = narrowed ?? devices.gpus
        hostIndex = narrowed.map { _ in inventory.gpus.map(\.node) }
    }
}

extension DeviceGrant {
    /// What a task's cgroup may let it alone open: its GPUs, or its slices of one.
    var ownNodes: [DeviceNode] { gpus + devices.capabilities }

    /// What a container of several tasks shows, and the GPUs among it.
    func shared(with lists: [[DeviceNode]]) -> (grant: DeviceGrant, gpus: [DeviceNode]) {
        let nodes = DeviceOrder.union(lists)
        let slices = nodes.filter { $0.kind == .migCapability }
        var shared = self
        shared.devices.add(capabilities: slices)
        return (shared, nodes.filter { $0.kind != .migCapability })
    }
}

/// The nodes that any task of the step may open, each once, by rising number: every task counts its own within them.
enum DeviceOrder {
    static func union(_ lists: [[DeviceNode]]) -> [DeviceNode] {
        var all: [DeviceNode] = []
        for list in lists { for node in list where !all.contains(node) { all.append(node) } }
        return all.sorted { $0.index ?? 0 < $1.index ?? 0 }
    }
}

/// The devices of one launch: what the kernel grants, what the container shows of it, and how lists of GPUs are renumbered.
/// Decided once, by `DeviceSelector`.
struct DeviceSelection {
    var request: LaunchOptions.GPURequest
    var granted: [DeviceNode]
    var environment: [String]
    var edits: [DeviceEdit]
    /// Nodes by which the tasks' variables count GPUs, and those that the container shows in their place; empty where
    /// nothing has to be renumbered. Only where others do it, as the variables are each task's own.
    var hostIndex: [DeviceNode] = []
    var containerIndex: [DeviceNode] = []
    /// Nodes of slices that are granted and not asked for.
    var withheld: [DeviceNode] = []
}

/// Makes the selection for an image. A container of several tasks shows what any of them was granted.
struct DeviceSelector {
    let request: LaunchRequest
    let grant: DeviceGrant
    let image: ContainerImage
    /// With the site's defaults and the variables of files.
    var options: LaunchOptions { request.options }
    /// The tasks' own variables are not known here: others renumber their lists.
    var isForPlugin: Bool { request.audience == .tasksOfPlugin }

    private var caller: CallerContext { request.caller }

    /// - Parameter gpus: Those of all tasks that share the container.
    func select(gpus: [DeviceNode]) throws(Failure) -> DeviceSelection {
        // A host without devices of whom nobody asks any.
        let isPlain = gpus.isEmpty && options.cdiDevices.isEmpty && grant.devices.fabric.isEmpty
        var selection = DeviceSelection(
            request: isPlain ? options.gpus : gpuRequest(), granted: gpus,
            environment: caller.environment,
            edits: [])
        if !gpus.isEmpty || !options.cdiDevices.isEmpty {
            try selectGPUs(&selection)
        } else if case .names(let names) = selection.request, let first = names.first {
            throw .devices(.noSuchGPU(first, granted: []))
        }
        if !grant.devices.fabric.isEmpty || options.fabric != nil { selection.edits += try fabricEdits() }
        if options.slurm { selection.edits += try request.slurmClientEdits() }
        if !isForPlugin {
            for (name, source) in PMIxVariables.perTask {
                guard let value = caller.variable(source) else { continue }
                selection.edits.append(
                    DeviceEdit(.variable("\(name)=\(value)", isDefault: true), .host("PMIx of Slurm")))
            }
        }
        if wantsPyTorch {
            let entries =
                isForPlugin
                ? PyTorchVariables.sharedEntries(caller.variable) : PyTorchVariables.entries(caller.variable)
            selection.edits += entries.map {
                DeviceEdit(
                    .variable($0, isDefault: !PyTorchVariables.isOfStep($0)), .host("profile pytorch"))
            }
        }
        return selection
    }

    private func selectGPUs(_ selection: inout DeviceSelection) throws(Failure) {
        switch selection.request {
        case .count, .positions, .names:
            let vendor = grant.devices.vendor
            let inventory = try mapError(to: Failure.system) { () throws(SystemError) in try GPUInventory(vendor) }
            selection.granted = inventory.sorted(selection.granted)
            try resolveNames(inventory, &selection)
        case .granted, .all, .none: break
        }
        let (gpuRequest, granted, isForPlugin) = (selection.request, selection.granted, isForPlugin)
        var chosen = try mapError(to: Failure.plan) { () throws(PlanError) in
            try LaunchPlan.chosenGPUs(gpuRequest, granted: granted)
        }
        let registry = chosen.isEmpty && options.cdiDevices.isEmpty ? nil : try request.deviceRegistry()
        let slices = chosen.isEmpty ? nil : try slices(registry, granted: granted)
        if let slices {
            let nodes = slices.flatMap { $0.device.edits.deviceNodes.map { DeviceNode($0.source) } }
            chosen = chosen.filter(nodes.contains)
            selection.granted = chosen
            selection.withheld = grant.devices.capabilities.filter { !nodes.contains($0) }
        }
        // A task counts its own GPUs, whichever its neighbours add to the container.
        let own = { (node: DeviceNode) in isForPlugin || grant.gpus.contains(node) }
        if renumber(
            before: grant.hostIndex ?? granted.filter(own), after: granted.filter { chosen.contains($0) && own($0) },
            grant.devices.vendor, &selection),
            grant.devices.vendor == .nvidia
        {
            // CUDA itself counts the fastest first, and Slurm by PCI address.
            selection.edits.append(
                DeviceEdit(.variable("CUDA_DEVICE_ORDER=PCI_BUS_ID", isDefault: true), .host("GPUs renumbered")))
        }
        guard !chosen.isEmpty || !options.cdiDevices.isEmpty else { return }

        var edits = try cdiEdits(registry, slices, chosen: chosen, granted: granted)
        if edits == nil, !chosen.isEmpty, grant.devices.vendor == .nvidia {
            edits = try driverEdits(chosen)
        }
        if !chosen.isEmpty { edits = (edits ?? []) + Fabric.companionEdits() }
        if !chosen.isEmpty, grant.devices.gpuControl.contains(where: { $0.kind == .storage }) {
            edits = (edits ?? []) + NVIDIADriver.storageEdits()
        }
        selection.edits += edits ?? []
        if !image.overlay, request.speaks,
            selection.edits.contains(where: { if case .bind = $0.action { true } else { false } })
        {
            Terminal.note(
                "warning: the driver's files cannot be added to this image: its root file system is read-only (see berth "
                    + "inspect)")
        }
    }

    /// What no CDI specification says.
    func driverEdits(_ chosen: [DeviceNode]) throws(Failure) -> [DeviceEdit]? {
        guard let driver = NVIDIADriver() else {
            if request.speaks, let version = NVIDIADriver.loadedVersion(HostTree()) {
                Terminal.note(
                    "warning: NVIDIA's driver \(version) is loaded, but the host's loader knows no libraries of that version "
                        + "(/etc/ld.so.cache) and there is no CDI specification: the container gets GPUs without a driver; "
                        + "see berth doctor")
            }
            return nil
        }
        let wanted = NVIDIADriver.capabilities(variable("NVIDIA_DRIVER_CAPABILITIES"))
        return try mapError(to: Failure.system) { () throws(SystemError) in
            try driver.edits(wanted) + NVIDIADriver.renderEdits(of: chosen, wanted)
        }
    }

    // MARK: Which GPUs

    /// `--gpus`, else what the image or `-e` says through `NVIDIA_VISIBLE_DEVICES` or `AMD_VISIBLE_DEVICES`, which can only
    /// take away.
    private func gpuRequest() -> LaunchOptions.GPURequest {
        guard case .granted = options.gpus else { return options.gpus }
        let name = grant.devices.vendor == .amd ? "AMD_VISIBLE_DEVICES" : "NVIDIA_VISIBLE_DEVICES"
        switch variable(name) ?? "" {
        case "", "all": return .granted
        case "none", "void": return .none
        case let list: return .names(list.split(separator: ",").map(String.init))
        }
    }

    /// As the command will see it: `-e`, else the image. With the plugin the job's own choice of GPUs and of the driver's
    /// parts wins over the image's, as with Enroot.
    func variable(_ name: String) -> String? {
        for variable in options.variables.reversed() {
            switch variable {
            case .set(name, let value): return value
            case .fromHost(name): if let value = caller.variable(name) { return value }
            case .expanded(name, let text):
                if let value = try? VariableReferences.resolve(text, caller.variable) { return value }  // else the plan's error
            case .unset(name): return nil
            default: continue
            }
        }
        if isForPlugin, name.hasPrefix("NVIDIA_"), let value = caller.variable(name) { return value }
        let prefix = name + "="
        return image.environment.last { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.utf8.count)) }
    }

    /// Names become positions. What an image names and was not granted is passed over; what the user names is an error.
    private func resolveNames(_ inventory: GPUInventory, _ selection: inout DeviceSelection) throws(Failure) {
        guard case .names(let names) = selection.request else { return }
        // A slice's name is CDI's to know; its GPU's node is granted or it is not.
        if names.allSatisfy({ $0.hasPrefix("MIG-") }) {
            selection.request = .granted
            return
        }
        var isAsked = false
        if case .names = options.gpus { isAsked = true }
        var positions: [Int] = []
        for (name, node) in zip(names, inventory.nodes(named: names, granted: selection.granted)) {
            if let node, let position = selection.granted.firstIndex(of: node) {
                if !positions.contains(position) { positions.append(position) }
            } else if isAsked {
                throw .devices(.noSuchGPU(name, granted: selection.granted))
            }
        }
        selection.request = positions.isEmpty ? .none : .positions(positions)
    }

    /// Lists that count GPUs, for what the container shows.
    private func renumber(
        before: [DeviceNode], after: [DeviceNode], _ vendor: DeviceNode.Vendor?, _ selection: inout DeviceSelection
    ) -> Bool {
        if before == after { return false }
        if isForPlugin {
            (selection.hostIndex, selection.containerIndex) = (before, after)
            return true
        }
        return GPUInventory.renumber(&selection.environment, before: before, after: after, vendor)
    }

    // MARK: Fabric and profile

    private func fabricEdits() throws(Failure) -> [DeviceEdit] {
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
        let rules = request.configuration.fabricRules.compactMap(FabricRule.init)
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

    var wantsPyTorch: Bool {
        if let profile = options.profile { return profile == .pytorch }
        if request.configuration.profile == "pytorch" || variable("BERTH_PROFILE") == "pytorch" { return true }
        // Where Pyxis is, Enroot's hook does this to images that have PyTorch's version in a variable.
        return isForPlugin && request.configuration.profile == nil && variable("PYTORCH_VERSION") != nil
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
