internal import LinuxKernel

/// The hooks of NVIDIA's specifications that Berth implements itself. It resolves paths beneath descriptors and runs no
/// program of the host or the image:
/// https://github.com/NVIDIA/nvidia-container-toolkit/tree/main/cmd/nvidia-cdi-hook
enum NativeHook: Equatable {
    case createSymlinks([(target: String, path: String)])
    case updateLoaderCache(folders: [String])
    case createSonameLinks(folders: [String])
    case enableCUDACompatibility(CUDACompatibility?)
    case disableDeviceNodeModification
    case setMode(UInt32, paths: [String])
    case updateApplicationProfile
    case limitMemory

    static func == (one: NativeHook, other: NativeHook) -> Bool { "\(one)" == "\(other)" }

    /// Returns `nil` for other hooks. Identifies a hook by its program name and subcommand, not by its directory.
    init?(_ hook: ContainerEdits.Hook, _ place: String) throws(DeviceError) {
        let program = hook.path.split(separator: "/").last.map(String.init) ?? ""
        var words = hook.args.dropFirst()
        switch program {
        case "nvidia-cdi-hook": break
        case "nvidia-ctk":
            guard words.popFirst() == "hook" else { return nil }
        default: return nil
        }
        guard let command = words.popFirst() else { return nil }
        func bad() -> DeviceError { .badHook("\(program) \(command)", place: place) }

        var options: [(name: String, value: String)] = []
        while let word = words.popFirst() {
            guard word.hasPrefix("--") else { throw bad() }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 {
                options.append((String(parts[0]), String(parts[1])))
            } else if let value = words.popFirst() {
                options.append((String(parts[0]), value))
            } else {
                throw bad()
            }
        }
        func values(_ name: String) -> [String] { options.filter { $0.name == name }.map(\.value) }
        func onlyKnown(_ names: String...) throws(DeviceError) {
            guard options.allSatisfy({ names.contains($0.name) }) else { throw bad() }
        }

        switch command {
        case "create-symlinks":
            try onlyKnown("link")
            var links: [(target: String, path: String)] = []
            for link in values("link") {
                guard let middle = Self.range(of: "::", in: link) else { throw bad() }
                let path = String(link[middle.upperBound...])
                guard path.hasPrefix("/"), middle.lowerBound > link.startIndex,
                    Self.range(of: "::", in: path) == nil
                else { throw bad() }
                links.append((target: String(link[..<middle.lowerBound]), path: path))
            }
            self = .createSymlinks(links)
        case "update-ldcache":
            try onlyKnown("folder", "ldconfig-path")
            guard values("folder").allSatisfy({ $0.hasPrefix("/") }) else { throw bad() }
            self = .updateLoaderCache(folders: values("folder"))
        case "create-soname-symlinks":
            try onlyKnown("folder", "ldconfig-path")
            guard values("folder").allSatisfy({ $0.hasPrefix("/") }) else { throw bad() }
            self = .createSonameLinks(folders: values("folder"))
        case "enable-cuda-compat":
            try onlyKnown("host-driver-version", "host-cuda-version", "cuda-compat-container-root")
            let driver = values("host-driver-version").last ?? ""
            let cuda = values("host-cuda-version").last ?? ""
            let directory = values("cuda-compat-container-root").last ?? CUDACompatibility.defaultDirectory
            guard directory.hasPrefix("/") else { throw bad() }
            // Without both versions, the hook does nothing.
            self = .enableCUDACompatibility(
                driver.isEmpty && cuda.isEmpty
                    ? nil : CUDACompatibility(directory: directory, hostDriverVersion: driver, hostCUDAVersion: cuda))
        case "disable-device-node-modification":
            try onlyKnown()
            self = .disableDeviceNodeModification
        case "chmod":
            try onlyKnown("mode", "path")
            guard let mode = values("mode").last.flatMap({ UInt32($0, radix: 8) }), mode <= 0o7777,
                values("path").allSatisfy({ $0.hasPrefix("/") })
            else { throw bad() }
            // This option accepts several paths separated by commas.
            self = .setMode(mode & 0o777, paths: values("path").flatMap { $0.split(separator: ",").map(String.init) })
        case "update-application-profile":
            try onlyKnown()
            self = .updateApplicationProfile
        case "apply-cuda-memory-limits":
            try onlyKnown("driver-root", "gpu-id")
            self = .limitMemory
        default: return nil
        }
    }

    private static func range(of separator: String, in text: String) -> Range<String.Index>? {
        let (bytes, wanted) = (text.utf8, Array(separator.utf8))
        var start = bytes.startIndex
        while let end = bytes.index(start, offsetBy: wanted.count, limitedBy: bytes.endIndex) {
            if bytes[start..<end].elementsEqual(wanted) { return start..<end }
            start = bytes.index(after: start)
        }
        return nil
    }

    // MARK: Generated files

    static let parametersPath = "/proc/driver/nvidia/params"

    /// The driver's parameters with `ModifyDeviceFiles` set to 0, so that nvidia-smi does not try to create denied
    /// nodes. Returns `nil` if it is already 0.
    static func hiddenParameters(_ host: HostTree, _ origin: DeviceEdit.Origin) -> DeviceEdit? {
        guard let text = host.text(parametersPath) else { return nil }
        var isChanged = false
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line -> Substring in
            guard line == "ModifyDeviceFiles: 1" else { return line }
            isChanged = true
            return "ModifyDeviceFiles: 0"
        }
        guard isChanged else { return nil }
        return DeviceEdit(.cover(path: parametersPath, Array(lines.joined(separator: "\n").utf8)), origin)
    }

    /// The driver profile that limits EGL and Vulkan to the GPUs of these nodes, as a mask of minor numbers.
    static func applicationProfile(_ nodes: [DeviceEdit], _ origin: DeviceEdit.Origin) -> DeviceEdit? {
        var mask: UInt64 = 0
        for node in nodes {
            guard let shown = node.path.map({ DeviceNode($0) }), shown.kind == .gpu, shown.vendor == .nvidia,
                let number = shown.index, number < 64
            else { continue }
            mask |= 1 << UInt64(number)
        }
        guard mask != 0 else { return nil }
        let text =
            #"{"profiles":[{"name":"_container_","settings":["EGLVisibleDGPUDevices",0x"# + String(mask, radix: 16)
            + #"]}],"rules":[{"pattern":[],"profile":"_container_"}]}"#
        let path = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
        return DeviceEdit(.file(path: path, Array(text.utf8)), origin)
    }
}
