@testable import Allocation
import Devices
@testable import Doctor
import Foundation
import LaunchPlanning
import LinuxKernel
import TestSupport
import Testing

/// The results of the doctor for simulated nodes.
@Suite struct DiagnosisTests {
    static let well: [NodeFacts.Trial] = [
        "user-namespace", "id-map", "mount-namespace", "tmpfs", "overlay", "overlay-removal", "overlay-on-store",
    ].map { NodeFacts.Trial($0, 0) }

    /// A node without problems and without special hardware.
    static var plain: NodeFacts {
        var facts = NodeFacts()
        facts.kernel = "6.1.0"
        facts.namespaceAdvice = "an administrator must allow them"
        facts.trials = well
        facts.sharedMemory = FileSystemSpace(total: 64 << 30, available: 60 << 30)
        facts.memory = 128 << 30
        facts.hasUnifiedCgroups = true
        return facts
    }

    /// A correctly configured node with eight GPUs, two adapters and Slurm.
    static var cluster: NodeFacts {
        var facts = plain
        facts.isInJob = true
        facts.nvidia.driver = "550.54.14"
        facts.nvidia.gpus = 8
        facts.nvidia.nodes = (0..<8).map { DeviceNode("/dev/nvidia\($0)") }
        facts.nvidia.refused = (2..<8).map { DeviceNode("/dev/nvidia\($0)") }
        facts.constrained = facts.nvidia.refused
        facts.nvidia.hasControl = true
        facts.nvidia.hasUVM = true
        facts.nvidia.library = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
        facts.cdi.specifications = [
            NodeFacts.Specification(path: "/var/run/cdi/nvidia.yaml", isOfNVIDIA: true, namesDriver: true)
        ]
        facts.nvidia.hasPeerMemory = true
        facts.fabrics = (0..<2).map {
            FabricDevices.Device(
                node: "/dev/infiniband/uverbs\($0)", name: "mlx5_\($0)", driver: "mlx5_core", states: ["4: ACTIVE"])
        }
        facts.hasConnectionManager = true
        facts.topologyFile = "/var/run/nvidia-topologyd/virtualTopology.xml"
        facts.limitSources = LimitSources(
            slurmstepd: LimitValues(soft: .max, hard: .max), slurmd: LimitValues(soft: .max, hard: .max))
        facts.slurm.directory = "/etc/slurm"
        facts.slurm.isReadable = true
        facts.slurm.taskPlugin = "task/affinity,task/cgroup"
        facts.slurm.constrainsDevices = true
        facts.slurm.hasGres = true
        facts.slurm.container = "job_container/tmpfs"
        facts.slurm.propagateExcept = "MEMLOCK"
        facts.slurm.slurmd = LimitValues(soft: .max, hard: .max)
        facts.slurm.hasMunge = true
        facts.slurm.plugin = "required /usr/lib/slurm/spank_berth.so"
        facts.mandatorySeccomp = ("default", "/etc/berth/berth.conf:3", nil)
        facts.credentials = [NodeFacts.CredentialFile(path: "/home/ada/.docker/config.json")]
        facts.remoteMounts = [NodeFacts.RemoteMount(path: "/home", type: "nfs4", answer: .well)]
        facts.cgroupLimits = CgroupLimits(
            CgroupMembership(
                separate: [], unified: .init(controllers: [], path: "/job_7", directory: "/cg/job_7"))
        ) { $0 == "/cg/job_7/memory.max" ? "68719476736" : nil }
        return facts
    }

