import Foundation
import TestSupport
import Testing

/// The cgroups of this kernel, as far as the tests may make some.
struct CgroupBase: Sendable {
    /// Whether device programs can be attached to cgroups of version 2, and where those are.
    static let unified: String? = usable("cgroup2") { path in
        guard let fixture = try? Fixture.get() else { return false }  // then nothing is tested
        let made = path + "/berthtest-\(getpid())"
        guard mkdir(made, 0o755) == 0 else { return false }
        defer { rmdir(made) }
        let ended = try? Command([fixture.probe, "bpf", made, "2", "195", "1"]).run()  // then not
        return ended?.output == "device program: ok\n"
    }
    static let devices: String? = usable("devices") { path in
        let made = path + "/berthtest-\(getpid())"
        guard mkdir(made, 0o755) == 0 else { return false }
        defer { rmdir(made) }
        return (try? "c 195:1 rwm".write(toFile: made + "/devices.deny", atomically: false, encoding: .utf8)) != nil  // then not
    }
    /// Where limits are made: version 2 where it has the controllers, else version 1's hierarchy.
    static func place(of controller: String) -> (directory: String, isUnified: Bool)? {
        if let unified,
            let has = try? String(contentsOfFile: unified + "/cgroup.controllers", encoding: .utf8),  // gone: version 1
            has.split(whereSeparator: \.isWhitespace).contains(Substring(controller))
        {
            return (unified, true)
        }
        return usable(controller) { _ in true }.map { ($0, false) }
    }
    static let hasLimits = ["pids", "memory", "cpu"].allSatisfy { place(of: $0) != nil }

    /// This process's own cgroup of a kind: the file system's type, or a controller of version 1.
    private static func usable(_ kind: String, _ works: (String) -> Bool) -> String? {
        guard Caller.isRoot,
            let mounts = try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8),  // no cgroups
            let cgroups = try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)
        else { return skipped(kind) }
        let line = mounts.split(separator: "\n").last { line in
            let fields = line.split(separator: " ").map(String.init)
            guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 3, fields[3] == "/" else { return false }
            return kind == "cgroup2"
                ? fields[dash + 1] == "cgroup2"
                : fields[dash + 1] == "cgroup" && fields[dash + 3].split(separator: ",").contains(Substring(kind))
        }
        guard let point = line?.split(separator: " ")[4] else { return skipped(kind) }
        let own = cgroups.split(separator: "\n").first { line in
            kind == "cgroup2" ? line.hasPrefix("0:") : line.contains(":\(kind):")
        }
        let path = own?.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)[2] ?? "/"
        let directory = String(point) + (path == "/" ? "" : String(path))
        return works(directory) ? directory : skipped(kind)
    }

    private static func skipped(_ kind: String) -> String? {
        FileHandle.standardError.write(
            Data("\n*** no cgroup of the kind \(kind) can be changed here: its tests are skipped\n\n".utf8))
        return nil
    }

    /// A cgroup of the tests' own that looks like one of Slurm's, below this process's.
    static func slurmTask(in base: String) throws -> String {
        let path = base + "/berthtest-\(getpid())-\(UInt32.random(in: 0 ... .max))/job_7/step_0/task_0"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    /// Gone at once or soon: a process that has just ended is still being taken out.
    static func remove(_ task: String) -> Bool {
        var path = task
        for _ in 0..<4 {
            var tries = 0
            while rmdir(path) != 0 {
                tries += 1
                if tries > 6000 { return false }
                usleep(10_000)
            }
            path = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        }
        return true
    }

    /// What launches left that nobody uses any more; the next launch as root would remove them too.
    static func left(_ base: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []  // gone: nothing is left
        return names.filter { $0.hasPrefix("berth-") && $0.utf8.count == 22 }.map { base + "/" + $0 }
    }

    static func sweep() {
        let limits = ["pids", "memory", "cpu"].compactMap { place(of: $0)?.directory }
        for base in [unified, devices].compactMap({ $0 }) + limits { for path in left(base) { rmdir(path) } }
    }
}

