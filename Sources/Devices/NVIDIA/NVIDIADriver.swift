package import LinuxKernel

/// NVIDIA's driver on the host, found without a CDI specification: the libraries in the host's loader cache, the
/// programs and the firmware.
package struct NVIDIADriver: Equatable, Sendable {
    package let version: String
    private let libraries: [Library]

    private struct Library: Equatable, Sendable {
        let soname: String
        /// The path after following links.
        let file: String
    }

    /// Which parts of the driver an image requests: `NVIDIA_DRIVER_CAPABILITIES`,
    /// https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    package enum Capability: String, CaseIterable, Sendable {
        case compute, utility, video, graphics, display, ngx, compat32
    }

    /// The container directory for the libraries. CUDA's images have it in `LD_LIBRARY_PATH`, and nothing else uses it.
    static let directory = "/usr/local/nvidia/lib64"

    /// Returns `nil` if no driver is loaded or its libraries are not installed.
    package init?(host: HostTree = HostTree()) {
        guard let bytes = host.contents("/etc/ld.so.cache", limit: 64 << 20), let cache = LoaderCache(bytes) else {
            return nil
        }
        let wanted = Self.libraryNames.flatMap(\.names)
        let found = cache.libraries { name in
            name.starts(with: "lib".utf8) && wanted.contains { Self.isLibrary(name, $0) }
        }.map { Library(soname: $0.soname, file: host.resolved($0.path)) }
        let declared = Self.loadedVersion(host)
        // The module is missing or reports no version, so use the one in the name of the management library.
        guard let version = declared ?? found.lazy.compactMap({ Self.version(inNameOf: $0.file) }).first else {
            return nil
        }
        self.version = version
        var libraries: [Library] = []
        for library in found where !libraries.contains(where: { $0.soname == library.soname }) {
            // Skip leftovers of other versions: a library that does not match the module fails with obscure errors.
            guard library.file.hasSuffix(".so." + version) || Self.hasOwnVersion(library.soname) else { continue }
            libraries.append(library)
        }
        guard libraries.contains(where: { $0.soname.hasPrefix("libcuda.so") || $0.soname.hasPrefix("libnvidia-ml.so") })
        else { return nil }
        self.libraries = libraries
    }

    /// The file of `libcuda.so.1` according to the host's loader cache, of any version.
    package static func library(_ host: HostTree) -> String? {
        guard let bytes = host.contents("/etc/ld.so.cache", limit: 64 << 20), let cache = LoaderCache(bytes) else {
            return nil
        }
        let wanted = Array("libcuda.so.1".utf8)
        return cache.libraries { $0.elementsEqual(wanted) }.lazy.map { host.resolved($0.path) }.first(
            where: host.exists)
    }

    private static func isLibrary(_ soname: ArraySlice<UInt8>, _ name: String) -> Bool {
        let prefix = name.utf8
        return soname.starts(with: prefix) && soname.dropFirst(prefix.count).starts(with: ".so.".utf8)
    }

    /// The version of the kernel module; `nil` if it is not loaded.
    package static func loadedVersion(_ host: HostTree) -> String? {
        if let text = host.text("/sys/module/nvidia/version") {
            let version = text.filter { !$0.isWhitespace }
            if CUDACompatibility.numbers(version) != nil { return version }
        }
        // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 …"
        guard let line = host.text("/proc/driver/nvidia/version").flatMap({ HostDevices.field("NVRM version", in: $0) })
        else { return nil }
        return line.split(separator: " ").map(String.init).first { word in
            word.contains(".") && (CUDACompatibility.numbers(word)?.count ?? 0) >= 2
        }
    }

    private static func version(inNameOf file: String) -> String? {
        guard let name = file.split(separator: "/").last,
            name.hasPrefix("libcuda.so.") || name.hasPrefix("libnvidia-ml.so.")
        else { return nil }
        let version = String(name.drop { $0 != "." }.dropFirst(4))
        return (CUDACompatibility.numbers(version)?.count ?? 0) >= 2 ? version : nil
    }

    /// Libraries with versions of their own.
    private static func hasOwnVersion(_ soname: String) -> Bool {
        soname.hasPrefix("libnvidia-egl-") || soname.hasPrefix("libnvidia-nvvm70")
    }

    private static let libraryNames: [(capability: Capability, names: [String])] = [
        (.utility, ["libnvidia-ml", "libnvidia-cfg", "libnvidia-nscq", "libnvidia-sandboxutils"]),
        (
            .compute,
            [
                "libcuda", "libcudadebugger", "libnvidia-opencl", "libnvidia-gpucomp", "libnvidia-ptxjitcompiler",
                "libnvidia-fatbinaryloader", "libnvidia-allocator", "libnvidia-compiler", "libnvidia-pkcs11",
                "libnvidia-pkcs11-openssl3", "libnvidia-nvvm", "libnvidia-nvvm70", "libnvidia-tileiras",
            ]
        ),
        (.video, ["libvdpau_nvidia", "libnvidia-encode", "libnvidia-opticalflow", "libnvcuvid"]),
        (
            .graphics,
            [
                "libnvidia-eglcore", "libnvidia-glcore", "libnvidia-tls", "libnvidia-glsi", "libnvidia-fbc",
                "libnvidia-ifr", "libnvidia-rtcore", "libnvoptix", "libGLX_nvidia", "libEGL_nvidia", "libGLESv2_nvidia",
                "libGLESv1_CM_nvidia", "libnvidia-glvkspirv", "libnvidia-cbl", "libnvidia-gpucomp",
                "libnvidia-vulkan-producer", "libnvidia-egl-gbm", "libnvidia-egl-wayland", "libnvidia-egl-xcb",
                "libnvidia-egl-xlib",
            ]
        ),
        (.ngx, ["libnvidia-ngx"]),
    ]

    private static let programs: [(capability: Capability, names: [String])] = [
        (.utility, ["nvidia-smi", "nvidia-debugdump", "nvidia-persistenced"]),
        (.compute, ["nvidia-cuda-mps-control", "nvidia-cuda-mps-server"]),
    ]

    /// Files that tell programs where the libraries are.
    private static let graphicsFiles = [
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json", "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
        "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json", "/usr/share/nvidia/nvoptix.bin",
        "/etc/vulkan/icd.d/nvidia_icd.json", "/usr/share/vulkan/icd.d/nvidia_icd.json",
        "/etc/vulkan/implicit_layer.d/nvidia_layers.json", "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    ]
}

