import Foundation
import TestSupport
import Testing

/// Which nodes a launch takes for granted, what it does to find out, and what it says of them.
@Suite(.needsLauncher) struct GrantTests {
    /// The first opening wakes a GPU, which takes seconds where nobody keeps it awake.
    @Test(.needsFakeDevices, .needsStrace, arguments: Caller.all) func noNodeIsOpenedToLearnOfTheGrant(_ caller: Caller)
        throws
    {
        let box = try Box(caller)
        try box.directory.makeDirectory("out", mode: 0o777)
        let nodes =
            FakeDevices.gpus(2) + FakeDevices.verbs + [
                FakeDevices.Node(path: "nvidia-uvm", major: 511, minor: 0),
                FakeDevices.Node(path: "nvidia-caps/nvidia-cap30", major: 234, minor: 30),
                FakeDevices.Node(path: "nvidia-caps-imex-channels/channel0", major: 233, minor: 0),
            ]
        let traced = caller.running(
            ["strace", "-f", "-qq", "-o", box.path("out/calls"), "-e", "trace=open,openat,openat2,access,faccessat2"]
                + [box.fixture.berth, "run", box.image, "--", "probe", "ls", "/dev"])
        let ended = try FakeDevices(nodes: nodes).around(
            Command(traced, environment: box.environment, directory: box.directory.path)
        ).run()
        #expect(ended.status == 0 && ended.output.contains("nvidia0 nvidia1 nvidiactl"), "\(ended)")
        let calls = try #require(box.directory.text("out/calls")).split(separator: "\n")
        for node in nodes {
            let name = node.path.split(separator: "/").last.map(String.init) ?? ""
            let named = calls.filter { $0.contains("/\(name)\"") || $0.contains("\"\(name)\"") }
            #expect(named.contains { $0.contains("access(") }, "\(node.path) was not asked for")
            let opened = named.filter { $0.contains("open") && !$0.contains("O_PATH") }
            // Where it is to be shown, an empty file is made to mount it on.
            #expect(opened.allSatisfy { $0.contains("O_CREAT") }, "\(opened)")
        }
    }

    // MARK: Slices of a GPU