extension Trait where Self == ConditionTrait {
    static var needsDevicePrograms: Self {
        .enabled(if: CgroupBase.unified != nil, "needs root and device programs on a cgroup of version 2")
    }
    static var needsCgroups: Self {
        .enabled(
            if: CgroupBase.devices != nil || CgroupBase.unified != nil, "needs root and cgroups that can be written")
    }
    static var needsLimits: Self {
        .enabled(if: CgroupBase.hasLimits, "needs root and the controllers pids, memory and cpu")
    }
}

/// `--enforce` and `berth confine`: what is not granted does not open, however one comes by a node.
@Suite(.needsLauncher, .serialized) struct EnforcementTests {
    /// No driver is behind most of these: `ENXIO` is the driver's absence, `EPERM` the cgroup's refusal.
    static let nodes = [
        FakeDevices.Node(path: "x/null", major: 1, minor: 3), FakeDevices.Node(path: "x/other", major: 240, minor: 7),
        FakeDevices.Node(path: "x/gpu0", major: 195, minor: 0), FakeDevices.Node(path: "x/gpu1", major: 195, minor: 1),
    ]

    /// Without the other version in sight, so that this one is used.
    static func hiding(_ other: String?, _ command: Command) -> Command {
        guard let other else { return command }
        var changed = command
        // The mount point may lie above this process's own cgroup.
        let script =
            "mount --make-rprivate /; while read -r _ _ _ _ p _ r; do case \"$0\" in $p|$p/*) "
            + "case \"$r\" in *' - cgroup'*) umount -l \"$p\";; esac;; esac; done </proc/self/mountinfo; exec \"$@\""
        changed.arguments = ["unshare", "-m", "sh", "-c", script, other] + command.arguments
        return changed
    }

    /// Version 2, then version 1: the same, whoever enforces it.
    static let versions: [Int] = [2, 1]

    static func isThere(_ version: Int) -> Bool { (version == 2 ? CgroupBase.unified : CgroupBase.devices) != nil }

    static func run(_ version: Int, _ command: Command) throws -> Ended {
        let fake = FakeDevices(nodes: nodes).around(command)
        return try hiding(version == 2 ? CgroupBase.devices : CgroupBase.unified, fake).run()
    }

