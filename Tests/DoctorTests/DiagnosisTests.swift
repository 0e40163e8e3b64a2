@testable import Allocation
import Devices
@testable import Doctor
import Foundation
import LaunchPlanning
import LinuxKernel
import TestSupport
import Testing

/// What the doctor says of nodes that are values here.
@Suite struct DiagnosisTests {
    static let well: [NodeFacts.Trial] = [
        "user-namespace", "id-map", "mount-namespace", "tmpfs", "overlay", "overlay-on-store",
    ].map { NodeFacts.Trial($0, 0) }

    /// A node on which nothing is wrong and nothing special is there.
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

    /// A node with eight GPUs, two adapters and Slurm, as it should be.
    static var cluster: NodeFacts {
        var facts = plain
        facts.isInJob = true
        facts.nvidia.driver = "550.54.14"
        facts.nvidia.gpus = 8
        facts.nvidia.nodes = (0..<8).map { "/dev/nvidia\($0)" }
        facts.nvidia.refused = (2..<8).map { "/dev/nvidia\($0)" }
        facts.constrained = facts.nvidia.refused
        facts.nvidia.hasControl = true
        facts.nvidia.hasUVM = true
        facts.nvidia.library = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
        facts.nvidia.specifications = [
            NodeFacts.Specification(path: "/var/run/cdi/nvidia.yaml", isOfNVIDIA: true, namesDriver: true)
        ]
        facts.nvidia.hasPeerMemory = true
        facts.fabrics = (0..<2).map {
            FabricDevices.Device(
                node: "/dev/infiniband/uverbs\($0)", name: "mlx5_\($0)", driver: "mlx5_core", states: ["4: ACTIVE"])
        }
        facts.hasConnectionManager = true
        facts.topologyFile = "/var/run/nvidia-topologyd/virtualTopology.xml"
        facts.witnesses = LimitWitnesses(
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
        facts.credentials = [NodeFacts.CredentialFile(path: "/home/ada/.docker/config.json")]
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

    /// All that can be wrong with such a cluster at once.
    @Test func aClusterAsItIsFound() {
        var facts = Self.cluster
        facts.nvidia.refused = []
        facts.constrained = []
        facts.nvidia.nodes.removeLast()
        facts.nvidia.hasUVM = false
        facts.nvidia.library = nil
        facts.nvidia.specifications = [
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
        facts.witnesses = LimitWitnesses(slurmstepd: facts.lockedMemory, slurmd: facts.lockedMemory)
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
        facts.siteMounts = [
            NodeFacts.SiteMount(source: "/scratch", place: "berth.conf:1", errno: 2, mayBeAbsent: false),
            NodeFacts.SiteMount(source: "/opt", place: "berth.conf:2", errno: 2, mayBeAbsent: true),
            NodeFacts.SiteMount(source: "/nfs", place: "berth.conf:3", errno: 116, mayBeAbsent: true),
        ]
        #expect(Diagnosis(of: facts).severity == .error)
        Self.check("troubled", facts)
    }

    @Test func aNodeWithoutNamespaces() {
        var facts = Self.plain
        facts.trials = [NodeFacts.Trial("user-namespace", 1)]
        facts.namespaceAdvice = "an administrator must allow them"
        facts.configuration = (
            "/etc/berth/berth.conf, line 3: there is no setting \"colour\"", "docs/configuration.md lists them all"
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
        Change("an old kernel", "overlayfs", .error) { $0.trials = well.prefix(4) + [.init("overlay", 1)] },
        Change("an old kernel, as root", "overlayfs", .error) {
            $0.kernel = "5.10.0-32-amd64"
            $0.isRoot = true
            $0.trials = [
                .init("mount-namespace", 0), .init("tmpfs", 0), .init("overlay", 22), .init("overlay-on-store", 22),
            ]
        },
        Change("the store can not be stacked", "overlay-on-store", .error) {
            $0.trials = well.prefix(5) + [.init("overlay-on-store", 22)]
        },
        Change("the store is read-only", "place", .warning) { $0.store.isWritable = false },
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
            $0.nvidia.specifications = [.init(path: "/etc/cdi/n.json", isOfNVIDIA: true, namesDriver: false)]
        },
        Change("another vendor's CDI file", "CDI", .ok) {
            $0.nvidia.specifications = [.init(path: "/etc/cdi/x.json", isOfNVIDIA: false, namesDriver: false)]
        },
        Change("an IMEX channel", "IMEX", .ok) {
            $0.nvidia.hasIMEX = true
            $0.nvidia.channels = 1
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
        facts.witnesses = LimitWitnesses(slurmstepd: facts.lockedMemory)
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
        #expect(elapsed < .seconds(20), "on a machine that does other things besides")
        #expect(facts.trials == nil)
        #expect(!facts.kernel.isEmpty && facts.memory > 0)
        #expect(Diagnosis(of: facts).findings.contains { $0.check == "launcher" && $0.severity == .error })
    }

    @Test func aDriverIsReadFromItsFiles() throws {
        let root = try TemporaryDirectory()
        #expect(NodeFacts.NVIDIA(root: root.path) == NodeFacts.NVIDIA())
        for directory in [
            "proc/driver/nvidia/gpus/0000:17:00.0", "proc/driver/nvidia/gpus/0000:65:00.0",
            "dev/nvidia-caps-imex-channels",
            "usr/lib64", "var/run/cdi", "etc/cdi", "sys/module/nvidia_peermem",
        ] { try root.makeDirectory(directory) }
        try root.write(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version: 12.2.0\n",
            to: "proc/driver/nvidia/version")
        for name in ["nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-caps-imex-channels/channel0"] {
            try root.write("", to: "dev/" + name)
        }
        try root.write("", to: "usr/lib64/libcuda.so.1")
        try root.write("kind: nvidia.com/gpu\n# libcuda.so.550.54.14\n", to: "var/run/cdi/nvidia.yaml")
        try root.write("{\"kind\": \"nvidia.com/gpu\", \"x\": \"libcuda.so.535.1.1\"}", to: "etc/cdi/old.json")
        try root.write("", to: "etc/cdi/README")
        try root.write("Character devices:\n195 nvidia\n239 nvidia-caps-imex-channels\n", to: "proc/devices")
        let found = NodeFacts.NVIDIA(root: root.path)
        #expect(found.driver == "550.54.14" && found.gpus == 2)
        #expect(found.nodes == ["/dev/nvidia2", "/dev/nvidia10"] && found.hasControl && found.hasUVM)
        #expect(found.library == "/usr/lib64/libcuda.so.1" && found.hasPeerMemory)
        #expect(
            found.specifications == [
                .init(path: "/etc/cdi/old.json", isOfNVIDIA: true, namesDriver: false),
                .init(path: "/var/run/cdi/nvidia.yaml", isOfNVIDIA: true, namesDriver: true),
            ])
        #expect(found.hasIMEX && found.channels == 1)
        try root.makeDirectory("sys/module/nvidia")
        try root.write("560.1\n", to: "sys/module/nvidia/version")
        #expect(NodeFacts.NVIDIA(root: root.path).driver == "560.1")
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
        #expect(NodeFacts.names(root.path + "/store/drafts") == [], "nothing stays")
    }
}