    /// Each task may open its own slice alone; who builds their container shows both.
    @Test(.needsFakeDevices) func tasksShowEachOthersSlices() throws {
        let step = try Step(.ordinary, tasks: 2)
        func cap(_ minor: Int, _ group: Int) -> FakeDevices.Node {
            FakeDevices.Node(
                path: "nvidia-caps/nvidia-cap\(minor)", major: 234, minor: minor, mode: "660", group: group)
        }
        let nodes = FakeDevices(
            nodes: FakeDevices.gpus(1) + [cap(30, 5001), cap(31, 5001), cap(39, 5002), cap(40, 5002)])
        let running = try [UInt32(5001), 5002].enumerated().map { task, group in
            try nodes.around(
                step.box.command(
                    probe: [
                        "ns", "--", "open", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31",
                        "/dev/nvidia-caps/nvidia-cap39", "/dev/nvidia-caps/nvidia-cap40",
                    ], groups: [group], environment: step.environment(task))
            ).start()
        }
        let ended = try running.map { try $0.wait() }
        for task in ended { #expect(task.status == 0, "\(task)") }
        #expect(ended[0].namespace("mnt") == ended[1].namespace("mnt"))
        let answers = ended.map { task in
            task.lines.filter { $0.hasPrefix("/dev/") }.map { $0.split(separator: " ").last.map(String.init) ?? "" }
        }
        #expect(answers[0] == ["ENXIO", "ENXIO", "EACCES", "EACCES"], "\(ended)")
        #expect(answers[1] == ["EACCES", "EACCES", "ENXIO", "ENXIO"], "\(ended)")
    }

    /// A GPU with two slices and one without, as the driver and a specification tell of them. The ordinary user may open
    /// the first slice alone.
    @Test(
        .needsFakeDevices, .enabled(if: DeviceTests.hasRich, "no built berth-image: run Scripts/build"),
        .enabled(if: FileManager.default.fileExists(atPath: "/proc/driver"), "needs /proc/driver"),
        arguments: Caller.all)
    func slicesAreGrantedOneByOne(_ caller: Caller) throws {
        let installed = try DeviceTests.Installed(caller)
        let box = installed.box
        for (path, minor) in [
            ("gpu0/mig/gi1/access", 30), ("gpu0/mig/gi1/ci0/access", 31), ("gpu0/mig/gi2/access", 39),
            ("gpu0/mig/gi2/ci0/access", 40), ("mig/config", 1), ("mig/monitor", 2),
        ] {
            try box.directory.write(
                "DeviceFileMinor: \(minor)\nDeviceFileMode: 292\nDeviceFileModify: 1\n",
                to: "driver/nvidia/capabilities/" + path)
        }
        func slice(_ name: String, _ gi: Int, _ ci: Int) -> String {
            "- {name: \"\(name)\", containerEdits: {env: [\"SLICE_\(gi)=\(name)\"], deviceNodes: [{path: /dev/nvidia0}, "
                + "{path: /dev/nvidia-caps/nvidia-cap\(gi)}, {path: /dev/nvidia-caps/nvidia-cap\(ci)}]}}\n"
        }
        try box.directory.write(
            "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n" + slice("0:0", 30, 31) + slice("0:1", 39, 40)
                + slice("MIG-aa", 30, 31) + slice("MIG-bb", 39, 40)
                + "- {name: \"1\", containerEdits: {env: [WHOLE=1], deviceNodes: [{path: /dev/nvidia1}]}}\n",
            to: "cdi/nvidia.yaml")
        func cap(_ minor: Int, _ mode: String) -> FakeDevices.Node {
            FakeDevices.Node(path: "nvidia-caps/nvidia-cap\(minor)", major: 234, minor: minor, mode: mode)
        }
        let nodes = FakeDevices(
            nodes: FakeDevices.gpus(2) + [cap(1, "666"), cap(2, "666"), cap(30, "666"), cap(31, "666")]
                + [cap(39, "600"), cap(40, "600")])
        func run(
            _ options: [String], _ environment: [String: String] = [:], quiet: [String] = ["-q"]
        ) throws -> Ended {
            let words = caller.running(
                [installed.berth, "run", "--store", box.path("store")] + quiet + options + [
                    box.image, "--", "/bin/probe", "ls", "/dev/nvidia-caps", "--", "env", "SLICE_30", "SLICE_39",
                    "WHOLE",
                    "CUDA_VISIBLE_DEVICES", "--", "stat", "/dev/nvidia1",
                ])
            let script = "mount --bind driver /proc/driver; exec \"$@\""
            return try nodes.around(
                Command(
                    ["sh", "-ec", script, "sh"] + words, environment: box.environment.merging(environment) { $1 },
                    directory: box.directory.path)
            ).run()
        }
        let all = try run([])
        let first = ["/dev/nvidia-caps: nvidia-cap30 nvidia-cap31", "SLICE_30=0:0", "SLICE_39 unset", "WHOLE=1"]
        let both = [
            "/dev/nvidia-caps: nvidia-cap30 nvidia-cap31 nvidia-cap39 nvidia-cap40", "SLICE_30=0:0", "SLICE_39=0:1",
        ]
        #expect(Array(all.lines.prefix(4)) == (caller == .root ? both + ["WHOLE=1"] : first), "\(all) \(all.errors)")
        // By name: nothing of the other slice, nor of the other GPU. Names are the same inside.
        let named = [
            "/dev/nvidia-caps: nvidia-cap30 nvidia-cap31", "SLICE_30=MIG-aa", "SLICE_39 unset", "WHOLE unset",
        ]
        let asked = try run(["--gpus", "MIG-aa"], ["CUDA_VISIBLE_DEVICES": "MIG-aa"])
        #expect(
            asked.lines == named + ["CUDA_VISIBLE_DEVICES=MIG-aa", "/dev/nvidia1: ENOENT"], "\(asked) \(asked.errors)")
        #expect(try Array(run([], ["CUDA_VISIBLE_DEVICES": "MIG-aa"]).lines.prefix(4)) == named)
        // Names that no specification has, such as those of drivers before 470: what may be opened decides.
        for name in ["MIG-cc", "MIG-GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f/1/0"] {
            let unmapped = try run([], ["CUDA_VISIBLE_DEVICES": name], quiet: [])
            #expect(Array(unmapped.lines.prefix(3)) == Array(all.lines.prefix(3)), "\(unmapped)")
            #expect(unmapped.lines.contains("CUDA_VISIBLE_DEVICES=\(name)"), "\(unmapped)")
            // That is worth a word where nobody refuses the other slices.
            #expect(
                unmapped.errors.contains("has the MIG slice \(name), which no CDI") == (caller == .root), "\(unmapped)")
        }
        // What nobody knows, and what others have.
        let unknown = try run(["--gpus", "MIG-cc"])
        #expect(unknown.status == 125 && unknown.errors.contains("MIG-cc"), "\(unknown)")
        let other = try run(["--gpus", "MIG-bb"])
        if caller == .root {
            #expect(other.lines.first == "/dev/nvidia-caps: nvidia-cap39 nvidia-cap40", "\(other)")
        } else {
            #expect(
                other.status == 125 && other.errors.contains("/dev/nvidia-caps/nvidia-cap39, which was not granted"),
                "\(other)")
        }
    }

    /// A module whose libraries are not there is said; `-q` and hosts without a driver are quiet.
    @Test(
        .needsFakeDevices, .enabled(if: FileManager.default.fileExists(atPath: "/proc/driver"), "needs /proc/driver"),
        arguments: Caller.all)
    func aDriverWithoutLibrariesIsSaid(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n", to: "driver/nvidia/version")
        func run(_ options: [String], mounting: Bool = true) throws -> Ended {
            var command = box.command(options, probe: ["exit"])
            command.arguments =
                ["sh", "-ec", (mounting ? "mount --bind driver /proc/driver; " : "") + "exec \"$@\"", "sh"]
                + command.arguments
            return try FakeDevices(nodes: FakeDevices.gpus(1)).around(command).run()
        }
        let warned = try run([])
        #expect(warned.status == 0 && warned.errors.contains("NVIDIA's driver 550.54.15 is loaded, but"), "\(warned)")
        #expect(try run(["-q"]).errors.isEmpty && run(["--gpus", "none"]).errors.isEmpty)
        #expect(try run([], mounting: false).errors.isEmpty)
    }

    @Test(
        .needsFakeDevices, .enabled(if: DeviceTests.hasRich, "no built berth-image: run Scripts/build"),
        arguments: Caller.all)
    func aSpecificationThatIsRefusedIsSaid(_ caller: Caller) throws {
        let installed = try DeviceTests.Installed(caller)
        let box = installed.box
        try box.directory.write("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\nbogus: 1\n", to: "cdi/nvidia.yaml")
        func run(_ options: [String]) throws -> Ended {
            let words = caller.running(
                [installed.berth, "run", "--store", box.path("store")] + options + [box.image, "--", "probe", "exit"])
            return try FakeDevices(nodes: FakeDevices.gpus(1)).around(
                Command(words, environment: box.environment, directory: box.directory.path)
            ).run()
        }
        let said = try run([])
        #expect(
            said.status == 0 && said.errors.contains("\(box.path("cdi/nvidia.yaml")):3 is not taken in ("), "\(said)")
        #expect(said.errors.contains("bogus") && said.errors.split(separator: "\n").count == 1, "\(said)")
        #expect(try run(["-q"]).errors.isEmpty && run(["--gpus", "none"]).errors.isEmpty)
    }

    // MARK: AMD

    /// Four GPUs of which the driver lists renderD130 first; lists count as it does.
    @Test(.needsFakeDevices, .enabled(if: FileManager.default.fileExists(atPath: "/sys/class")), arguments: Caller.all)
    func AMDsGPUsAreCountedAsTheDriverListsThem(_ caller: Caller) throws {
        let installed = try DeviceTests.Installed(caller)
        let box = installed.box
        try box.directory.makeDirectory("dev")
        try box.directory.write("simd_count 0\ndrm_render_minor 0\n", to: "class/kfd/kfd/topology/nodes/0/properties")
        for (index, minor) in [130, 128, 131, 129].enumerated() {
            try box.directory.write(
                "simd_count 440\nlocation_id \((index + 1) << 8)\ndomain 0\ndrm_render_minor \(minor)\n"
                    + "unique_id \(index + 16)\n", to: "class/kfd/kfd/topology/nodes/\(index + 1)/properties")
            try box.directory.link(
                "class/drm/renderD\(minor)/device/driver", to: "../../../../bus/pci/drivers/amdgpu")
        }
        let setup = """
            mount --bind class /sys/class
            mount -t tmpfs -o mode=755 tmpfs dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
            mkdir -p dev/shm dev/pts dev/dri; mknod -m 666 dev/kfd c 510 0
            for n in 128 129 130 131; do mknod -m 666 dev/dri/renderD$n c 226 $n; done
            mount --rbind dev /dev
            """
        func seen(_ options: [String], _ environment: [String: String] = [:]) throws -> [String] {
            let ended = try installed.run(
                options,
                command: [
                    "/bin/probe", "ls", "/dev/dri", "--", "env", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "--",
                    "stat", "/dev/kfd",
                ], setup: setup, environment: environment)
            #expect(ended.status == 0, "\(ended) \(ended.errors)")
            return Array(ended.lines.dropLast())
        }
        let slurm = ["SLURM_JOB_ID": "7", "SLURM_STEP_GPUS": "0,1", "ROCR_VISIBLE_DEVICES": "1,0"]
        #expect(
            try seen([], slurm) == [
                "/dev/dri: renderD128 renderD130", "ROCR_VISIBLE_DEVICES=1,0", "HIP_VISIBLE_DEVICES unset",
            ])
        #expect(
            try seen(["--gpus", "0,2"], ["ROCR_VISIBLE_DEVICES": "2", "HIP_VISIBLE_DEVICES": "0"]) == [
                "/dev/dri: renderD130 renderD131", "ROCR_VISIBLE_DEVICES=1", "HIP_VISIBLE_DEVICES=0",
            ])
        #expect(
            try seen(["--gpus", "0,2"], ["HIP_VISIBLE_DEVICES": "2,0"]).dropFirst() == [
                "ROCR_VISIBLE_DEVICES unset", "HIP_VISIBLE_DEVICES=1,0",
            ])
        #expect(try seen(["--gpus", "GPU-0000000000000013"]).first == "/dev/dri: renderD129")
        #expect(try seen(["--gpus", "0000:02:00.0"]).first == "/dev/dri: renderD128")
        #expect(try seen(["-e", "AMD_VISIBLE_DEVICES=0"]).first == "/dev/dri: renderD130")
        let none = try installed.run(
            ["-e", "AMD_VISIBLE_DEVICES=none"], command: ["/bin/probe", "ls", "/dev"], setup: setup)
        #expect(none.status == 0 && !none.output.contains("dri") && !none.output.contains("kfd"), "\(none)")
    }

    // MARK: What it says

    /// No device, mount, variable, limit or group of a dry run lacks its origin, and no device who enforces it.
    @Test(
        .needsFakeDevices, .enabled(if: DeviceTests.hasRich, "no built berth-image: run Scripts/build"),
        arguments: Caller.all)
    func everyLineOfADryRunSaysWhereItComesFrom(_ caller: Caller) throws {
        let installed = try DeviceTests.Installed(caller)
        let box = installed.box
        try box.directory.makeDirectory("d")
        try box.directory.write("A=1\n", to: "file.env")
        try box.directory.write(
            """
            cdi-directory = \(box.path("cdi"))
            mount = \(box.path("d")) /site
            ulimit = core=0
            fabric-variable = ib NCCL_IB_HCA=mlx5
            scratch-limit = 10m
            """, to: "berth.conf")
        try box.directory.write(
            """
            cdiVersion: 0.7.0
            kind: nvidia.com/gpu
            containerEdits:
              env: [WHOLE=1, TWICE=whole]
              additionalGids: [4242]
            devices:
            - name: "0"
              containerEdits:
                env: [TWICE=device]
                deviceNodes: [{path: /dev/nvidia0}, {path: /dev/other, hostPath: /dev/null}]
                mounts: [{hostPath: \(box.path("d")), containerPath: /cdi}]
            """, to: "cdi/nvidia.yaml")
        let options = [
            "--dry-run", "-v", "./d:/d:ro", "--mount", "type=tmpfs,target=/t", "-e", "B=1", "--env-file", "file.env",
            "--ulimit", "nofile=64", "--device", "/dev/infiniband/uverbs0:/dev/another", "--profile", "pytorch", "-w",
            "/d",
        ]
        let slurm = [
            "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
            "SLURM_STEP_NODELIST": "n7", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1",
        ]
        let ended = try FakeDevices(nodes: FakeDevices.gpus(1) + FakeDevices.verbs).around(
            Command(
                caller.running([installed.berth, "run"] + options + [box.image, "--", "probe"]),
                environment: box.environment.merging(slurm) { $1 }, directory: box.directory.path)
        ).run()
        #expect(ended.status == 0, "\(ended) \(ended.errors)")
        let end = try #require(ended.lines.firstIndex(of: "held by"))
        let told = ended.lines[..<end].filter { $0.hasPrefix(" ") && !$0.hasPrefix("     exec ") }
        #expect(told.count > 40)
        for line in told {
            let origin = line.range(
                of: "  \\[(berth|image|host|-|berth.conf: |grant: |cdi: )[^\\]]*\\]$", options: .regularExpression)
            #expect(origin != nil, "\(line)")
            if line.contains("bind /dev/"), line.contains("[grant: ") || line.contains("--device") {
                #expect(line.contains("; held by "), "\(line)")
            }
        }
        let yaml = "cdi: \(box.path("cdi/nvidia.yaml"))"
        for (entry, origin) in [
            ("env WHOLE=1", "\(yaml):4 nvidia.com/gpu"), ("env TWICE=device", "\(yaml):9 nvidia.com/gpu=0"),
            ("env NCCL_IB_HCA=mlx5", "berth.conf: \(box.path("berth.conf")):4"), ("env A=1", "--env-file file.env:1"),
            ("env B=1", "--env"), ("env NCCL_SOCKET_IFNAME=^docker,lo,veth", "grant: --fabric ib"),
            ("env MASTER_ADDR=n7", "grant: profile pytorch"),
        ] { #expect(told.contains("     \(entry)  [\(origin)]"), "\(entry): \(ended.output)") }
        if caller == .root { #expect(told.contains { $0.hasPrefix("     group 4242  [\(yaml)") }, "\(ended.output)") }
        for word in ["devices", "memory", "cpus", "processes", "mounts", "limits"] {
            #expect(ended.lines[end...].contains { $0.hasPrefix("     \(word): ") }, "\(word)")
        }
    }
}
