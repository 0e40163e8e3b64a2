import LinuxKernel
import Testing
import TestSupport

@testable import Devices

/// The result of a specification's edits.
@Suite struct InjectionTests {
    static func found(
        _ device: ContainerEdits, of specification: ContainerEdits = ContainerEdits(),
        _ path: String = "/etc/cdi/n.yaml", name: String = "0"
    ) -> DeviceRegistry.Found {
        let device = DeviceRegistry.Device(name: name, line: 9, edits: device)
        return DeviceRegistry.Found(
            specification: DeviceRegistry.Specification(
                path: path, priority: 0, vendor: "nvidia.com", class: "gpu", edits: specification, devices: [device]),
            device: device)
    }

    static func hook(_ args: String..., path: String = "/usr/bin/nvidia-cdi-hook", name: String = "createContainer")
        -> ContainerEdits
    {
        var edits = ContainerEdits()
        edits.hooks = [ContainerEdits.Hook(line: 5, hookName: name, path: path, args: args)]
        return edits
    }

    static func edits(_ edits: ContainerEdits, host: HostTree = HostTree(root: "/nonexistent"), allowed: [String] = [])
        throws -> [DeviceEdit.Action]
    {
        try DeviceInjection.edits(of: [found(edits)], host: host, allowedHooks: allowed).edits.map(\.action)
    }

