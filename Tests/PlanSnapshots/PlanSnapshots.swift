import Devices
import LaunchPlanning
import LinuxKernel
import Testing
import TestSupport

/// One golden file per scenario: what `--dry-run` would print on a host that is a value here.
@Suite struct PlanSnapshots {
    static let ada = Accounts(
        userName: "ada", userID: 1001, groupID: 2001, fullName: "Ada Lovelace", home: "/home/ada",
        groups: [.init(name: "ada", id: 2001), .init(name: "hpc", id: 3000)])

    static let limits: LimitTable = [
        .lockedMemory: LimitValues(soft: 65536, hard: .max), .stack: LimitValues(soft: 8 << 20, hard: .max),
        .openFiles: LimitValues(soft: 1024, hard: 1_048_576),
    ]

    static let user = HostFacts(
        userID: 1001, groupID: 2001, accounts: ada, environment: ["PATH=/usr/bin", "TERM=xterm", "LD_PRELOAD=/x.so"],
        limits: limits)

    static let root = HostFacts(
        userID: 0, groupID: 0,
        accounts: Accounts(
            userName: "root", userID: 0, groupID: 0, fullName: "root", home: "/root",
            groups: [.init(name: "root", id: 0)]),
        environment: ["PATH=/usr/bin", "TERM=xterm"], limits: limits)

    static let image = ContainerImage(
        trees: ["/store/layers/sha256-aa/tree", "/store/layers/sha256-bb/tree"],
        environment: ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED=1"], entrypoint: ["/usr/bin/python3"],
        command: ["-c", "print('a b')"], user: "web", workingDirectory: "/app",
        name: "docker://registry.example/train:1",
        digest: "sha256:1111111111111111111111111111111111111111111111111111111111111111")

    struct Scenario: Sendable, CustomTestStringConvertible {
        let name: String
        var host = PlanSnapshots.user
        var image = PlanSnapshots.image
        var site = SitePolicy()
        var arguments: [String] = []
        var testDescription: String { name }
        init(_ name: String, arguments: [String] = [], _ change: (inout Scenario) -> Void = { _ in }) {
            self.name = name
            self.arguments = arguments
            change(&self)
        }
    }