extension NVIDIADriver {
    /// Parses `NVIDIA_DRIVER_CAPABILITIES`. Ignores unknown words, as NVIDIA's tools do.
    package static func capabilities(_ text: String?) -> [Capability] {
        guard let text, !text.isEmpty else { return [.compute, .utility] }
        if text.split(separator: ",").contains("all") { return Capability.allCases }
        return text.split(separator: ",").compactMap { Capability(rawValue: $0.filter { !$0.isWhitespace }) }
    }

    /// All edits except device nodes, which are granted one by one.
    package func edits(
        _ capabilities: [Capability], host: HostTree = HostTree()
    ) throws(SystemError) -> [DeviceEdit] {
        let origin = DeviceEdit.Origin.host("NVIDIA driver \(version)")
        let attributes: MountAttributes = [.readOnly, .noSetUserID, .noDevices]
        func file(_ source: String, _ path: String) -> DeviceEdit {
            DeviceEdit(
                .bind(source: host.path(source), path: path, recursive: false, attributes: attributes), origin)
        }
        let names = Self.libraryNames.filter { capabilities.contains($0.capability) }.flatMap(\.names)
        var mounts: [DeviceEdit] = []
        var links: [DeviceEdit] = []
        var known: [LoaderCache.Library] = []
        for library in libraries where names.contains(where: { Self.isLibrary(Array(library.soname.utf8)[...], $0) }) {
            let name = library.file.split(separator: "/").last.map(String.init) ?? library.soname
            mounts.append(file(library.file, "\(Self.directory)/\(name)"))
            if name != library.soname {
                links.append(DeviceEdit(.symlink(path: "\(Self.directory)/\(library.soname)", target: name), origin))
            }
            known.append(LoaderCache.Library(soname: library.soname, path: "\(Self.directory)/\(library.soname)"))
        }
        // The names that programs pass to dlopen(3).
        for (name, target) in [
            ("libcuda.so", "libcuda.so.1"), ("libnvidia-ml.so", "libnvidia-ml.so.1"),
            ("libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1"), ("libGLX_indirect.so.0", "libGLX_nvidia.so.0"),
        ] where known.contains(where: { $0.soname == target }) {
            links.append(DeviceEdit(.symlink(path: "\(Self.directory)/\(name)", target: target), origin))
        }
        for name in Self.programs.filter({ capabilities.contains($0.capability) }).flatMap(\.names) {
            guard let path = ["/usr/bin/", "/usr/local/bin/", "/opt/bin/"].map({ $0 + name }).first(where: host.exists)
            else { continue }
            mounts.append(file(path, "/usr/bin/" + name))
        }
        for directory in ["/lib/firmware/nvidia/\(version)", "/usr/lib/firmware/nvidia/\(version)"]
        where host.exists(directory) {
            for name in try host.names(directory) where name.hasPrefix("gsp") && name.hasSuffix(".bin") {
                mounts.append(file("\(directory)/\(name)", "/lib/firmware/nvidia/\(version)/\(name)"))
            }
            break
        }
        if capabilities.contains(.graphics) {
            for path in Self.graphicsFiles where host.exists(path) { mounts.append(file(path, path)) }
        }
        mounts += sockets(capabilities, host, origin)
        var files: [DeviceEdit] = []
        if known.contains(where: { $0.soname == "libnvidia-opencl.so.1" }) {
            files.append(
                DeviceEdit(.file(path: "/etc/OpenCL/vendors/nvidia.icd", Array("libnvidia-opencl.so.1\n".utf8)), origin)
            )
        }
        let compatibility =
            capabilities.contains(.compute) ? CUDACompatibility(hostDriverVersion: version) : nil
        let update = LoaderUpdate(libraries: known, folders: [Self.directory], compatibility: compatibility)
        let hidden = [NativeHook.hiddenParameters(host, origin)].compactMap { $0 }
        return mounts + links + [DeviceEdit(.loader(update), origin)] + files + hidden
    }

