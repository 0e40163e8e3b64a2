import Foundation
import LinuxKernel
import TestSupport
import Testing

@testable import Devices

/// Simulated hosts. Device nodes are regular files, which open or have a mode that denies it.
@Suite struct HostTests {
    static func host(_ files: [String: String], links: [String: String] = [:]) throws -> (TemporaryDirectory, HostTree)
    {
        let place = try TemporaryDirectory()
        try place.makeDirectory("dev")
        for (name, text) in files { try place.write(text, to: name) }
        for (name, target) in links { try place.link(name, to: target) }
        return (place, HostTree(root: place.path))
    }

    static func nodes(_ names: String...) -> [String: String] {
        Dictionary(uniqueKeysWithValues: names.map { ("dev/" + $0, "") })
    }

    // MARK: Directories that cannot be read

    /// A link to itself causes ELOOP for root, too.
    @Test(arguments: ["dev/infiniband", "dev/nvidia-caps", "dev/nvidia-caps-imex-channels"])
    func aDirectoryOfNodesThatCannotBeReadIsNamed(_ directory: String) throws {
        let (place, host) = try Self.host(Self.nodes("nvidia0", "nvidiactl"), links: [directory: place(directory)])
        #expect { try HostDevices(host: host) } throws: {
            let error = $0 as? SystemError
            return error?.name == "ELOOP" && error?.subject == place.path + "/" + directory
        }
    }

    private func place(_ directory: String) -> String { String(directory.split(separator: "/").last ?? "") }

    /// An inventory with a gap would not match Slurm's indices.
    @Test(arguments: ["gpus", "gpus/0000:17:00.0/information"])
    func anInventoryThatCannotBeReadIsNamed(_ path: String) throws {
        let base = "proc/driver/nvidia/"
        var files = ["0000:65:00.0": 1].reduce(into: [String: String]()) {
            $0[base + "gpus/\($1.key)/information"] = "Device Minor: \t \($1.value)\n"
        }
        if path == "gpus" { files = [:] }
        let (place, host) = try Self.host(files, links: [base + path: self.place(path)])
        #expect { try GPUInventory(.nvidia, host: host) } throws: {
            let error = $0 as? SystemError
            return error?.name == "ELOOP" && error?.subject == place.path + "/" + base + path
        }
    }

    @Test func aDirectoryThatTheUserMayNotReadGrantsNothing() throws {
        let (place, host) = try Self.host(Self.nodes("nvidia0", "nvidiactl", "infiniband/uverbs0"))
        defer { withExtendedLifetime(place) {} }
        try FileManager.default.setAttributes(
            [.posixPermissions: 0], ofItemAtPath: place.path + "/dev/infiniband")
        let devices = try HostDevices(host: host)
        // Root can read it in spite of its mode.
        if Identity.userID == 0 {
            #expect(devices.unreadable.isEmpty && devices.fabric == ["/dev/infiniband/uverbs0"])
        } else {
            #expect(devices.unreadable.map(\.subject) == [place.path + "/dev/infiniband"] && devices.fabric.isEmpty)
        }
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o755], ofItemAtPath: place.path + "/dev/infiniband")
    }

    // MARK: Nodes

    @Test func aHostWithoutDevices() throws {
        let (tree1, host) = try Self.host(Self.nodes("null", "kmsg", "cpu"))
        defer { withExtendedLifetime(tree1) {} }
        let devices = try HostDevices(host: host)
        #expect(devices.vendor == nil && devices.gpus.isEmpty && devices.gpuControl.isEmpty && devices.fabric.isEmpty)
    }

    @Test func everythingOfNVIDIA() throws {
        let (tree2, host) = try Self.host(
            Self.nodes(
                "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-fs0",
                "nvidia-fs1", "nvidia-nvswitchctl", "nvidia-nvlink", "gdrdrv", "nvidia-caps/nvidia-cap1",
                "nvidia-caps/nvidia-cap2", "nvidia-caps-imex-channels/channel0", "nvidiabogus", "xpmem", "cxi0", "cxi1",
                "cxix",
                "knem", "infiniband/uverbs0", "infiniband/uverbs1", "infiniband/rdma_cm", "infiniband/umad0",
                "infiniband/issm0"))
        defer { withExtendedLifetime(tree2) {} }
        let devices = try HostDevices(host: host)
        #expect(devices.vendor == .nvidia && devices.gpus == ["/dev/nvidia2", "/dev/nvidia10"])
        #expect(devices.capabilities == ["/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2"])
        #expect(
            devices.gpuControl == [
                "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset",
                "/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2",
                "/dev/nvidia-caps-imex-channels/channel0", "/dev/nvidia-fs0", "/dev/nvidia-fs1", "/dev/nvidia-nvlink",
                "/dev/nvidia-nvswitchctl", "/dev/gdrdrv",
            ])
        #expect(
            devices.fabric == [
                "/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1", "/dev/cxi0",
                "/dev/cxi1",
                "/dev/knem", "/dev/xpmem",
            ])
    }

    /// The driver assigns capabilities to slices and GPUs.
    @Test func slicesOfOtherGPUsAndTheirManagementAreNotShown() throws {
        func access(_ minor: Int) -> String { "DeviceFileMinor: \(minor)\nDeviceFileMode: 292\nDeviceFileModify: 1\n" }
        let base = "proc/driver/nvidia/capabilities/"
        var files = Self.nodes("nvidia0", "nvidiactl")
        for cap in [1, 2, 30, 31, 39, 165, 166] { files["dev/nvidia-caps/nvidia-cap\(cap)"] = "" }
        files[base + "mig/config"] = access(1)
        files[base + "mig/monitor"] = access(2)
        files[base + "gpu0/mig/gi3/access"] = access(30)
        files[base + "gpu0/mig/gi3/ci0/access"] = access(31)
        files[base + "gpu0/mig/gi4/access"] = access(999)
        files[base + "gpu1/mig/gi3/access"] = access(165)
        files[base + "gpu1/mig/gi3/ci0/access"] = access(166)
        let (tree3, host) = try Self.host(files)
        defer { withExtendedLifetime(tree3) {} }
        let devices = try HostDevices(host: host)
        #expect(devices.capabilities == ["/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31"])
    }

    /// Reports of a step's tasks about devices that open replace the process's own grant. Other content is ignored.
    @Test func reportsDecideAboutGPUsAndSlicesThatTheHostHas() throws {
        let (tree, host) = try Self.host(
            Self.nodes(
                "nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "null", "nvidia-caps/nvidia-cap30",
                "nvidia-caps/nvidia-cap31", "nvidia-caps/secret"))
        defer { withExtendedLifetime(tree) {} }
        // This process cannot open it, as with another task's cgroup, but its report is used.
        try FileManager.default.setAttributes([.posixPermissions: 0], ofItemAtPath: tree.path + "/dev/nvidia2")
        let said: [DeviceNode] = [
            "/dev/nvidia2", "/dev/nvidia1", "/dev/nvidia1", "/dev/nvidia7", "/dev/null", "/etc/shadow", "nvidia0", "",
            "/dev/nvidia-caps/nvidia-cap31", "/dev/nvidia-caps/secret", "/dev/nvidia0/../nvidia0", "/dev/nvidia-uvm",
        ]
        let devices = try HostDevices(host: host, openable: said)
        #expect(devices.gpus == ["/dev/nvidia1", "/dev/nvidia2"])
        #expect(devices.capabilities == ["/dev/nvidia-caps/nvidia-cap31"])
        #expect(
            devices.gpuControl == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-caps/nvidia-cap31"])
        let none = try HostDevices(host: host, openable: [])
        #expect(none.gpus.isEmpty && none.capabilities.isEmpty)
        #expect(none.gpuControl == ["/dev/nvidiactl", "/dev/nvidia-uvm"])
        let (other, amd) = try Self.host(Self.nodes("kfd", "dri/renderD128", "dri/renderD129"))
        defer { withExtendedLifetime(other) {} }
        #expect(try HostDevices(host: amd, openable: ["/dev/dri/renderD129"]).gpus == ["/dev/dri/renderD129"])
    }

    @Test func AMDsGPUs() throws {
        let (tree4, host) = try Self.host(
            Self.nodes("kfd", "dri/renderD129", "dri/renderD128", "dri/renderD130", "dri/card0"),
            links: [
                "sys/class/drm/renderD128/device/driver": "../../bus/pci/drivers/amdgpu",
                "sys/class/drm/renderD129/device/driver": "../../bus/pci/drivers/amdgpu",
                "sys/class/drm/renderD130/device/driver": "../../bus/pci/drivers/ast",
            ])
        defer { withExtendedLifetime(tree4) {} }
        let devices = try HostDevices(host: host)
        #expect(devices.vendor == .amd && devices.gpus == ["/dev/dri/renderD128", "/dev/dri/renderD129"])
        #expect(devices.gpuControl == ["/dev/kfd"])
    }

    /// The driver's list: a CPU, two GPUs in the reverse order of their nodes, a partition of the second one, and one
    /// that a device cgroup denies, whose properties are unreadable.
    @Test func AMDsGPUsAreListedByTheComputeDriver() throws {
        func gpu(_ minor: Int, _ location: Int, _ unique: String, domain: Int = 0) -> String {
            "cpu_cores_count 0\nsimd_count 440\nvendor_id 4098\nlocation_id \(location)\ndomain \(domain)\n"
                + "drm_render_minor \(minor)\nunique_id \(unique)\n"
        }
        let nodes = "sys/class/kfd/kfd/topology/nodes/"
        var files = [
            nodes + "0/properties": "cpu_cores_count 64\nsimd_count 0\nlocation_id 0\ndrm_render_minor 0\n",
            nodes + "1/properties": gpu(129, 0xC103, "18446744073709551615", domain: 1),
            nodes + "2/properties": gpu(128, 0x2300, "0"), nodes + "10/properties": gpu(136, 0x1000_2300, "255"),
        ]
        let (place, host) = try Self.host(files)
        defer { withExtendedLifetime(place) {} }
        let inventory = try GPUInventory(.amd, host: host)
        #expect(inventory.isWhole)
        #expect(
            inventory.gpus == [
                .init(address: "0001:c1:00.3", uuid: "GPU-ffffffffffffffff", node: "/dev/dri/renderD129"),
                .init(address: "0000:23:00.0", uuid: "", node: "/dev/dri/renderD128"),
                .init(address: "0000:23:00.0", uuid: "GPU-00000000000000ff", node: "/dev/dri/renderD136"),
            ])
        let open = inventory.gpus.map(\.node)
        let variables = ["SLURM_JOB_ID": "1", "SLURM_STEP_GPUS": "0"]
        #expect(inventory.grantedBySlurm(open: open) { variables[$0] } == ["/dev/dri/renderD129"])
        // If one is unreadable, a cgroup constrains devices, and the nodes that open are the grant.
        files[nodes + "3/properties"] = ""
        let (other, constrained) = try Self.host(files)
        defer { withExtendedLifetime(other) {} }
        let rest = try GPUInventory(.amd, host: constrained)
        #expect(!rest.isWhole && rest.gpus == inventory.gpus)
        #expect(rest.grantedBySlurm(open: open) { variables[$0] } == nil)
    }

    /// Without the list, by PCI address. Devices of other drivers are ignored.
    @Test func AMDsGPUsWithoutTheComputeDriversList() throws {
        var links: [String: String] = [:]
        for (minor, address, driver) in [
            (128, "0000:41:00.0", "amdgpu"), (129, "0000:03:00.0", "amdgpu"), (130, "0000:01:00.0", "ast"),
        ] {
            links["sys/class/drm/renderD\(minor)/device"] = "../../../devices/pci0000:00/\(address)"
            links["sys/devices/pci0000:00/\(address)/driver"] = "../../../bus/pci/drivers/\(driver)"
        }
        let (place, host) = try Self.host([:], links: links)
        defer { withExtendedLifetime(place) {} }
        #expect(try GPUInventory(.amd, host: host).gpus.map(\.node) == ["/dev/dri/renderD129", "/dev/dri/renderD128"])
    }

    // MARK: The order of GPUs

    /// PCI order 0..3 is minor 2, 0, 3, 1.
    static func inventory() throws -> (TemporaryDirectory, GPUInventory) {
        var files: [String: String] = [:]
        for (index, minor) in [2, 0, 3, 1].enumerated() {
            files["proc/driver/nvidia/gpus/0000:\(index)1:00.0/information"] =
                "Model: \t\t H\nIRQ:   \t\t 1\nGPU UUID: \t GPU-\(index)0000000-aaaa\nBus Location: \t 0000:\(index)1:00.0\nDevice Minor: \t \(minor)\nGPU Excluded:\t No\n"
        }
        files["proc/driver/nvidia/gpus/0000:91:00.0/information"] = "Device Minor: \t 9\nGPU Excluded:\t Yes\n"
        let (place, host) = try Self.host(files)
        return (place, try GPUInventory(.nvidia, host: host))
    }

    static let open = (0..<4).map { DeviceNode("/dev/nvidia\($0)") }

    @Test func PCIOrderIsNotTheOrderOfNodes() throws {
        let (tree5, inventory) = try Self.inventory()
        defer { withExtendedLifetime(tree5) {} }
        #expect(inventory.gpus.map(\.node) == ["/dev/nvidia2", "/dev/nvidia0", "/dev/nvidia3", "/dev/nvidia1"])
        #expect(
            inventory.sorted(["/dev/nvidia0", "/dev/nvidia7", "/dev/nvidia2"]) == [
                "/dev/nvidia2", "/dev/nvidia0", "/dev/nvidia7",
            ])
    }

    struct Slurm: Sendable {
        let variables: [String: String]
        let nodes: [Int]?
    }

    @Test(arguments: [
        Slurm(variables: ["SLURM_STEP_GPUS": "0,3"], nodes: [2, 1]),
        Slurm(variables: ["SLURM_STEP_GPUS": "1-2"], nodes: [0, 3]),
        Slurm(variables: ["SLURM_JOB_GPUS": "2"], nodes: [3]),
        Slurm(variables: ["SLURM_STEP_GPUS": "1", "SLURM_JOB_GPUS": "0,1,2"], nodes: [0]),
        Slurm(variables: ["CUDA_VISIBLE_DEVICES": "3,1"], nodes: [0, 1]),
        Slurm(variables: ["CUDA_VISIBLE_DEVICES": "NoDevFiles"], nodes: []),
        // The whole node; lists with other contents; no variables.
        Slurm(variables: ["SLURM_STEP_GPUS": "0,1,2,3"], nodes: nil),
        Slurm(variables: ["SLURM_STEP_GPUS": "0,9"], nodes: nil),
        Slurm(variables: ["CUDA_VISIBLE_DEVICES": "MIG-1234"], nodes: nil),
        Slurm(variables: ["SLURM_STEP_GPUS": "x"], nodes: nil),
        Slurm(variables: [:], nodes: nil),
    ]) func SlurmsIndicesBecomeNodes(_ row: Slurm) throws {
        let (tree6, inventory) = try Self.inventory()
        defer { withExtendedLifetime(tree6) {} }
        var variables = row.variables
        variables["SLURM_JOB_ID"] = "7"
        let granted = inventory.grantedBySlurm(open: Self.open) { variables[$0] }
        #expect(granted == row.nodes.map { $0.map { DeviceNode("/dev/nvidia\($0)") } })
        // If the grant is narrower, the inventory is needed.
        if granted != nil { #expect(GPUInventory.mayBeNarrower(than: Self.open) { variables[$0] }) }
        // If the cgroup denies some, that decides; outside a job, nothing is limited.
        #expect(inventory.grantedBySlurm(open: Array(Self.open.dropLast())) { variables[$0] } == nil)
        #expect(inventory.grantedBySlurm(open: Self.open) { row.variables[$0] } == nil)
    }

    /// The table of Sarus, and similar cases.
    @Test(arguments: [
        ("3,1,5", [1, 3, 5], "1,0,2"), ("1", [1], "0"), ("0,1,2", [0, 1, 2], "0,1,2"), ("2,0", [0, 2], "1,0"),
        ("5,0", [5], "0"), ("7", [1], ""), ("1-3", [1, 3], "0,1"), ("GPU-1234", [1], "GPU-1234"),
        ("MIG-1", [1], "MIG-1"), ("", [1], ""),
    ]) func listsAreRenumbered(_ list: String, _ shown: [Int], _ result: String) {
        let all = (0..<6).map { DeviceNode("node\($0)") }
        #expect(GPUInventory.renumbered(list, before: all, after: shown.map { DeviceNode("node\($0)") }) == result)
    }

    /// Lists of runtimes above ROCm count what its list selects; lists of names stay.
    @Test(arguments: [
        (["ROCR_VISIBLE_DEVICES=2", "HIP_VISIBLE_DEVICES=0"], ["ROCR_VISIBLE_DEVICES=1", "HIP_VISIBLE_DEVICES=0"]),
        (
            ["HIP_VISIBLE_DEVICES=1,0", "ROCR_VISIBLE_DEVICES=3,2"],
            ["HIP_VISIBLE_DEVICES=0", "ROCR_VISIBLE_DEVICES=1"]
        ),
        (["HIP_VISIBLE_DEVICES=2,0", "A=2"], ["HIP_VISIBLE_DEVICES=1,0", "A=2"]),
        (["CUDA_VISIBLE_DEVICES=0", "GPU_DEVICE_ORDINAL=2"], ["CUDA_VISIBLE_DEVICES=0", "GPU_DEVICE_ORDINAL=1"]),
        (["CUDA_VISIBLE_DEVICES=GPU-1"], ["CUDA_VISIBLE_DEVICES=GPU-1"]),
        (
            ["ROCR_VISIBLE_DEVICES=GPU-a,GPU-b", "HIP_VISIBLE_DEVICES=2"],
            ["ROCR_VISIBLE_DEVICES=GPU-a,GPU-b", "HIP_VISIBLE_DEVICES=2"]
        ),
    ]) func listsBehindAnotherCountWhatItLeaves(_ environment: [String], _ expected: [String]) {
        var changed = environment
        let before = (0..<4).map { DeviceNode("node\($0)") }
        let isCounted = GPUInventory.renumber(&changed, before: before, after: ["node0", "node2"], .amd)
        #expect(changed == expected && isCounted == (changed != environment))
    }

    /// Slurm sets all lists to the same value if gres.conf does not specify the vendor.
    @Test func NVIDIAsListIsBehindNoOther() {
        var changed = ["CUDA_VISIBLE_DEVICES=2,3", "ROCR_VISIBLE_DEVICES=2,3"]
        let isCounted = GPUInventory.renumber(
            &changed, before: ["node0", "node1", "node2", "node3"], after: ["node2", "node3"], .nvidia)
        #expect(isCounted && changed == ["CUDA_VISIBLE_DEVICES=0,1", "ROCR_VISIBLE_DEVICES=0,1"])
    }

    @Test func GPUsHaveNames() throws {
        let (tree7, inventory) = try Self.inventory()
        defer { withExtendedLifetime(tree7) {} }
        let granted: [DeviceNode] = ["/dev/nvidia2", "/dev/nvidia0"]
        let found = inventory.nodes(
            named: ["1", "GPU-00000000-aaaa", "GPU-1", "0000:11:00.0", "01:00.0", "2", "GPU-2", "GPU-", "x"],
            granted: granted)
        #expect(
            found == [
                "/dev/nvidia0", "/dev/nvidia2", "/dev/nvidia0", "/dev/nvidia0", "/dev/nvidia2", nil, nil, nil, nil,
            ])
    }

    // MARK: The driver

    static func driver(version: String? = "550.54.15") throws -> (TemporaryDirectory, HostTree) {
        let libraries = [
            ("libcuda.so.1", "libcuda.so.550.54.15"), ("libcuda.so", "libcuda.so.1"),
            ("libnvidia-ml.so.1", "libnvidia-ml.so.550.54.15"),
            ("libnvidia-encode.so.1", "libnvidia-encode.so.550.54.15"),
            ("libnvidia-opencl.so.1", "libnvidia-opencl.so.550.54.15"),
            ("libGLX_nvidia.so.0", "libGLX_nvidia.so.550.54.15"),
            ("libnvidia-egl-gbm.so.1", "libnvidia-egl-gbm.so.1.1.0"),
            ("libnvidia-nvvm.so.4", "libnvidia-nvvm.so.535.1"), ("libcudart.so.12", "libcudart.so.12.4"),
            ("libc.so.6", "libc.so.6"),
        ]
        var files = [
            "usr/bin/nvidia-smi": "", "usr/bin/nvidia-cuda-mps-control": "",
            "lib/firmware/nvidia/550.54.15/gsp_ga10x.bin": "",
            "lib/firmware/nvidia/550.54.15/readme": "", "run/nvidia-persistenced/socket": "",
            "etc/vulkan/icd.d/nvidia_icd.json": "",
            "proc/driver/nvidia/params": "ModifyDeviceFiles: 1\n",
        ]
        if let version {
            files["proc/driver/nvidia/version"] =
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  \(version)  Tue Mar\nGCC version: 12\n"
        }
        var links: [String: String] = [:]
        for (soname, file) in libraries {
            if file != soname { links["usr/lib64/" + soname] = file }
            if !libraries.contains(where: { $0.0 == file && $0.1 != file }) { files["usr/lib64/" + file] = "" }
        }
        let (place, host) = try Self.host(files, links: links)
        let known = libraries.map { LoaderCache.Library(soname: $0.0, path: "/usr/lib64/" + $0.0) }
        try place.write(try #require(LoaderCache.adding(known, to: [])), to: "etc/ld.so.cache")
        return (place, host)
    }

    static func mounts(_ edits: [DeviceEdit]) -> [String] {
        edits.compactMap { if case .bind(_, let path, _, _) = $0.action { path } else { nil } }
    }

    @Test(arguments: ["550.54.15", nil]) func computeAndUtility(_ version: String?) throws {
        let (place, host) = try Self.driver(version: version)
        let driver = try #require(NVIDIADriver(host: host))
        #expect(driver.version == "550.54.15")
        let edits = try driver.edits([.compute, .utility], host: host)
        let directory = "/usr/local/nvidia/lib64/"
        #expect(
            Set(Self.mounts(edits)) == [
                directory + "libcuda.so.550.54.15", directory + "libnvidia-ml.so.550.54.15",
                directory + "libnvidia-opencl.so.550.54.15",
                "/usr/bin/nvidia-smi", "/usr/bin/nvidia-cuda-mps-control",
                "/lib/firmware/nvidia/550.54.15/gsp_ga10x.bin",
                "/run/nvidia-persistenced/socket",
            ])
        let actions = edits.map(\.action)
        #expect(actions.contains(.symlink(path: directory + "libcuda.so.1", target: "libcuda.so.550.54.15")))
        #expect(actions.contains(.symlink(path: directory + "libcuda.so", target: "libcuda.so.1")))
        #expect(actions.contains(.file(path: "/etc/OpenCL/vendors/nvidia.icd", Array("libnvidia-opencl.so.1\n".utf8))))
        #expect(actions.contains(.cover(path: "/proc/driver/nvidia/params", Array("ModifyDeviceFiles: 0\n".utf8))))
        let update = actions.compactMap { if case .loader(let update) = $0 { update } else { nil } }
        #expect(
            update.first?.libraries.contains(.init(soname: "libcuda.so.1", path: directory + "libcuda.so.1")) == true)
        #expect(update.first?.compatibility == CUDACompatibility(hostDriverVersion: "550.54.15"))
        for case .bind(let source, _, _, _) in actions {
            #expect(FileManager.default.fileExists(atPath: source), "\(source) in \(place.path)")
        }
    }

    @Test func capabilitiesChoose() throws {
        let (tree8, host) = try Self.driver()
        defer { withExtendedLifetime(tree8) {} }
        let driver = try #require(NVIDIADriver(host: host))
        func names(_ text: String?) throws -> Set<String> {
            try Set(
                Self.mounts(driver.edits(NVIDIADriver.capabilities(text), host: host)).map {
                    String($0.split(separator: "/").last ?? "")
                })
        }
        #expect(try names("utility") == ["libnvidia-ml.so.550.54.15", "nvidia-smi", "gsp_ga10x.bin", "socket"])
        #expect(
            try names("video").contains("libnvidia-encode.so.550.54.15")
                && !names("video").contains("libcuda.so.550.54.15")
        )
        #expect(
            try names("graphics").isSuperset(of: [
                "libGLX_nvidia.so.550.54.15", "libnvidia-egl-gbm.so.1.1.0", "nvidia_icd.json",
            ]))
        #expect(try names("all").isSuperset(of: names("graphics").union(names(nil))))
        #expect(try names(nil) == names("compute,utility") && names("nonsense, compute") == names("compute"))
        // Never libraries of another version or of the toolkit.
        #expect(try names("all").isDisjoint(with: ["libnvidia-nvvm.so.535.1", "libcudart.so.12.4", "libc.so.6"]))
    }

    @Test func graphicsNeedTheGPUsOwnRenderNodes() throws {
        var files = Self.nodes("dri/card1", "dri/renderD128", "dri/card2", "dri/renderD129")
        for (address, minor, number) in [("0000:3b:00.0", 0, 1), ("0000:5e:00.0", 1, 2), ("0000:af:00.0", 2, 3)] {
            files["proc/driver/nvidia/gpus/\(address)/information"] = "Device Minor: \t \(minor)\n"
            for name in ["card\(number)", "renderD\(127 + number)", "version"] {
                files["sys/bus/pci/devices/\(address)/drm/\(name)/uevent"] = ""
            }
        }
        let (place, host) = try Self.host(files)
        let edits = try NVIDIADriver.renderEdits(of: ["/dev/nvidia1", "/dev/nvidia2"], [.graphics], host: host)
        #expect(
            edits
                == ["card2", "renderD129"].map {
                    DeviceEdit(
                        .node(DeviceNode(place.path + "/dev/dri/" + $0), path: "/dev/dri/" + $0),
                        .host("graphics of /dev/nvidia1"))
                })
        #expect(try NVIDIADriver.renderEdits(of: ["/dev/nvidia1"], [.compute, .utility], host: host).isEmpty)
    }

    @Test func GPUDirectStorageReadsItsSettings() throws {
        let (tree, host) = try Self.host(["etc/cufile.json": "", "run/udev/data/b8:0": ""])
        defer { withExtendedLifetime(tree) {} }
        #expect(Self.mounts(NVIDIADriver.storageEdits(host: host)) == ["/etc/cufile.json", "/run/udev"])
        #expect(NVIDIADriver.storageEdits(host: HostTree(root: "/nonexistent")).isEmpty)
    }

    @Test func withoutADriverThereIsNone() throws {
        let (tree9, empty) = try Self.host([:])
        defer { withExtendedLifetime(tree9) {} }
        #expect(NVIDIADriver(host: empty) == nil)
        // The module and the libraries have different versions.
        let (tree10, other) = try Self.driver(version: "570.1.2")
        defer { withExtendedLifetime(tree10) {} }
        #expect(NVIDIADriver(host: other) == nil)
    }

    // MARK: Fabrics

    static func fabric(_ driver: String) throws -> (TemporaryDirectory, HostTree) {
        try host(
            Self.nodes("infiniband/uverbs0"),
            links: ["sys/class/infiniband_verbs/uverbs0/device/driver": "../../../bus/pci/drivers/" + driver])
    }

    @Test(arguments: [("mlx5_core", Fabric.ib), ("efa", .efa), ("irdma", .ib)]) func theDriverSaysWhichFabric(
        _ driver: String, _ fabric: Fabric
    ) throws {
        let (tree11, host) = try Self.fabric(driver)
        defer { withExtendedLifetime(tree11) {} }
        #expect(Fabric.present(["/dev/infiniband/uverbs0"], host: host) == fabric)
        #expect(Fabric.present(["/dev/cxi0"], host: host) == .none)
    }

    @Test func theSitesRulesBelongToAFabric() throws {
        let (place, host) = try Self.fabric("efa")
        try place.write("", to: "opt/efa/lib/libfabric.so.1.25.0")
        try place.link("opt/efa/lib/libfabric.so.1", to: "libfabric.so.1.25.0")
        let rules = [
            FabricRule(fabric: .efa, action: .mount(source: "/opt/efa", path: "/opt/amazon/efa"), place: "f:1"),
            FabricRule(fabric: .efa, action: .library("/opt/efa/lib/libfabric.so.1"), place: "f:2"),
            FabricRule(fabric: .efa, action: .variable("FI_PROVIDER=efa;ofi_rxd"), place: "f:3"),
            FabricRule(fabric: .ib, action: .variable("NCCL_IB_HCA=mlx5"), place: "f:4"),
        ]
        let edits = Fabric.efa.edits(rules, host: host)
        let ro: MountAttributes = [.readOnly, .noSetUserID, .noDevices]
        #expect(
            edits.prefix(5) == [
                DeviceEdit(
                    .bind(source: place.path + "/opt/efa", path: "/opt/amazon/efa", recursive: true, attributes: ro),
                    .site("f:1")),
                DeviceEdit(
                    .bind(
                        source: place.path + "/opt/efa/lib/libfabric.so.1.25.0",
                        path: "/opt/efa/lib/libfabric.so.1.25.0", recursive: false, attributes: ro), .site("f:2")),
                DeviceEdit(.variable("FI_PROVIDER=efa;ofi_rxd", isDefault: true), .site("f:3")),
                DeviceEdit(.symlink(path: "/opt/efa/lib/libfabric.so.1", target: "libfabric.so.1.25.0"), .site("f:2")),
                DeviceEdit(
                    .loader(
                        LoaderUpdate(libraries: [
                            .init(soname: "libfabric.so.1.25.0", path: "/opt/efa/lib/libfabric.so.1.25.0"),
                            .init(soname: "libfabric.so.1", path: "/opt/efa/lib/libfabric.so.1"),
                        ])), .site("f:2")),
            ])
        let variables = edits.compactMap { if case .variable(let entry, true) = $0.action { entry } else { nil } }
        #expect(
            variables.contains("FI_EFA_USE_HUGE_PAGE=0") && variables.filter { $0.hasPrefix("FI_PROVIDER=") }.count == 1
        )
        #expect(Fabric.none.edits(rules, host: host).isEmpty)
        #expect(Fabric.ib.edits(rules, host: host).first?.action == .variable("NCCL_IB_HCA=mlx5", isDefault: true))
    }

    @Test func everyVariableOfAFabricIsExplained() {
        for fabric in Fabric.allCases {
            for variable in fabric.variables { #expect(variable.entry.contains("=") && variable.why.count > 20) }
        }
        let page =
            FileManager.default.contents(atPath: packageRoot() + "/docs/reference/devices.md").map {
                String(decoding: $0, as: UTF8.self)
            } ?? ""
        for variable in Fabric.allCases.flatMap(\.variables) {
            #expect(page.contains(variable.entry), "docs/reference/devices.md does not speak of \(variable.entry)")
        }
    }

    @Test func NCCLsFilesAreShownWhereTheyAre() throws {
        let (place, host) = try Self.host(["etc/nccl.conf": "", "var/run/nvidia-topologyd/virtualTopology.xml": ""])
        #expect(Self.mounts(Fabric.companionEdits(host: host)) == Fabric.companions)
        #expect(Fabric.companionEdits(host: HostTree(root: place.path + "/dev")).isEmpty)
    }
}