    static let scenarios: [Scenario] = [
        Scenario("rootless"),
        Scenario("rootless-command", arguments: ["--", "train.py", "--lr", "1e-3"]),
        Scenario("rootless-root", arguments: ["--root"]),
        Scenario("as-root-with-user") { $0.host = root },
        Scenario("as-root-to-be-root", arguments: ["--root"]) { $0.host = root },
        Scenario("slurm-two-of-eight-gpus") {
            $0.host.environment += [
                "SLURM_JOB_ID=7", "SLURM_PROCID=1", "CUDA_VISIBLE_DEVICES=0,1", "PMI_FD=5", "TMPDIR=/local/7",
                "PMIX_SERVER_TMPDIR=/var/spool/slurmd/pmix.7.0",
            ]
            $0.host.memoryLimit = 64 << 30
            $0.host.grantedGPUs = ["/dev/nvidia3", "/dev/nvidia6"]
            $0.host.gpuControlNodes = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-caps/nvidia-cap1"]
        },
        Scenario("forwarded-display", arguments: ["--root"]) { $0.host.environment.append("DISPLAY=localhost:10.0") },
        Scenario("display-with-a-cookie-of-its-own", arguments: ["--home"]) {
            $0.host.environment += ["DISPLAY=:0", "XAUTHORITY=/run/user/1001/gdm/Xauthority"]
        },
        Scenario("one-granted-gpu", arguments: ["--gpus", "device=1"]) {
            $0.host.grantedGPUs = ["/dev/nvidia3", "/dev/nvidia6"]
            $0.host.gpuControlNodes = ["/dev/nvidiactl"]
        },
        Scenario(
            "dockers-options",
            arguments: [
                "--here", "--add-host", "db:10.0.0.7", "--dns", "10.0.0.1", "--ipc=private", "--shm-size=1g", "-v",
                "/data:/data:ro,noexec,rslave", "--cleanenv", "--ulimit", "memlock=-1",
            ]),
        Scenario("infiniband", arguments: ["--ulimit", "memlock=-1"]) {
            $0.host.fabricNodes = ["/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1"]
        },
        Scenario("devices-with-edits", arguments: ["-e", "MINE=yes", "-e", "SPEC=mine"]) {
            $0.host.grantedGPUs = ["/dev/nvidia0"]
            $0.host.gpuControlNodes = ["/dev/nvidiactl"]
            $0.host.environment.append("RANK=3")
            let device = DeviceEdit.Origin.cdi("/etc/cdi/nvidia.yaml:7 nvidia.com/gpu=0")
            let ro: MountAttributes = [.readOnly, .noSetUserID, .noDevices]
            $0.host.deviceEdits = [
                DeviceEdit(.variable("SPEC=weaker", isDefault: false), device),
                DeviceEdit(.variable("PYTHONUNBUFFERED=0", isDefault: false), device),
                DeviceEdit(.variable("RANK=0", isDefault: true), .host("profile pytorch")),
                DeviceEdit(.variable("WORLD_SIZE=8", isDefault: true), .host("profile pytorch")),
                DeviceEdit(.group(44), device), DeviceEdit(.node("/dev/nvidia0", path: "/dev/nvidia0"), device),
                DeviceEdit(.node("/dev/dri/renderD128", path: "/dev/dri/renderD128"), device),
                DeviceEdit(
                    .bind(
                        source: "/usr/lib64/libcuda.so.550", path: "/usr/lib64/libcuda.so.550", recursive: false,
                        attributes: ro), device),
                DeviceEdit(
                    .bind(source: "/etc/nccl.conf", path: "/etc/nccl.conf", recursive: false, attributes: [.readOnly]),
                    .host("read by NCCL")),
                DeviceEdit(.symlink(path: "/usr/lib64/libcuda.so.1", target: "libcuda.so.550"), device),
                DeviceEdit(
                    .loader(
                        LoaderUpdate(
                            libraries: [.init(soname: "libcuda.so.1", path: "/usr/lib64/libcuda.so.1")],
                            folders: ["/usr/lib64"],
                            compatibility: CUDACompatibility(hostDriverVersion: "550.54.15"))), device),
                DeviceEdit(.cover(path: "/proc/driver/nvidia/params", Array("x\n".utf8)), device),
                DeviceEdit(.mode(path: "/dev/dri", 0o755), device),
                DeviceEdit(
                    .hook(
                        HookCall(
                            path: "/opt/hook", arguments: ["hook", "a b"], environment: [], timeout: 3, isInside: false)
                    ), device),
            ]
        },
        Scenario("read-only", arguments: ["--read-only"]),
        Scenario("no-overlay") {
            $0.image.overlay = false
            $0.image.trees = ["/store/rootfs/sha256-cc/tree"]
        },
        Scenario("site-mounts-home-scratch") {
            $0.site.mountHome = true
            $0.site.scratchDirectory = "/local"
            $0.site.mounts = [
                .init(
                    request: MountRequest(
                        kind: .bind(source: "/scratch", recursive: true), target: "/scratch", optional: true),
                    place: "/etc/berth/berth.conf:3"),
                .init(
                    request: MountRequest(kind: .tmpfs(size: 1 << 30, mode: 0o1777), target: "/ram"),
                    place: "/etc/berth/berth.conf:4"),
            ]
        },
        Scenario("site-home-refused", arguments: ["--no-home"]) {
            $0.site.mountHome = true
            $0.site.scratchLimit = 1 << 30
        },
        Scenario(
            "many-mounts",
            arguments: [
                "-v", "/data:/data:ro", "-v", "/a b:/c d", "--mount", "type=bind,source=/x,target=/x,bind-nonrecursive",
                "--mount", "type=tmpfs,target=/t,tmpfs-size=1g,tmpfs-mode=700", "--mount", "type=tmpfs,target=/u,ro",
                "--home",
                "--device", "/dev/fuse", "-v", "/data/deep:/data/deep",
            ]),
        Scenario("hostname", arguments: ["--hostname", "trainer"]),
        Scenario("hostname-as-root", arguments: ["-h", "trainer"]) { $0.host = root },
        Scenario(
            "environment-and-limits",
            arguments: [
                "-e", "A=1", "-e", "TERM", "-e", "ABSENT", "--ulimit", "nofile=64:128", "--ulimit", "stack=1048576",
                "-w", "/w",
                "--entrypoint", "env",
            ]),
        Scenario("terminal") { $0.host.terminal = "/dev/pts/3" },
        Scenario("workdir-below-tmp") { $0.image.workingDirectory = "/tmp/work" },
    ]