    static func check(_ name: String, _ facts: NodeFacts) {
        let difference = Golden.difference(Diagnosis(of: facts).table, from: name, beside: #filePath)
        #expect(difference == nil, "\(difference ?? "")")
    }

    @Test func aPlainNodeIsWell() {
        #expect(Diagnosis(of: Self.plain).severity == .ok)
        Self.check("plain", Self.plain)
    }

    @Test func aClusterAsItShouldBeIsWell() {
        #expect(Diagnosis(of: Self.cluster).severity == .ok)
        Self.check("cluster", Self.cluster)
    }

    /// All possible problems of such a cluster at once.
    @Test func aClusterAsItIsFound() {
        var facts = Self.cluster
        facts.nvidia.refused = []
        facts.constrained = []
        facts.nvidia.nodes.removeLast()
        facts.nvidia.hasUVM = false
        facts.nvidia.library = nil
        facts.cdi.refused = [
            DeviceRegistry.Refused(path: "/etc/cdi/v.yaml", line: 3, reason: "the field \"x\" is not known")
        ]
        facts.cdi.conflicts = ["v.com/c=d in /etc/cdi/a.yaml and /etc/cdi/b.yaml"]
        facts.cdi.specifications = [
            NodeFacts.Specification(path: "/etc/cdi/nvidia.yaml", isOfNVIDIA: true, namesDriver: false)
        ]
        facts.nvidia.hasIMEX = true
        facts.nvidia.hasPeerMemory = false
        facts.fabrics[0] = FabricDevices.Device(
            node: "/dev/infiniband/uverbs0", name: "mlx5_0", driver: "mlx5_core", states: ["1: DOWN"])
        facts.refusedFabrics = ["/dev/infiniband/uverbs1"]
        facts.hasConnectionManager = false
        facts.lockedMemory = LimitValues(soft: 65536, hard: 8 << 20)
        facts.openFiles = LimitValues(soft: 1024, hard: 4096)
        facts.limitSources = LimitSources(slurmstepd: facts.lockedMemory, slurmd: facts.lockedMemory)
        facts.sharedMemory = FileSystemSpace(total: 64 << 30, available: 1 << 30)
        facts.slurm.taskPlugin = nil
        facts.slurm.trackingPlugin = "proctrack/linuxproc"
        facts.slurm.constrainsDevices = false
        facts.slurm.container = nil
        facts.slurm.propagateExcept = nil
        facts.slurm.slurmd = facts.lockedMemory
        facts.slurm.hasMunge = false
        facts.slurm.plugin = nil
        facts.store = NodeFacts.Place(
            path: "/home/ada/.local/share/berth", type: 0x6969,
            space: FileSystemSpace(total: 1 << 40, available: 3 << 30), takesWhiteouts: false)
        facts.scratch = NodeFacts.Place(path: "/local", mode: 0o755)
        facts.credentials = [
            NodeFacts.CredentialFile(path: "/a", isReadable: false),
            NodeFacts.CredentialFile(path: "/b", isPrivate: false),
            NodeFacts.CredentialFile(path: "/c", helpers: [.init(name: "pass", isThere: false)]),
        ]
        facts.mandatorySeccomp = ("/etc/p.json", "berth.conf:4", "is owned by uid 1002, expected root")
        facts.siteMounts = [
            NodeFacts.SiteMount(source: "/scratch", place: "berth.conf:1", errno: 2, mayBeAbsent: false),
            NodeFacts.SiteMount(source: "/opt", place: "berth.conf:2", errno: 2, mayBeAbsent: true),
            NodeFacts.SiteMount(source: "/nfs", place: "berth.conf:3", errno: 116, mayBeAbsent: true),
        ]
        facts.remoteMounts = [
            NodeFacts.RemoteMount(path: "/home", type: "nfs4", answer: .well),
            NodeFacts.RemoteMount(path: "/data", type: "lustre", answer: .none),
            NodeFacts.RemoteMount(path: "/nfs", type: "nfs", answer: .failed(116)),
        ]
        #expect(Diagnosis(of: facts).severity == .error)
        Self.check("troubled", facts)
    }

    @Test func aNodeWithoutNamespaces() {
        var facts = Self.plain
        facts.trials = [NodeFacts.Trial("user-namespace", 1)]
        facts.namespaceAdvice = "an administrator must allow them"
        facts.configuration = (
            "/etc/berth/berth.conf, line 3: unknown setting \"colour\"",
            "docs/reference/configuration.md lists them all"
        )
        facts.sharedMemory = nil
        facts.hasUnifiedCgroups = false
        facts.slurm.directory = "/etc/slurm"
        facts.store.type = 0x794C_7630
        facts.nvidia.nodes = ["/dev/nvidia0"]
        Self.check("no-namespaces", facts)
    }

    struct Change: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let check: String
        let severity: Finding.Severity
        let change: @Sendable (inout NodeFacts) -> Void
        init(
            _ name: String, _ check: String, _ severity: Finding.Severity,
            _ change: @escaping @Sendable (inout NodeFacts) -> Void
        ) {
            (testDescription, self.check, self.severity, self.change) = (name, check, severity, change)
        }
    }

