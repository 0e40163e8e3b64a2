internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig
internal import Store

extension DeviceSelector {
    // MARK: CDI

    /// `nil` where no specification speaks of the GPUs.
    func cdiEdits(
        _ registry: DeviceRegistry?, _ slices: [DeviceRegistry.Found]?, chosen: [DeviceNode], granted: [DeviceNode]
    ) throws(Failure) -> [DeviceEdit]? {
        guard let registry else {
            if let name = options.cdiDevices.first { throw .devices(.unknownKind(name.kind, refused: [])) }
            return nil
        }
        var devices: [DeviceRegistry.Found] = []
        var speaksOfGPUs = false
        if !chosen.isEmpty {
            if let found = slices
                ?? registry.devices(forNodes: chosen, capabilities: grant.devices.capabilities)
            {
                devices = found
                speaksOfGPUs = true
            } else if request.speaks, let file = registry.refused.first {
                Terminal.note(
                    "the CDI specification \(file.path)\(file.line > 0 ? ":\(file.line)" : "") is not taken in (\(file.reason)): the "
                        + "driver's files are found without it; see berth cdi")
            } else if request.speaks, !registry.devices(class: "gpu").isEmpty {
                Terminal.note(
                    "the CDI specifications of this host lack \(chosen.map(\.path).joined(separator: ", ")) or parts of it: the driver's "
                        + "files are found without them")
            }
        }
        for name in options.cdiDevices {
            let found = try mapError(to: Failure.devices) { () throws(DeviceError) in try registry.device(name) }
            if !devices.contains(found) { devices.append(found) }
        }
        let all = devices
        let hooks = request.configuration.cdiHooks
        let limitsMemory = DeviceInjection.memoryVariables.allSatisfy {
            variable($0) ?? request.caller.variable($0) != nil
        }
        let result = try mapError(to: Failure.devices) { () throws(DeviceError) in
            try DeviceRegistry.checkGrant(of: all, gpus: granted, capabilities: grant.devices.capabilities)
            return try DeviceInjection.edits(of: all, host: HostTree(), allowedHooks: hooks, limitsMemory: limitsMemory)
        }
        try trustHooks(of: result.edits)
        if request.speaks {
            for ignored in result.ignored { Terminal.note("\(ignored) of the CDI specification has no effect") }
        }
        if !speaksOfGPUs, !chosen.isEmpty, grant.devices.vendor == .nvidia,
            let driver = try driverEdits(chosen)
        {
            return result.edits + driver
        }
        return speaksOfGPUs || !result.edits.isEmpty ? result.edits : nil
    }

    /// A hook runs outside of the container, with the caller's rights. One that is absent shows when it is started.
    private func trustHooks(of edits: [DeviceEdit]) throws(Failure) {
        for edit in edits {
            guard case .hook(let hook) = edit.action,
                let fault = try? Trust().fault(on: hook.path)
            else { continue }
            throw .report(
                Report(
                    refusing: "hook", hook.path, fault,
                    hint: "a hook belongs to root: chown root \(fault.path), or remove its `cdi-hook` from berth.conf"))
        }
    }

    /// MIG slices by name, where no cgroup tells them apart: `--gpus MIG-…`, or what Slurm put into the environment.
    /// Where no specification knows these, all that may be opened are shown, and the names go on meaning what they mean.
    func slices(
        _ registry: DeviceRegistry?, granted: [DeviceNode]
    ) throws(Failure) -> [DeviceRegistry.Found]? {
        var names: [String] = []
        var isAsked = false
        if case .names(let asked) = options.gpus { (names, isAsked) = (asked, true) }
        if names.isEmpty, !request.isShared, case .granted = options.gpus {
            names = request.caller.variable("CUDA_VISIBLE_DEVICES")?.split(separator: ",").map(String.init) ?? []
        }
        guard !names.isEmpty, names.allSatisfy({ $0.hasPrefix("MIG-") }) else { return nil }
        let all = registry?.devices(class: "gpu") ?? []
        var found: [DeviceRegistry.Found] = []
        for name in names {
            guard let device = all.first(where: { $0.device.name == name }) else {
                if isAsked { throw .devices(.noSuchGPU(name, granted: granted)) }
                // Each slice has two nodes, its GPU instance's and its own: more than are named, so nobody refuses the others.
                if request.speaks, grant.devices.capabilities.count > 2 * names.count {
                    Terminal.note(
                        "warning: CUDA_VISIBLE_DEVICES has the MIG slice \(name), which no CDI specification of this host names: "
                            + "the container shows all slices that may be opened here; see berth cdi")
                }
                return nil
            }
            if !found.contains(device) { found.append(device) }
        }
        return found
    }
}

extension LaunchRequest {
    /// Read from the store, where an earlier launch has left it; made anew where the files are not the same any more.
    func deviceRegistry() throws(Failure) -> DeviceRegistry? {
        let directories =
            configuration.cdiDirectories.isEmpty ? SpecificationFiles.directories : configuration.cdiDirectories
        let files = SpecificationFiles(in: directories)
        guard !files.isEmpty else { return nil }
        if let (file, fault) = files.untrusted {
            throw .report(
                Report(
                    refusing: "CDI specification", file.path, fault,
                    hint: "CDI specifications and their directories belong to root: chown root \(fault.path)"))
        }
        let storePath = settings.storePath
        let name = "cdi-\(caller.userID)~\(files.shortKey)"
        let (path, owner) = (storePath, configuration.sharedStores.first { $0.path == storePath }?.owner)
        if let bytes = DeviceRecords.read(name, store: path, owner: owner),
            let registry = DeviceRegistry(decoding: bytes, key: files.key)
        {
            return registry
        }
        let bytes = try ImageTool.handing(configuration, caller.environment) { (environment) throws(Failure) in
            try ImageTool.compile(
                ["cdi", "--record"] + directories.flatMap { ["--directory", $0] }, environment: environment)
        }
        // Between our look and the compiler's the files may have changed: then this is right, and not to be kept.
        if let registry = DeviceRegistry(decoding: bytes, key: files.key) {
            DeviceRecords.write(bytes, name, store: path, owner: owner)
            return registry
        }
        let now = SpecificationFiles(in: directories)
        guard let registry = DeviceRegistry(decoding: bytes, key: now.key) else {
            throw .report(
                Report(
                    "the CDI specifications in \(directories.joined(separator: ", ")) could not be read",
                    hint: "`berth cdi` says what is wrong with them"))
        }
        return registry
    }
}