    @Test(arguments: scenarios) func planIsAsRecorded(_ scenario: Scenario) throws {
        let options = try LaunchOptions(parsing: Self.withImage(scenario.arguments), workingDirectory: "/home/ada")
        var plan = try LaunchPlan(options: options, image: scenario.image, site: scenario.site, host: scenario.host)
        plan.process.dropVariables {
            $0.hasPrefix("/tmp") || $0.hasPrefix("/var/spool/slurmd/") || $0.hasSuffix("/Xauthority")
        }
        let difference = Golden.difference(plan.text, from: scenario.name, beside: #filePath)
        #expect(difference == nil, "\(difference ?? "")")
    }

    struct Explained: Sendable, CustomTestStringConvertible {
        let scenario: Scenario
        let explanation: Explanation
        var testDescription: String { scenario.name }
    }

    static let explained: [Explained] = [
        Explained(
            scenario: Scenario(
                "explained-slurm",
                arguments: [
                    "-e", "A=1", "-e", "B=2", "--device", "/dev/fuse", "--ulimit", "nofile=64", "-v", "/data:/data:ro",
                ]
            ) {
                $0.host.environment += ["SLURM_JOB_ID=7", "SLURM_PROCID=0"]
                $0.host.grantedGPUs = ["/dev/nvidia3"]
                $0.host.gpuControlNodes = ["/dev/nvidiactl"]
                $0.site.mountHome = true
                $0.site.homePlace = "/etc/berth/berth.conf:2"
                $0.site.scratchLimit = 1 << 30
                $0.site.scratchLimitPlace = "/etc/berth/berth.conf:3"
                $0.site.limits = [
                    PlacedLimit(
                        LaunchOptions.Limit(limit: .lockedMemory, soft: .max, hard: nil),
                        place: "/etc/berth/berth.conf:4")
                ]
            },
            explanation: Explanation(
                devices: .cgroup(ofSlurm: true, refused: ["/dev/nvidia0", "/dev/nvidia1"]),
                memory: .init(value: "1073741824", cgroup: "/slurm/uid_1001/job_7"),
                processes: .init(value: "4096", cgroup: "/slurm"), affinity: "0-3", inJob: true,
                variables: [("A", "--env-file e:1"), ("B", "--env-file e:2"), ("B", "--env")])),
        Explained(
            scenario: Scenario("explained-unconstrained") { $0.host.grantedGPUs = ["/dev/nvidia0"] },
            explanation: Explanation(
                devices: .unseen(inJob: true, configured: false),
                cpuQuota: .init(value: "1.50", cgroup: "/user.slice"), affinity: "0-127")),
        Explained(
            scenario: Scenario("explained-confined", arguments: ["--enforce", "devices,memory,cpu,pids=64"]) {
                $0.host = root
                $0.host.environment += ["SLURM_CPUS_PER_TASK=4"]
                $0.host.memoryLimit = 1 << 30
                $0.host.grantedGPUs = ["/dev/nvidia0"]
            }, explanation: Explanation(devices: .berth(version: 2, inPlace: true), affinity: "0")),
    ]

    @Test(arguments: explained) func explanationIsAsRecorded(_ one: Explained) throws {
        let scenario = one.scenario
        let options = try LaunchOptions(parsing: Self.withImage(scenario.arguments), workingDirectory: "/home/ada")
        var plan = try LaunchPlan(options: options, image: scenario.image, site: scenario.site, host: scenario.host)
        plan.process.dropVariables {
            $0.hasPrefix("/tmp") || $0.hasPrefix("/var/spool/slurmd/") || $0.hasSuffix("/Xauthority")
        }
        #expect(plan.process.environmentSources.count == plan.process.environment.count)
        let difference = Golden.difference(plan.text(one.explanation), from: scenario.name, beside: #filePath)
        #expect(difference == nil, "\(difference ?? "")")
    }

    @Test(
        arguments: [
            Explanation.DeviceLayer.unseen(inJob: true, configured: true), .unseen(inJob: true, configured: nil),
            .unseen(inJob: false, configured: true), .cgroup(ofSlurm: false, refused: ["/dev/kfd"]),
            .berth(version: 1, inPlace: false),
        ]) func everyLayerIsNamed(_ layer: Explanation.DeviceLayer) throws
    {
        let options = try LaunchOptions(parsing: ["train:1"], workingDirectory: "/")
        let plan = try LaunchPlan(options: options, image: Self.image, site: SitePolicy(), host: Self.user)
        let line = plan.text(Explanation(devices: layer)).split(separator: "\n").first { $0.contains("devices: ") }
        let expected =
            switch layer {
            case .unseen(true, true): "Slurm's device cgroup (ConstrainDevices=yes in cgroup.conf)"
            case .unseen: "modes and owners of the nodes only, as far as can be seen"
            case .cgroup: "a device cgroup; it refuses /dev/kfd"
            case .berth: "Berth's device list (cgroups version 1), in a cgroup of its own"
            }
        #expect(line?.contains(expected) == true, "\(line ?? "")")
    }

    /// The image stands before the command, behind the options.
    private static func withImage(_ arguments: [String]) -> [String] {
        guard let end = arguments.firstIndex(of: "--") else { return arguments + ["train:1"] }
        return arguments[..<end] + ["train:1"] + arguments[end...]
    }

    @Test func samePlanTwice() throws {
        let options = try LaunchOptions(parsing: ["train:1"], workingDirectory: "/")
        let plans = try (0..<2).map { _ in
            try LaunchPlan(options: options, image: Self.image, site: SitePolicy(), host: Self.user)
        }
        #expect(plans[0] == plans[1])
    }
}