    static let changes: [Change] = [
        Change("the launcher is gone", "launcher", .error) { $0.trials = nil },
        Change("maps are refused", "user-namespaces", .error) {
            $0.trials = [.init("user-namespace", 0), .init("id-map", 1)]
        },
        Change("root has no user namespace", "mounts", .ok) {
            $0.isRoot = true
            $0.trials = [.init("mount-namespace", 0), .init("tmpfs", 0), .init("overlay", 0)]
        },
        Change("mounting is refused", "mounts", .error) { $0.trials = well.prefix(2) + [.init("mount-namespace", 1)] },
        Change("no filter", "seccomp", .warning) { $0.trials = well + [.init("seccomp", 22)] },
        Change("an old kernel", "overlayfs", .error) { $0.trials = well.prefix(4) + [.init("overlay", 1)] },
        Change("an old kernel, as root", "overlayfs", .error) {
            $0.kernel = "5.10.0-32-amd64"
            $0.isRoot = true
            $0.trials = [
                .init("mount-namespace", 0), .init("tmpfs", 0), .init("overlay", 22), .init("overlay-on-store", 22),
            ]
        },
        Change("a tmpfs without extended attributes", "scratch-in-memory", .warning) {
            $0.scratch = nil
            $0.trials = well.prefix(5) + [.init("overlay-removal", 5), .init("overlay-on-store", 0)]
        },
        Change("the store can not be stacked", "overlay-on-store", .error) {
            $0.trials = well.prefix(5) + [.init("overlay-on-store", 22)]
        },
        Change("the store is read-only", "place", .warning) { $0.store.isWritable = false },
        Change("other users may write to the store", "place", .error) {
            $0.storeFault = UntrustedPath(path: $0.store.path, reason: .mode(0o777), expected: [0])
        },
        Change("the store is on Lustre", "place", .warning) { $0.store.type = 0x0BD0_0BD0 },
        Change("the store is in the home", "place", .warning) {
            $0.storeIsInHome = true
        },
        Change("no space", "space", .error) { $0.store.space.available = 1 << 30 },
        Change("little memlock, no RDMA", "memlock", .ok) {
            $0.fabrics = []
            $0.lockedMemory = LimitValues(soft: 65536, hard: 65536)
        },
        Change("little memlock, RDMA", "memlock", .error) { $0.lockedMemory = LimitValues(soft: 65536, hard: 65536) },
        Change("only the soft memlock is little", "memlock", .warning) {
            $0.lockedMemory = LimitValues(soft: 65536, hard: .max)
        },
        Change("root raises", "memlock", .ok) {
            $0.lockedMemory = LimitValues(soft: .max, hard: 65536)
            $0.raisesHardLimits = true
        },
        Change("a small /dev/shm", "/dev/shm", .warning) {
            $0.sharedMemory = FileSystemSpace(total: 64 << 20, available: 64 << 20)
        },
        Change("nobody constrains", "devices", .warning) {
            $0.constrained = []
            $0.slurm.constrainsDevices = nil
        },
        Change("all is propagated by name", "PropagateResourceLimits", .warning) { $0.slurm.propagate = "ALL" },
        Change("nothing is propagated", "PropagateResourceLimits", .ok) {
            $0.slurm.propagate = "NONE"
            $0.slurm.propagateExcept = nil
        },
        Change("slurm.conf is closed", "configuration", .warning) { $0.slurm.isReadable = false },
        Change("an old CDI file", "CDI", .error) {
            $0.cdi.specifications = [.init(path: "/etc/cdi/n.json", isOfNVIDIA: true, namesDriver: false)]
        },
        Change("another vendor's CDI file", "CDI", .ok) {
            $0.cdi.specifications = [.init(path: "/etc/cdi/x.json", isOfNVIDIA: false, namesDriver: false)]
        },
        Change("an IMEX channel", "IMEX", .ok) {
            $0.nvidia.hasIMEX = true
            $0.nvidia.channels = 2
            $0.nvidia.openChannels = 1
        },
        Change("an IMEX channel of others", "IMEX", .warning) {
            $0.nvidia.hasIMEX = true
            $0.nvidia.channels = 1
        },
        Change("a CDI file that is refused", "CDI", .warning) {
            $0.cdi.refused = [.init(path: "/etc/cdi/x.yaml", line: 0, reason: "no")]
        },
        Change("a device in two files", "CDI", .warning) { $0.cdi.conflicts = ["a.com/b=c in /x and /y"] },
        Change("a GPU that no CDI file knows", "CDI", .warning) { $0.cdi.unknownNodes = ["/dev/nvidia7"] },
        Change("the loader knows no libcuda", "libraries", .error) {
            $0.nvidia.library = nil
            $0.cdi.specifications = []
        },
        Change("only the CDI file knows libcuda", "libraries", .ok) { $0.nvidia.library = nil },
        Change("AMD's GPUs", "nodes", .ok) {
            $0.nvidia = .init()
            $0.amd.hasKFD = true
            $0.amd.gpus = 4
            $0.amd.granted = ["/dev/kfd", "/dev/dri/renderD128"]
        },
        Change("AMD's GPUs are closed", "nodes", .warning) {
            $0.nvidia = .init()
            $0.amd.hasKFD = true
            $0.amd.gpus = 1
            $0.amd.refusedByMode = ["/dev/kfd"]
        },
        Change("AMD's driver finds nothing", "driver", .warning) {
            $0.nvidia = .init()
            $0.amd.hasKFD = true
        },
        Change("no port is up", "mlx5_0", .warning) {
            $0.fabrics[0] = FabricDevices.Device(node: "/dev/infiniband/uverbs0", name: "mlx5_0", states: ["1: DOWN"])
        },
    ]