    /// The granted render nodes that EGL and Vulkan use for these GPUs.
    package static func renderEdits(
        of gpus: [DeviceNode], _ capabilities: [Capability], host: HostTree = HostTree()
    ) throws(SystemError) -> [DeviceEdit] {
        guard capabilities.contains(.graphics) || capabilities.contains(.display) else { return [] }
        var edits: [DeviceEdit] = []
        for gpu in try GPUInventory(.nvidia, host: host).gpus where gpus.contains(gpu.node) {
            edits += try host.names("/sys/bus/pci/devices/\(gpu.address)/drm")
                .filter { $0.hasPrefix("card") || $0.hasPrefix("renderD") }.map { DeviceNode("/dev/dri/" + $0) }
                .filter(host.isGranted)
                .map { DeviceEdit(.node(host.node($0.path), path: $0.path), .host("graphics of \(gpu.node)")) }
        }
        return edits
    }

    /// What GPUDirect Storage reads besides its nodes: its settings, and the distance between disks and GPUs.
    /// https://docs.nvidia.com/gpudirect-storage/configuration-guide/index.html
    package static func storageEdits(host: HostTree = HostTree()) -> [DeviceEdit] {
        ["/etc/cufile.json", "/run/udev"].filter(host.exists).map { path in
            DeviceEdit(
                .bind(
                    source: host.path(path), path: path, recursive: false,
                    attributes: [.readOnly, .noSetUserID, .noDevices]), .host("read by GPUDirect Storage"))
        }
    }

    /// The sockets of the driver's daemons.
    private func sockets(
        _ capabilities: [Capability], _ host: HostTree, _ origin: DeviceEdit.Origin
    ) -> [DeviceEdit] {
        var paths: [String] = []
        if capabilities.contains(.utility) { paths.append("/run/nvidia-persistenced/socket") }
        if capabilities.contains(.compute) { paths.append("/run/nvidia-fabricmanager/socket") }
        return paths.filter(host.exists).map { path in
            DeviceEdit(
                .bind(
                    source: host.path(path), path: path, recursive: false,
                    attributes: [.noSetUserID, .noDevices, .noExecution]), origin)
        }
    }
}
