import Devices
import LinuxKernel
import Testing
import TestSupport

/// The device of a name, and the devices of the granted nodes.
@Suite struct RegistryTests {
    static func node(_ path: String, host: String = "") -> ContainerEdits.DeviceNode {
        ContainerEdits.DeviceNode(line: 1, path: path, hostPath: host)
    }

    static func device(_ name: String, _ nodes: String...) -> DeviceRegistry.Device {
        var edits = ContainerEdits()
        edits.deviceNodes = nodes.map { node($0) }
        return DeviceRegistry.Device(name: name, line: 1, edits: edits)
    }

    static func registry(_ files: (path: String, priority: Int, devices: [DeviceRegistry.Device])...) -> DeviceRegistry
    {
        var registry = DeviceRegistry()
        registry.specifications = files.map {
            DeviceRegistry.Specification(
                path: $0.path, priority: $0.priority, vendor: "nvidia.com", class: "gpu", devices: $0.devices)
        }
        return registry
    }

    static func name(_ text: String) throws -> QualifiedName { try QualifiedName(parsing: text) }

    @Test func theLaterDirectoryWins() throws {
        let registry = Self.registry(
            ("/etc/cdi/a.yaml", 0, [Self.device("0", "/dev/nvidia0"), Self.device("1", "/dev/nvidia1")]),
            ("/var/run/cdi/b.yaml", 1, [Self.device("0", "/dev/nvidia7")]))
        #expect(try registry.device(Self.name("nvidia.com/gpu=0")).specification.path == "/var/run/cdi/b.yaml")
        #expect(try registry.device(Self.name("nvidia.com/gpu=1")).specification.path == "/etc/cdi/a.yaml")
        #expect(registry.devices(class: "gpu").map(\.device.name) == ["1", "0"])
    }