    @Test(arguments: changes) func eachIsSeenByItself(_ change: Change) throws {
        var facts = Self.cluster
        change.change(&facts)
        let diagnosis = Diagnosis(of: facts)
        let found = diagnosis.findings.filter { $0.check == change.check }.map(\.severity).max()
        #expect(found == change.severity, "\(diagnosis.table)")
        #expect(diagnosis.exitStatus == Int32(change.severity.rawValue))
        for finding in diagnosis.findings where finding.severity != .ok {
            #expect(finding.remedy?.isEmpty == false, "\(finding.check) says nothing of what to do")
        }
    }

    @Test func ofAnOldKernelTheStoreIsNotToBlame() throws {
        var facts = Self.cluster
        facts.kernel = "5.10.0-32-amd64"
        facts.trials = Self.well.prefix(4) + [.init("overlay", 1), .init("overlay-on-store", 1)]
        let findings = Diagnosis(of: facts).findings
        #expect(findings.first { $0.check == "overlayfs" }?.remedy?.contains("this is Linux 5.10.0-32-amd64") == true)
        #expect(!findings.contains { $0.check == "overlay-on-store" })
    }

    @Test func machinesReadTheSame() throws {
        var facts = Self.cluster
        facts.lockedMemory = LimitValues(soft: 65536, hard: 65536)
        facts.limitSources = LimitSources(slurmstepd: facts.lockedMemory)
        let diagnosis = Diagnosis(of: facts)
        let read = try #require(JSONSerialization.jsonObject(with: Data(diagnosis.json.text.utf8)) as? [String: Any])
        #expect(read["status"] as? String == "error")
        let checks = try #require(read["checks"] as? [[String: String]])
        #expect(checks.map { $0["check"] } == diagnosis.findings.map(\.check))
        #expect(checks.first { $0["check"] == "memlock" }?["remedy"]?.contains("LimitMEMLOCK=infinity") == true)
    }

    // MARK: Reading

    @Test func thisNodeIsReadInUnderASecond() throws {
        let started = ContinuousClock.now
        let facts = NodeFacts(
            environment: { ["HOME": "/nonexistent", "PATH": "/usr/bin"][$0] }, store: nil, launcher: "/absent/berth")
        let elapsed = ContinuousClock.now - started
        #expect(elapsed < .seconds(60), "on a machine that does other things besides")
        #expect(facts.trials == nil)
        #expect(!facts.kernel.isEmpty && facts.memory > 0)
        #expect(Diagnosis(of: facts).findings.contains { $0.check == "launcher" && $0.severity == .error })
    }

