internal import LinuxKernel

/// Merges the edits of the selected CDI devices and translates them into `DeviceEdit`s. The edits of a specification
/// apply once, before those of its first selected device.
package struct DeviceInjection {
    /// A warning for each edit that a launch cannot apply.
    package private(set) var ignored: [String] = []
    private let host: HostTree
    private let allowedHooks: [String]

    private var variables: [DeviceEdit] = []
    private var nodes: [DeviceEdit] = []
    private var mounts: [(edit: DeviceEdit, mount: ContainerEdits.Mount)] = []
    private var groups: [DeviceEdit] = []
    private var afterMounts: [DeviceEdit] = []
    private var files: [DeviceEdit] = []
    private var hooks: [DeviceEdit] = []
    private var folders: [String] = []
    /// The subset of `folders` whose libraries only get the links that ldconfig(8) creates.
    private var linkFolders: [String] = []
    private let limitsMemory: Bool
    private var loaderOrigin: DeviceEdit.Origin?
    private var compatibility: CUDACompatibility?
    private var profileOrigin: DeviceEdit.Origin?

    /// - Parameters:
    ///   - allowedHooks: Host programs that the site lets specifications run.
    ///   - limitsMemory: Whether the container's variables request a limit of GPU memory.
    package init(host: HostTree, allowedHooks: [String] = [], limitsMemory: Bool = false) {
        self.host = host
        self.allowedHooks = allowedHooks
        self.limitsMemory = limitsMemory
    }

    /// `apply-cuda-memory-limits` does nothing unless one of these is set.
    package static let memoryVariables = ["NVIDIA_GPU_MEMORY_REQUEST", "NVIDIA_GPU_MEMORY_LIMIT"]

    /// The edits in the order in which they must be applied.
    package static func edits(
        of devices: [DeviceRegistry.Found], host: HostTree, allowedHooks: [String] = [], limitsMemory: Bool = false
    ) throws(DeviceError) -> (edits: [DeviceEdit], ignored: [String]) {
        var injection = DeviceInjection(host: host, allowedHooks: allowedHooks, limitsMemory: limitsMemory)
        var specifications: [String] = []
        for found in devices {
            let path = found.specification.path
            if !specifications.contains(path) {
                specifications.append(path)
                try injection.add(found.specification.edits, path, found.specification.kind)
            }
            try injection.add(found.device.edits, path, found.name)
        }
        return (injection.result, injection.ignored)
    }

    private mutating func add(_ edits: ContainerEdits, _ file: String, _ name: String) throws(DeviceError) {
        func place(_ line: Int) -> String { "\(file):\(line) \(name)" }
        for variable in edits.env {
            variables.append(DeviceEdit(.variable(variable.entry, isDefault: false), .cdi(place(variable.line))))
        }
        for node in edits.deviceNodes {
            try check(node, name)
            nodes.removeAll { $0.path == node.path }
            nodes.append(
                DeviceEdit(.node(host.node(node.source), path: node.path), .cdi(place(node.line))))
        }
        for mount in edits.mounts {
            mounts.removeAll { $0.mount.containerPath == mount.containerPath }
            let action = try Self.action(mount, host, place(mount.line))
            mounts.append((DeviceEdit(action, .cdi(place(mount.line))), mount))
        }
        for net in edits.netDevices where net.hostInterfaceName != net.name {
            throw .netDevice(net.hostInterfaceName, name: net.name, place: place(net.line))
        }
        for group in edits.additionalGids where group != 0 {
            groups.append(DeviceEdit(.group(group), .cdi("\(file) \(name)")))
        }
        if let rdt = edits.intelRdt {
            ignored.append("\(place(rdt.line)): intelRdt")
        }
        for hook in edits.hooks { try add(hook, place(hook.line)) }
    }

    /// Checks that an existing host node is what the specification says. A missing node fails when it is mounted.
    private func check(_ node: ContainerEdits.DeviceNode, _ name: String) throws(DeviceError) {
        guard let status = host.status(node.source) else { return }
        let isAsSaid: Bool
        switch node.type {
        case "": isAsSaid = [.characterDevice, .blockDevice, .fifo].contains(status.kind)
        case "b": isAsSaid = status.kind == .blockDevice
        case "p": isAsSaid = status.kind == .fifo
        default: isAsSaid = status.kind == .characterDevice
        }
        let isNumbered =
            node.major == 0
            || (Int64(status.majorNumber) == node.major && Int64(status.minorNumber) == node.minor)
        guard isAsSaid, isNumbered else { throw .wrongNode(name, path: node.source) }
    }

    private static func action(
        _ mount: ContainerEdits.Mount, _ host: HostTree, _ place: String
    ) throws(DeviceError) -> DeviceEdit.Action {
        var attributes: MountAttributes = []
        var flags: MountFlags = []
        var isRecursive = false
        var isBind = ["", "none", "bind"].contains(mount.type)
        var data: [String] = []
        for option in mount.options {
            switch option {
            case "ro": (attributes, flags) = (attributes.union(.readOnly), flags.union(.readOnly))
            case "nosuid": (attributes, flags) = (attributes.union(.noSetUserID), flags.union(.noSetUserID))
            case "nodev": (attributes, flags) = (attributes.union(.noDevices), flags.union(.noDevices))
            case "noexec": (attributes, flags) = (attributes.union(.noExecution), flags.union(.noExecution))
            case "bind": isBind = true
            case "rbind": (isBind, isRecursive) = (true, true)
            // Defaults, propagation of later mounts, and options that only save time stamp updates have no effect here.
            case _ where option.hasSuffix("sync"): break
            case "rw", "suid", "dev", "exec", "defaults", "private", "rprivate", "slave",
                "rslave", "shared", "rshared", "unbindable", "runbindable", "atime", "noatime", "diratime",
                "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime":
                break
            default: data.append(option)
            }
        }
        guard isBind else {
            return .fileSystem(
                type: mount.type, path: mount.containerPath, flags: flags, data: data.joined(separator: ","))
        }
        if let option = data.first { throw .mountOption(option, place: place) }
        return .bind(
            source: host.path(mount.hostPath), path: mount.containerPath, recursive: isRecursive,
            attributes: attributes)
    }

    private mutating func add(_ hook: ContainerEdits.Hook, _ place: String) throws(DeviceError) {
        let origin = DeviceEdit.Origin.cdi(place)
        if let native = try NativeHook(hook, place) {
            switch native {
            case .createSymlinks(let links):
                for link in links {
                    afterMounts.append(DeviceEdit(.symlink(path: link.path, target: link.target), origin))
                }
            case .updateLoaderCache(let folders):
                self.folders += folders.filter { !self.folders.contains($0) }
                loaderOrigin = loaderOrigin ?? origin
            case .createSonameLinks(let folders):
                linkFolders += folders.filter { !linkFolders.contains($0) }
            // NVML enforces these limits through cgroup v2. Warn only if the container requests a limit.
            case .limitMemory: if limitsMemory { ignored.append("\(place): apply-cuda-memory-limits") }
            case .enableCUDACompatibility(let wanted):
                compatibility = wanted
                loaderOrigin = loaderOrigin ?? origin
            case .disableDeviceNodeModification:
                if let edit = NativeHook.hiddenParameters(host, origin) { files.append(edit) }
            case .setMode(let mode, let paths):
                for path in paths { files.append(DeviceEdit(.mode(path: path, mode), origin)) }
            case .updateApplicationProfile: profileOrigin = origin
            }
            return
        }
        guard allowedHooks.contains(hook.path) else { throw .hookRefused(hook.hookName, path: hook.path, place: place) }
        guard !["poststart", "poststop"].contains(hook.hookName) else {
            throw .hookStage(hook.hookName, path: hook.path, place: place)
        }
        hooks.append(
            DeviceEdit(
                .hook(
                    HookCall(
                        path: hook.path, arguments: hook.args.isEmpty ? [hook.path] : hook.args,
                        environment: hook.env, timeout: hook.timeout, isInside: hook.hookName == "startContainer")),
                origin))
    }

    private var result: [DeviceEdit] {
        // A mount below another must come after it. Otherwise the order of the files holds.
        let sorted = mounts.enumerated().sorted { one, other in
            let (depth, otherDepth) = (Self.depth(one.element.mount), Self.depth(other.element.mount))
            return depth == otherDepth ? one.offset < other.offset : depth < otherDepth
        }.map(\.element)
        var links: [DeviceEdit] = []
        var loader: [DeviceEdit] = []
        var libraries: [LoaderCache.Library] = []
        if loaderOrigin != nil || !linkFolders.isEmpty {
            for (edit, mount) in sorted where !mount.soname.isEmpty {
                let slash = mount.containerPath.utf8.lastIndex(of: UInt8(ascii: "/")) ?? mount.containerPath.startIndex
                let directory = String(mount.containerPath[..<slash])
                let isKnown = folders.contains(directory)
                guard isKnown || linkFolders.contains(directory) else { continue }
                // ldconfig(8) creates these links, so specifications do not list them.
                let path = directory + "/" + mount.soname
                if path != mount.containerPath {
                    let name = String(mount.containerPath.dropFirst(directory.count + 1))
                    links.append(DeviceEdit(.symlink(path: path, target: name), edit.origin))
                }
                if isKnown { libraries.append(LoaderCache.Library(soname: mount.soname, path: path)) }
            }
        }
        if let loaderOrigin {
            let update = LoaderUpdate(libraries: libraries, folders: folders, compatibility: compatibility)
            loader = [DeviceEdit(.loader(update), loaderOrigin)]
        }
        let uniqueLinks = (links + afterMounts).reduce(into: [DeviceEdit]()) { unique, link in
            if !unique.contains(where: { $0.action == link.action }) { unique.append(link) }
        }
        // The profile depends on the nodes of all devices.
        let profile = profileOrigin.flatMap { NativeHook.applicationProfile(nodes, $0) }
        return variables + groups + nodes + sorted.map(\.edit) + uniqueLinks + loader + files
            + [profile].compactMap { $0 } + hooks
    }

    private static func depth(_ mount: ContainerEdits.Mount) -> Int {
        mount.containerPath.utf8.split(separator: UInt8(ascii: "/")).count
    }
}