    @Test(.needsFakeDevices, arguments: versions) func onlyStandardNodesAndThoseGivenOpen(_ version: Int) throws {
        guard Self.isThere(version) else { return }
        defer { CgroupBase.sweep() }
        let box = try Box(.root)
        let probe = [
            "open", "/dev/null", "/dev/zero", "/host/x/null", "/host/x/other", "/host/x/gpu0", "/host/x/gpu1", "/gpu",
        ]
        let options = ["-v", "/dev:/host", "--device", "/dev/x/gpu1:/gpu"]
        let free = try Self.run(version, box.command(options, probe: probe))
        #expect(
            free.lines == [
                "/dev/null: ok", "/dev/zero: ok", "/host/x/null: ok", "/host/x/other: ENXIO", "/host/x/gpu0: ENXIO",
                "/host/x/gpu1: ENXIO", "/gpu: ENXIO",
            ], "\(free)")
        let confined = try Self.run(version, box.command(["--enforce", "devices"] + options, probe: probe))
        #expect(
            confined.lines == [
                "/dev/null: ok", "/dev/zero: ok", "/host/x/null: ok", "/host/x/other: EPERM", "/host/x/gpu0: EPERM",
                "/host/x/gpu1: ENXIO", "/gpu: ENXIO",
            ], "\(confined)")
    }

    @Test(.needsFakeDevices, arguments: versions) func nodesGivenAsVolumesOpenAndDirectoriesOfThemDoNot(
        _ version: Int
    ) throws {
        guard Self.isThere(version) else { return }
        defer { CgroupBase.sweep() }
        let box = try Box(.root)
        let options = ["--enforce", "devices", "-v", "/dev/x/other:/volume", "-v", "/dev/x:/directory"]
        let confined = try Self.run(
            version, box.command(options, probe: ["open", "/volume", "/directory/gpu0", "/directory/other"]))
        #expect(
            confined.lines == ["/volume: ENXIO", "/directory/gpu0: EPERM", "/directory/other: ENXIO"], "\(confined)")
    }

    /// Not even with the capability that Berth takes away: `confine` has no say in capabilities.
    @Test(.needsFakeDevices, arguments: versions) func mknodDoesNotGetRoundIt(_ version: Int) throws {
        guard Self.isThere(version), let base = version == 2 ? CgroupBase.unified : CgroupBase.devices else { return }
        let box = try Box(.root)
        let task = try CgroupBase.slurmTask(in: base)
        defer { #expect(CgroupBase.remove(task)) }
        // A process with all capabilities in a cgroup that is confined the way the plugin has it done.
        let script = """
            echo $$ >\(task)/cgroup.procs
            mount --bind \(box.path("etc")) /etc/berth
            \(box.fixture.berth) confine $$ || exit
            d=/mnt; mount -t tmpfs t $d
            exec \(box.fixture.probe) mknod $d/gpu 195 0 -- mknod $d/other 240 7 -- mknod $d/null 1 3 -- \
            mknod $d/white 0 0 -- open /dev/x/gpu0 /dev/x/other /dev/null
            """
        try Self.withSiteFile("enforce = devices\n", box) {
            let ended = try Self.run(version, Command(["unshare", "-m", "sh", "-c", script]))
            let results = ended.lines.map { $0.split(separator: " ").last.map(String.init) ?? "" }
            #expect(results == ["EPERM", "EPERM", "EPERM", "ok", "EPERM", "EPERM", "ok"], "\(ended)")
        }
    }

    /// /etc/berth is the site's, and `confine` reads no other: a directory is mounted over it.
    static func withSiteFile(_ text: String, _ box: Box, _ body: () throws -> Void) throws {
        try box.directory.makeDirectory("etc")
        try box.directory.write(text, to: "etc/berth.conf")
        let absent = !FileManager.default.fileExists(atPath: "/etc/berth")
        if absent { mkdir("/etc/berth", 0o755) }
        defer { if absent { rmdir("/etc/berth") } }
        try body()
    }

    @Test(.needsDevicePrograms) func removingAFileOfTheImageStillWorks() throws {
        defer { CgroupBase.sweep() }
        let box = try Box(.root)
        let ended = try box.run(["--enforce", "devices"], probe: "rm", "/etc/group", "--", "stat", "/etc/group")
        #expect(ended.lines == ["/etc/group: ok", "/etc/group: ENOENT"], "\(ended)")
    }

    @Test(.needsDevicePrograms) func terminalsWork() throws {
        defer { CgroupBase.sweep() }
        let ended = try Box(.root).run(["--enforce", "devices"], probe: "terminal")
        #expect(ended.lines.prefix(5).allSatisfy { $0.hasSuffix(": ok") }, "\(ended)")
    }

    // MARK: What is left

    @Test(.needsDevicePrograms) func aLaunchRemovesWhatEarlierOnesLeft() throws {
        defer { CgroupBase.sweep() }
        let base = try #require(CgroupBase.unified)
        let box = try Box(.root)
        for _ in 0..<3 { #expect(try box.run(["--enforce", "devices"], probe: "id").status == 0) }
        // The last one's own, and perhaps that of one whose last process was still being taken out.
        #expect(CgroupBase.left(base).count <= 2)
    }

    @Test(.needsDevicePrograms) func oneInUseIsLeftAlone() throws {
        defer { CgroupBase.sweep() }
        let box = try Box(.root)
        let here = box.path("here")
        let go = box.path("go")
        let running = try box.command(
            ["--enforce", "devices", "-v", box.directory.path + ":/meet"],
            probe: ["meet", "/meet/here", "/meet/go", "--", "cat", "/proc/self/cgroup"]
        ).start()
        try running.until("the container") { _ in FileManager.default.fileExists(atPath: here) }
        for _ in 0..<3 { #expect(try box.run(["--enforce", "devices"], probe: "id").status == 0) }
        #expect(FileManager.default.createFile(atPath: go, contents: nil))
        let ended = try running.wait()
        #expect(ended.status == 0, "\(ended)")
        #expect(
            ended.lines.contains { $0.hasPrefix("0::") && $0.contains("/berth-") && !$0.contains("deleted") },
            "\(ended)")
    }

    @Test(.needsDevicePrograms) func manyAtOnceDoNotRemoveEachOthers() throws {
        defer { CgroupBase.sweep() }
        let box = try Box(.root)
        let all = try (0..<24).map { _ in
            try box.command(["--enforce", "devices"], probe: ["open", "/dev/null"]).start()
        }
        for one in all {
            let ended = try one.wait()
            #expect(ended.output == "/dev/null: ok\n", "\(ended)")
        }
    }

    // MARK: Limits

    /// A task alone in its step, by its variables; memory in MiB.
    static func task(memory: Int) -> [String: String] {
        [
            "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
            "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_MEM_PER_NODE": "\(memory)",
        ]
    }

    @Test(.needsLimits) func theLimitsAreThoseOfTheAllocation() throws {
        defer { CgroupBase.sweep() }
        let ended = try Box(.root).run(
            ["--enforce", "memory,cpu,pids=17"], probe: "cat", "/proc/self/cgroup",
            environment: Self.task(memory: 256).merging(["SLURM_CPUS_PER_TASK": "2"]) { $1 })
        func limit(_ controller: String, _ unified: String, _ separate: String) throws -> String {
            let place = try #require(CgroupBase.place(of: controller))
            let line = try #require(
                ended.lines.first { line in
                    let names = line.split(separator: ":", omittingEmptySubsequences: false)[1].split(separator: ",")
                    return place.isUnified ? line.hasPrefix("0::") : names.contains(Substring(controller))
                }, "\(ended)")
            let name = try #require(line.split(separator: "/").last, "\(ended)")
            return try String(
                contentsOfFile: "\(place.directory)/\(name)/\(place.isUnified ? unified : separate)", encoding: .utf8)
        }
        #expect(try limit("pids", "pids.max", "pids.max") == "17\n")
        #expect(try limit("memory", "memory.max", "memory.limit_in_bytes") == "\(256 << 20)\n")
        #expect(try ["200000\n", "200000 100000\n"].contains(limit("cpu", "cpu.max", "cpu.cfs_quota_us")))
    }

    @Test(.needsLimits) func aLimitOfProcessesHolds() throws {
        defer { CgroupBase.sweep() }
        let box = try Box(.root)
        try box.directory.makeDirectory("rootfs/tmp")
        // `escape` forks once, which a limit of one process refuses.
        let ended = try box.command(["--enforce", "pids=1"], probe: ["unshare", "--", "pid"]).run()
        #expect(ended.status == 0, "\(ended)")
        let script =
            "exec \"$BERTH\" run --enforce pids=2 -v /bin -v /lib -v /usr -v /lib64 \"$IMAGE\" -- "
            + "/bin/sh -c 'true & /bin/true & /bin/true & /bin/true & wait'"
        let forked = try box.shell(script).run()
        #expect(forked.errors.contains("fork"), "\(forked)")
    }

    // MARK: In place

    struct Slurm: Sendable {
        let version: Int
        /// Flags with which Slurm's program is attached: 0 is alone, 1 lets others replace it, 2 lets others beside it.
        let flags: Int
    }

    @Test(
        .needsFakeDevices,
        arguments: [
            Slurm(version: 2, flags: 0), Slurm(version: 2, flags: 1), Slurm(version: 2, flags: 2),
            Slurm(version: 1, flags: 0),
        ])
    func inATaskOfSlurmsItsOwnCgroupIsTightenedAndNothingIsLeft(_ slurm: Slurm) throws {
        guard Self.isThere(slurm.version),
            let base = slurm.version == 2 ? CgroupBase.unified : CgroupBase.devices
        else { return }
        let box = try Box(.root)
        let task = try CgroupBase.slurmTask(in: base)
        let before = CgroupBase.left(base)
        // Slurm refuses gpu1; the container asks for it all the same and does not get it.
        let deny =
            slurm.version == 2
            ? "\(box.fixture.probe) bpf \(task) \(slurm.flags) 195 1 >/dev/null"
            : "echo c 195:1 rwm >\(task)/devices.deny"
        let launch =
            "exec \"$BERTH\" run -v /dev:/host --device /dev/x/gpu0 --device /dev/x/gpu1 \"$IMAGE\" -- "
            + "probe open /dev/null /dev/x/gpu0 /dev/x/gpu1 /host/x/other -- cat /proc/self/cgroup"
        let ended = try Self.run(
            slurm.version,
            box.shell("\(deny); echo $$ >\(task)/cgroup.procs; \(launch)", environment: ["SLURM_PROCID": "0"]))
        #expect(
            ended.lines.prefix(4) == [
                "/dev/null: ok", "/dev/x/gpu0: ENXIO", "/dev/x/gpu1: EPERM", "/host/x/other: EPERM",
            ],
            "\(ended)")
        #expect(ended.lines.contains { $0.hasSuffix("/job_7/step_0/task_0") }, "\(ended)")
        #expect(CgroupBase.left(base) == before)
        #expect(CgroupBase.remove(task), "nothing may keep Slurm from removing its cgroup")
    }

    /// Slurm hands its own cgroups the controllers that it uses; pids is none of them.
    @Test(.needsLimits) func aControllerThatSlurmDoesNotUseIsHandedDown() throws {
        guard let base = CgroupBase.unified, CgroupBase.place(of: "pids")?.isUnified == true else { return }
        let box = try Box(.root)
        let task = try CgroupBase.slurmTask(in: base)
        let launch = "exec \"$BERTH\" run --enforce pids=9,memory \"$IMAGE\" -- probe cat /proc/self/cgroup"
        let ended = try box.shell(
            "echo $$ >\(task)/cgroup.procs; \(launch)",
            environment: Self.task(memory: 300)
        ).run()
        #expect(ended.lines.last?.hasSuffix("/job_7/step_0/task_0") == true, "\(ended)")
        #expect(try String(contentsOfFile: task + "/pids.max", encoding: .utf8) == "9\n")
        #expect(try String(contentsOfFile: task + "/memory.max", encoding: .utf8) == "\(300 << 20)\n")
        #expect(CgroupBase.remove(task), "nothing may keep Slurm from removing its cgroup")
    }

    @Test func outsideOfSlurmNobodyIsMovedUnasked() throws {
        guard Caller.isRoot else { return }
        let own = try String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)
        let ended = try Box(.root).run(probe: "cat", "/proc/self/cgroup")
        #expect(ended.output == own)
        let inSlurm = try Box(.root).run(probe: "cat", "/proc/self/cgroup", environment: ["SLURM_PROCID": "0"])
        #expect(inSlurm.output == own, "no cgroup of a task's own: nothing to tighten")
    }

    @Test func anOrdinaryUserIsToldThatItNeedsRoot() throws {
        let ended = try Box(.ordinary).run(["--enforce", "devices"], probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.hasPrefix("berth: --enforce needs root: "), "\(ended)")
    }

    // MARK: confine

    @Test(arguments: [
        [], ["x"], ["1"], ["0"], ["-5"], ["99999", "memory=x"], ["99999", "cpus=0"], ["99999", "/etc"],
    ])
    func confineTakesNumbersOnly(_ arguments: [String]) throws {
        let ended = try Command([try Fixture.get().berth, "confine"] + arguments).run()
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("confine does not take"), "\(ended)")
    }

    @Test func confineIsForRoot() throws {
        let box = try Box(.ordinary)
        let ended = try Command(box.caller.running([box.fixture.berth, "confine", "99999"])).run()
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("confine is for root"), "\(ended)")
    }

    @Test(.needsRoot) func confineRaisesLimitsAsTheSiteConfigured() throws {
        guard Caller.holds(capability: 24) else { return }
        let box = try Box(.root)
        let script = """
            mount --bind \(box.path("etc")) /etc/berth; ulimit -l 64; \(box.fixture.berth) confine $$ && ulimit -Hl
            """
        try Self.withSiteFile("ulimit = memlock=unlimited\n", box) {
            let ended = try Command(["unshare", "-m", "sh", "-c", script]).run()
            #expect(ended.output == "unlimited\n", "\(ended)")
        }
    }
}