    @Test func twoFilesOfOneDirectoryConflict() throws {
        let registry = Self.registry(
            ("/etc/cdi/a.yaml", 0, [Self.device("0", "/dev/nvidia0")]),
            ("/etc/cdi/b.yaml", 0, [Self.device("0", "/dev/nvidia0"), Self.device("1", "/dev/nvidia1")]))
        #expect(
            throws: DeviceError.conflict("nvidia.com/gpu=0", paths: ["/etc/cdi/a.yaml", "/etc/cdi/b.yaml"])
        ) { try registry.device(Self.name("nvidia.com/gpu=0")) }
        #expect(try registry.device(Self.name("nvidia.com/gpu=1")).device.name == "1")
        // A file with higher priority resolves the conflict.
        let settled = Self.registry(
            ("/etc/cdi/a.yaml", 0, [Self.device("0", "/dev/nvidia0")]),
            ("/etc/cdi/b.yaml", 0, [Self.device("0", "/dev/nvidia0")]),
            ("/run/cdi/c.yaml", 1, [Self.device("0", "/dev/nvidia0")]))
        #expect(try settled.device(Self.name("nvidia.com/gpu=0")).specification.path == "/run/cdi/c.yaml")
    }

    @Test func whatIsNotThereIsSaid() throws {
        let registry = Self.registry(
            ("/etc/cdi/a.yaml", 0, [Self.device("1", "/dev/nvidia1"), Self.device("0", "/dev/nvidia0")]))
        #expect(throws: DeviceError.unknownKind("amd.com/gpu", refused: [])) {
            try registry.device(Self.name("amd.com/gpu=0"))
        }
        #expect(throws: DeviceError.unknownDevice("nvidia.com/gpu=7", known: ["0", "1"], refused: [])) {
            try registry.device(Self.name("nvidia.com/gpu=7"))
        }
    }

    // MARK: From nodes

    static let mig = registry(
        (
            "/etc/cdi/nvidia.yaml", 0,
            [
                device("0", "/dev/nvidia0", "/dev/dri/renderD128"), device("1", "/dev/nvidia1"),
                device("GPU-1", "/dev/nvidia1"),
                device("1:0", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"),
                device("1:1", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31"),
                device("MIG-1", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"),
                device("all", "/dev/nvidia0", "/dev/nvidia1"),
            ]
        ))

    @Test(
        arguments: [
            (["/dev/nvidia0"], [], ["0"]), (["/dev/nvidia1"], [], ["1"]),
            (["/dev/nvidia0", "/dev/nvidia1"], [], ["0", "1"]),
            (["/dev/nvidia1"], [21, 22], ["1:0"]), (["/dev/nvidia1"], [21, 22, 30, 31], ["1:0", "1:1"]),
            (["/dev/nvidia0", "/dev/nvidia1"], [30, 31], ["0", "1:1"]), (["/dev/nvidia1"], [21], ["1"]),
        ] as [([DeviceNode], [Int], [String])]) func nodesMeanDevices(
            _ nodes: [DeviceNode], _ capabilities: [Int], _ names: [String]
        )
    {
        let found = Self.mig.devices(
            forNodes: nodes, capabilities: capabilities.map { DeviceNode("/dev/nvidia-caps/nvidia-cap\($0)") })
        #expect(found?.map(\.device.name) == names)
    }

    @Test func aStaleSpecificationMeansNothing() {
        #expect(Self.mig.devices(forNodes: ["/dev/nvidia0", "/dev/nvidia2"], capabilities: []) == nil)
    }

    @Test func aDeviceByNameBringsNoGPUThatWasNotGranted() throws {
        let all = try Self.mig.device(Self.name("nvidia.com/gpu=all"))
        #expect(
            throws: DeviceError.notGranted("nvidia.com/gpu=all", node: "/dev/nvidia1", granted: ["/dev/nvidia0"])
        ) { try DeviceRegistry.checkGrant(of: [all], gpus: ["/dev/nvidia0"]) }
        try DeviceRegistry.checkGrant(of: [all], gpus: ["/dev/nvidia1", "/dev/nvidia0"])
        let slice = try Self.mig.device(Self.name("nvidia.com/gpu=MIG-1"))
        let own: [DeviceNode] = ["/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"]
        try DeviceRegistry.checkGrant(of: [slice], gpus: ["/dev/nvidia1"], capabilities: own)
        #expect(
            throws: DeviceError.notGranted("nvidia.com/gpu=MIG-1", node: own[1], granted: ["/dev/nvidia1", own[0]])
        ) { try DeviceRegistry.checkGrant(of: [slice], gpus: ["/dev/nvidia1"], capabilities: [own[0]]) }
    }

    @Test func mutationsOfARecordDoNoHarm() throws {
        let bytes = Self.mig.encoded(key: "k")
        #expect(DeviceRegistry(decoding: bytes, key: "k") == Self.mig)
        var state: UInt64 = 7
        for _ in 0..<400 {
            var mutated = bytes
            for _ in 0..<3 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                mutated[Int(state >> 33) % bytes.count] = [0, 0x1F, 0x2D, 0x39, 0xFF][Int(state >> 13) % 5]
            }
            _ = DeviceRegistry(decoding: mutated, key: "k")
        }
    }

    // MARK: Files

    @Test func filesAreFoundByTheirNamesAndChangesAreNoticed() throws {
        let place = try TemporaryDirectory()
        try place.write("a", to: "etc/b.yaml")
        try place.write("a", to: "etc/a.json")
        try place.write("a", to: "etc/c.yml")
        try place.write("a", to: "etc/d.yaml.bak")
        try place.makeDirectory("etc/e.yaml")
        try place.write("a", to: "run/a.json")
        let directories = ["etc", "run", "absent"].map { place.path + "/" + $0 }
        let files = SpecificationFiles(in: directories)
        #expect(
            files.files.map { String($0.path.dropFirst(place.path.count)) } == [
                "/etc/a.json", "/etc/b.yaml", "/run/a.json",
            ])
        #expect(files.files.map(\.priority) == [0, 0, 1])
        #expect(SpecificationFiles(in: directories) == files)
        try place.write("ab", to: "etc/b.yaml")
        #expect(SpecificationFiles(in: directories).key != files.key)
        #expect(SpecificationFiles(in: [place.path + "/absent"]).isEmpty)
    }
}