    @Test func directoriesThatCannotBeReadAreFindings() {
        var facts = Self.plain
        facts.unreadable = [
            SystemError(call: "open", errno: 13, subject: "/dev/infiniband"),
            SystemError(call: "getdents64", errno: 5, subject: "/proc/driver/nvidia/gpus"),
        ]
        let found = Diagnosis(of: facts).findings.filter { $0.check == "directories" }
        #expect(found.map(\.severity) == [.warning, .warning])
        #expect(found.first?.what == "/dev/infiniband cannot be read: Permission denied (EACCES)")
        #expect(found.first?.remedy == "let users read it: chmod a+rx /dev/infiniband")
        #expect(found.last?.what.contains("Input/output error") ?? false)
    }

    @Test func aDriverIsReadFromItsFiles() throws {
        let root = try TemporaryDirectory()
        let host = HostTree(root: root.path)
        #expect(try NodeFacts.NVIDIA(host) == NodeFacts.NVIDIA())
        try root.write(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version: 12.2.0\n",
            to: "proc/driver/nvidia/version")
        for (address, minor, excluded) in [
            ("0000:17:00.0", 2, "No"), ("0000:65:00.0", 10, "No"), ("0000:81:00.0", 3, "Yes"),
        ] {
            try root.write(
                "Device Minor: \t \(minor)\nGPU Excluded: \t \(excluded)\n",
                to: "proc/driver/nvidia/gpus/\(address)/information")
        }
        let channels = ["channel0", "channel1"].map { "nvidia-caps-imex-channels/" + $0 }
        for name in ["nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"] + channels {
            try root.write("", to: "dev/" + name)
        }
        try root.makeDirectory("sys/module/nvidia_peermem")
        // As the launcher requires: the name is in the loader's cache, and its file exists.
        try root.write("", to: "opt/driver/libcuda.so.550.54.14")
        try root.link("opt/driver/libcuda.so.1", to: "libcuda.so.550.54.14")
        let known = ["/gone/libcuda.so.1", "/opt/driver/libcuda.so.1"].map {
            LoaderCache.Library(soname: "libcuda.so.1", path: $0)
        }
        try root.write(try #require(LoaderCache.adding(Array(known.suffix(1)), to: [])), to: "etc/ld.so.cache")
        try root.write("Character devices:\n195 nvidia\n239 nvidia-caps-imex-channels\n", to: "proc/devices")
        let found = try NodeFacts.NVIDIA(host)
        #expect(found.driver == "550.54.14" && found.gpus == 2)
        #expect(found.nodes == ["/dev/nvidia2", "/dev/nvidia10"] && found.hasControl && found.hasUVM)
        #expect(found.library == "/opt/driver/libcuda.so.550.54.14" && found.hasPeerMemory)
        #expect(found.hasIMEX && found.channels == 2 && found.openChannels == 2)
        try root.write(try #require(LoaderCache.adding(Array(known.prefix(1)), to: [])), to: "etc/ld.so.cache")
        #expect(try NodeFacts.NVIDIA(host).library == nil)
        try root.write("560.1\n", to: "sys/module/nvidia/version")
        #expect(try NodeFacts.NVIDIA(host).driver == "560.1")
    }

    @Test func AMDsDriverIsReadFromItsFiles() throws {
        let root = try TemporaryDirectory()
        let host = HostTree(root: root.path)
        #expect(try NodeFacts.AMD(host) == NodeFacts.AMD())
        try root.write("", to: "dev/kfd")
        for (number, minor) in [(1, 128), (2, 129)] {
            try root.write(
                "location_id \(number << 8)\ndrm_render_minor \(minor)\n",
                to: "sys/class/kfd/kfd/topology/nodes/\(number)/properties")
        }
        try root.write("", to: "dev/dri/renderD128")
        let found = try NodeFacts.AMD(host)
        #expect(found.hasKFD && found.gpus == 2 && found.isWhole)
        #expect(found.granted == ["/dev/kfd", "/dev/dri/renderD128"] && found.refusedByMode.isEmpty)
    }

    @Test func specificationsAreHeldAgainstTheDriver() throws {
        func specification(_ path: String, _ vendor: String, _ library: String, _ nodes: String...)
            -> DeviceRegistry.Specification
        {
            var edits = ContainerEdits()
            edits.deviceNodes = nodes.map { ContainerEdits.DeviceNode(line: 1, path: $0) }
            var whole = ContainerEdits()
            whole.mounts = [ContainerEdits.Mount(line: 1, hostPath: library, containerPath: library)]
            return DeviceRegistry.Specification(
                path: path, priority: 0, vendor: vendor, class: "gpu", edits: whole,
                devices: [DeviceRegistry.Device(name: "0", line: 1, edits: edits)])
        }
        var registry = DeviceRegistry()
        registry.specifications = [
            specification("/a.yaml", "nvidia.com", "/lib/libcuda.so.550.54.14", "/dev/nvidia0", "/dev/nvidiactl"),
            specification("/b.yaml", "amd.com", "/lib/x.so.1", "/dev/dri/renderD128"),
            specification("/c.yaml", "amd.com", "/lib/x.so.1", "/dev/dri/renderD129"),
        ]
        registry.refused = [DeviceRegistry.Refused(path: "/d.yaml", line: 3, reason: "no")]
        let found = NodeFacts.CDI(registry, driver: "550.54.14", nodes: ["/dev/nvidia0", "/dev/nvidia1"])
        #expect(found.specifications.map(\.isOfNVIDIA) == [true, false, false])
        #expect(found.specifications.map(\.namesDriver) == [true, false, false])
        #expect(found.conflicts == ["amd.com/gpu=0 in /b.yaml and /c.yaml"])
        #expect(found.unknownNodes == ["/dev/nvidia1"] && found.refused == registry.refused)
        let older = NodeFacts.CDI(registry, driver: "550.54.1", nodes: [])
        #expect(older.specifications.allSatisfy { !$0.namesDriver })
        #expect(NodeFacts.CDI(DeviceRegistry(), driver: "1.1", nodes: ["/dev/nvidia0"]).unknownNodes == [])
    }

    @Test func helpersAreFoundInDockersFile() {
        #expect(NodeFacts.helpers("{}") == [])
        #expect(
            NodeFacts.helpers(#"{"auths": {"r.io": {"auth": "eA=="}}, "credsStore": "secretservice"}"#) == [
                "secretservice"
            ])
        #expect(
            NodeFacts.helpers(
                #"{"credHelpers": {"a.io": "ecr-login", "b.io": "gcloud"}, "credsStore": "pass", "auths": {}}"#)
                == ["ecr-login", "gcloud", "pass"])
        #expect(NodeFacts.helpers(#"{"credHelpers": {}, "auths": {"r.io": {}}}"#) == [])
        #expect(NodeFacts.helpers(#""credsStore"#) == [] && NodeFacts.helpers(#"{"credHelpers": {"a": "#) == [])
    }

    @Test func credentialsAreListedInTheOrderOfAsking() throws {
        let root = try TemporaryDirectory()
        try root.makeDirectory("home/.docker")
        try root.makeDirectory("bin")
        try root.write("{\"credsStore\": \"here\", \"credHelpers\": {\"a\": \"gone\"}}", to: "home/.docker/config.json")
        try root.write("", to: "auth.json")
        try root.write("", to: "bin/docker-credential-here")
        chmod(root.path + "/auth.json", 0o644)
        chmod(root.path + "/home/.docker/config.json", 0o600)
        let environment = ["REGISTRY_AUTH_FILE": root.path + "/auth.json", "PATH": "/bin:" + root.path + "/bin"]
        let found = NodeFacts.credentials({ environment[$0] }, root.path + "/home")
        #expect(found.map(\.path) == [root.path + "/auth.json", root.path + "/home/.docker/config.json"])
        #expect(found.map(\.isPrivate) == [false, true])
        #expect(found[1].helpers == [.init(name: "here", isThere: true), .init(name: "gone", isThere: false)])
    }

    @Test func aPlaceThatIsNotThereIsJudgedByTheOneAbove() throws {
        let root = try TemporaryDirectory()
        #expect(NodeFacts.nearest(root.path + "/a/b/c") == root.path)
        let place = NodeFacts.place(root.path + "/a/b", tryingWhiteouts: true)
        #expect(!place.exists && place.isWritable && place.takesWhiteouts == nil && place.space.total > 0)
        try root.makeDirectory("store/drafts")
        let store = NodeFacts.place(root.path + "/store", tryingWhiteouts: true)
        #expect(store.exists && store.takesWhiteouts != nil)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: root.path + "/store/drafts").isEmpty, "nothing stays")
    }
}