    @Test func specificationsComeOnceAndBeforeTheirDevices() throws {
        var whole = ContainerEdits()
        whole.env = [.init(line: 1, entry: "ALL=1")]
        var one = ContainerEdits()
        one.env = [.init(line: 2, entry: "ONE=1")]
        one.additionalGids = [0, 44]
        let result = try DeviceInjection.edits(
            of: [Self.found(one, of: whole), Self.found(one, of: whole, name: "1")],
            host: HostTree(root: "/nonexistent"))
        #expect(
            result.edits == [
                DeviceEdit(.variable("ALL=1", isDefault: false), .cdi("/etc/cdi/n.yaml:1 nvidia.com/gpu")),
                DeviceEdit(.variable("ONE=1", isDefault: false), .cdi("/etc/cdi/n.yaml:2 nvidia.com/gpu=0")),
                DeviceEdit(.variable("ONE=1", isDefault: false), .cdi("/etc/cdi/n.yaml:2 nvidia.com/gpu=1")),
                DeviceEdit(.group(44), .cdi("/etc/cdi/n.yaml nvidia.com/gpu=0")),
                DeviceEdit(.group(44), .cdi("/etc/cdi/n.yaml nvidia.com/gpu=1")),
            ])
    }

    @Test func mountsAreSortedByDepthAndTheLastOfAPlaceWins() throws {
        var edits = ContainerEdits()
        func mount(_ source: String, _ target: String, _ options: [String] = ["ro", "nosuid", "nodev", "bind"])
            -> ContainerEdits.Mount
        {
            ContainerEdits.Mount(line: 1, hostPath: source, containerPath: target, options: options)
        }
        edits.mounts = [
            mount("/a", "/x/y/z"), mount("/b", "/x"), mount("/c", "/q"),
            mount("/d", "/x", ["rbind", "rprivate", "noexec"]),
            ContainerEdits.Mount(
                line: 1, hostPath: "tmpfs", containerPath: "/t", type: "tmpfs",
                options: ["nosuid", "size=1m", "mode=700"]),
        ]
        let ro: MountAttributes = [.readOnly, .noSetUserID, .noDevices]
        #expect(
            try Self.edits(edits) == [
                .bind(source: "/nonexistent/c", path: "/q", recursive: false, attributes: ro),
                .bind(source: "/nonexistent/d", path: "/x", recursive: true, attributes: [.noExecution]),
                .fileSystem(type: "tmpfs", path: "/t", flags: [.noSetUserID], data: "size=1m,mode=700"),
                .bind(source: "/nonexistent/a", path: "/x/y/z", recursive: false, attributes: ro),
            ])
        edits.mounts = [mount("/a", "/a", ["bind", "idmap"])]
        #expect(throws: DeviceError.mountOption("idmap", place: "/etc/cdi/n.yaml:1 nvidia.com/gpu=0")) {
            try Self.edits(edits)
        }
    }

    @Test func nodesMustBeWhatTheyAreSaidToBe() throws {
        func node(_ type: String, _ major: Int64, _ minor: Int64, _ path: String = "/dev/null") -> ContainerEdits {
            var edits = ContainerEdits()
            edits.deviceNodes = [
                ContainerEdits.DeviceNode(
                    line: 1, path: "/dev/x", hostPath: path, type: type, major: major, minor: minor)
            ]
            return edits
        }
        let shown = [DeviceEdit.Action.node("/dev/null", path: "/dev/x")]
        #expect(try Self.edits(node("c", 1, 3), host: HostTree()) == shown)
        #expect(try Self.edits(node("u", 0, 0), host: HostTree()) == shown)
        #expect(try Self.edits(node("", 0, 0), host: HostTree()) == shown)
        for wrong in [node("b", 1, 3), node("c", 1, 5), node("p", 0, 0), node("", 0, 0, "/etc/passwd")] {
            #expect(throws: DeviceError.wrongNode("nvidia.com/gpu=0", path: wrong.deviceNodes[0].hostPath)) {
                try Self.edits(wrong, host: HostTree())
            }
        }
    }

    @Test func networkAndCacheAllocation() throws {
        var edits = ContainerEdits()
        edits.netDevices = [.init(line: 3, hostInterfaceName: "eth1", name: "eth1")]
        edits.intelRdt = ContainerEdits.IntelRdt(line: 4, closID: "a")
        let result = try DeviceInjection.edits(of: [Self.found(edits)], host: HostTree(root: "/nonexistent"))
        #expect(result.edits.isEmpty && result.ignored == ["/etc/cdi/n.yaml:4 nvidia.com/gpu=0: intelRdt"])
        edits.netDevices = [.init(line: 3, hostInterfaceName: "eth1", name: "eth0")]
        #expect(throws: DeviceError.netDevice("eth1", name: "eth0", place: "/etc/cdi/n.yaml:3 nvidia.com/gpu=0")) {
            try Self.edits(edits)
        }
    }

    // MARK: Hooks

    @Test(arguments: [["nvidia-cdi-hook"], ["nvidia-ctk", "hook"]]) func symlinks(_ program: [String]) throws {
        var edits = ContainerEdits()
        edits.hooks = [
            ContainerEdits.Hook(
                line: 1, hookName: "createContainer", path: "/opt/bin/" + program[0],
                args: program + [
                    "create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so", "--link=../a::/usr/lib/gbm/b",
                ])
        ]
        #expect(
            try Self.edits(edits) == [
                .symlink(path: "/usr/lib/libcuda.so", target: "libcuda.so.1"),
                .symlink(path: "/usr/lib/gbm/b", target: "../a"),
            ])
    }

    @Test func theLoaderLearnsTheLibrariesOfItsFolders() throws {
        var edits = Self.hook(
            "nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib64", "--ldconfig-path", "/sbin/ldconfig")
        edits.hooks += Self.hook("nvidia-cdi-hook", "enable-cuda-compat", "--host-driver-version=550.54.15").hooks
        func library(_ name: String, _ soname: String, _ directory: String = "/usr/lib64") -> ContainerEdits.Mount {
            ContainerEdits.Mount(
                line: 7, hostPath: directory + "/" + name, containerPath: directory + "/" + name,
                options: ["ro", "bind"], soname: soname)
        }
        edits.mounts = [
            library("libcuda.so.550", "libcuda.so.1"), library("libx.so.2", "libx.so.2"),
            library("liby.so.3", "liby.so", "/elsewhere"),
            library("nvidia-smi", ""),
        ]
        let actions = try Self.edits(edits).filter { if case .bind = $0 { false } else { true } }
        #expect(
            actions == [
                .symlink(path: "/usr/lib64/libcuda.so.1", target: "libcuda.so.550"),
                .loader(
                    LoaderUpdate(
                        libraries: [
                            .init(soname: "libcuda.so.1", path: "/usr/lib64/libcuda.so.1"),
                            .init(soname: "libx.so.2", path: "/usr/lib64/libx.so.2"),
                        ], folders: ["/usr/lib64"], compatibility: CUDACompatibility(hostDriverVersion: "550.54.15"))),
            ])
    }

    @Test func linksOfLibrariesAloneAndLimitsOfMemory() throws {
        var edits = Self.hook("nvidia-cdi-hook", "create-soname-symlinks", "--folder", "/usr/lib64")
        edits.mounts = [
            ContainerEdits.Mount(
                line: 7, hostPath: "/usr/lib64/libcuda.so.550", containerPath: "/usr/lib64/libcuda.so.550",
                options: ["bind"], soname: "libcuda.so.1")
        ]
        #expect(
            try Self.edits(edits).dropFirst() == [
                .symlink(path: "/usr/lib64/libcuda.so.1", target: "libcuda.so.550")
            ])
        // The cache is updated once, even with two hooks.
        edits.hooks += Self.hook("nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib64").hooks
        #expect(try Self.edits(edits).count == 3)
        // It only applies if the container's variables request it.
        let limits = Self.hook(
            "nvidia-ctk", "hook", "apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", "GPU-1",
            path: "/usr/bin/nvidia-ctk")
        let host = HostTree(root: "/nonexistent")
        let unasked = try DeviceInjection.edits(of: [Self.found(limits)], host: host)
        #expect(unasked.edits.isEmpty && unasked.ignored.isEmpty)
        let asked = try DeviceInjection.edits(of: [Self.found(limits)], host: host, limitsMemory: true)
        #expect(
            asked.edits.isEmpty && asked.ignored == ["/etc/cdi/n.yaml:5 nvidia.com/gpu=0: apply-cuda-memory-limits"])
    }

    @Test func nodesAreNotMadeByTheDriver() throws {
        let place = try TemporaryDirectory()
        let edits = Self.hook("nvidia-cdi-hook", "disable-device-node-modification")
        #expect(try Self.edits(edits).isEmpty)
        try place.write("A: 1\nModifyDeviceFiles: 1\nB: \"x\"\n", to: "proc/driver/nvidia/params")
        #expect(
            try Self.edits(edits, host: HostTree(root: place.path)) == [
                .cover(path: "/proc/driver/nvidia/params", Array("A: 1\nModifyDeviceFiles: 0\nB: \"x\"\n".utf8))
            ])
        try place.write("ModifyDeviceFiles: 0\n", to: "proc/driver/nvidia/params")
        #expect(try Self.edits(edits, host: HostTree(root: place.path)).isEmpty)
    }

    @Test func modesAndProfiles() throws {
        #expect(
            try Self.edits(Self.hook("nvidia-cdi-hook", "chmod", "--mode", "755", "--path", "/dev/dri")) == [
                .mode(path: "/dev/dri", 0o755)
            ])
        var edits = Self.hook("nvidia-cdi-hook", "update-application-profile")
        #expect(try Self.edits(edits).isEmpty)
        edits.deviceNodes = [
            RegistryTests.node("/dev/nvidia0"), RegistryTests.node("/dev/nvidia3"),
            RegistryTests.node("/dev/nvidiactl"),
        ]
        let text =
            #"{"profiles":[{"name":"_container_","settings":["EGLVisibleDGPUDevices",0x9]}],"rules":[{"pattern":[],"profile":"_container_"}]}"#
        #expect(
            try Self.edits(edits).last
                == .file(path: "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf", Array(text.utf8)))
    }

    @Test func enablingCompatibilityWithoutAVersionDoesNothing() throws {
        #expect(try Self.edits(Self.hook("nvidia-cdi-hook", "enable-cuda-compat")) == [.loader(LoaderUpdate())])
    }

    @Test(arguments: [
        ["nvidia-cdi-hook", "create-symlinks", "--link", "a:/b"],
        ["nvidia-cdi-hook", "create-symlinks", "--link", "a::b"],
        ["nvidia-cdi-hook", "create-symlinks", "--link"],
        ["nvidia-cdi-hook", "create-symlinks", "--link", "a::/b::/c"],
        ["nvidia-cdi-hook", "create-symlinks", "--bogus", "x"],
        ["nvidia-cdi-hook", "update-ldcache", "--folder", "lib"],
        ["nvidia-cdi-hook", "chmod", "--path", "/dev/dri"],
        ["nvidia-cdi-hook", "chmod", "--mode", "9", "--path", "/x"],
        [
            "nvidia-cdi-hook", "enable-cuda-compat", "--cuda-compat-container-root", "compat", "--host-driver-version",
            "1.0",
        ],
    ]) func argumentsThatMeanNothingAreErrors(_ args: [String]) {
        var edits = ContainerEdits()
        edits.hooks = [
            ContainerEdits.Hook(line: 5, hookName: "createContainer", path: "/usr/bin/nvidia-cdi-hook", args: args)
        ]
        #expect { try Self.edits(edits) } throws: {
            if case DeviceError.badHook = $0 { true } else { false }
        }
    }

    @Test func othersAreRefusedUnlessTheSiteAllowsThem() throws {
        let edits = Self.hook("hook", "a", path: "/opt/vendor/hook")
        let place = "/etc/cdi/n.yaml:5 nvidia.com/gpu=0"
        #expect(throws: DeviceError.hookRefused("createContainer", path: "/opt/vendor/hook", place: place)) {
            try Self.edits(edits)
        }
        // An unknown subcommand of NVIDIA's hook is not allowed by default, either.
        #expect(throws: DeviceError.hookRefused("createContainer", path: "/usr/bin/nvidia-cdi-hook", place: place)) {
            try Self.edits(Self.hook("nvidia-cdi-hook", "brand-new"))
        }
        #expect(
            try Self.edits(edits, allowed: ["/opt/vendor/hook"]) == [
                .hook(
                    HookCall(
                        path: "/opt/vendor/hook", arguments: ["hook", "a"], environment: [], timeout: nil,
                        isInside: false))
            ])
        #expect(throws: DeviceError.hookStage("poststop", path: "/opt/vendor/hook", place: place)) {
            try Self.edits(Self.hook("hook", path: "/opt/vendor/hook", name: "poststop"), allowed: ["/opt/vendor/hook"])
        }
    }
}
