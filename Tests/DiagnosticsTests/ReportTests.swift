import Devices
import Diagnostics
@testable import ImageSpec
import LaunchPlanning
import LinuxKernel
import Sandbox
@testable import SiteConfig
import Store
import Testing
import TestSupport

/// Error messages as printed on standard error, with one golden file for each type of error.
@Suite struct ReportTests {
    typealias Named = (name: String, report: Report)

    static func check(_ file: String, _ reports: [Named]) {
        let text = reports.map { "== \($0.name) (exit \($0.report.status.rawValue))\n\($0.report.text)" }.joined(
            separator: "\n")
        let difference = Golden.difference(text, from: file, beside: #filePath)
        #expect(difference == nil, "\(difference ?? "")")
    }

    static func fault(_ reason: UntrustedPath.Reason, _ path: String) -> UntrustedPath {
        UntrustedPath(path: path, reason: reason, expected: [1001, 0])
    }

    static let denied = SystemError(call: "mount", errno: 13, subject: "/srv")
    static let full = SystemError(call: "write", errno: 28, subject: "/store/drafts/x")

    @Test func options() {
        Self.check(
            "options",
            [
                ("unknown", Report(OptionError.unknown(option: "--colour"))),
                ("unknown, a slip", Report(OptionError.unknown(option: "--voulme"))),
                ("unknown, the beginning of one", Report(OptionError.unknown(option: "--work"))),
                ("unknown, neighbours that changed places", Report(OptionError.unknown(option: "--evn"))),
                ("unknown, the wrong case", Report(OptionError.unknown(option: "-V"))),
                ("unknown, one dash", Report(OptionError.unknown(option: "-gpus"))),
                ("unknown, one letter", Report(OptionError.unknown(option: "-g"))),
                (
                    "refused",
                    Report(
                        OptionError.refused(
                            option: "--detach", reason: "there is no daemon", remedy: "use the shell's &"))
                ),
                ("here", Report(OptionError.hidesImage("/usr/bin"))),
                ("unknown, the plugin's", Report(OptionError.unknown(option: "--container-image"))),
                ("environment file", Report(OptionError.environmentFile("job.env", line: 3, name: "export A"))),
                ("environment file, no name", Report(OptionError.environmentFile("job.env", line: 3, name: ""))),
                ("missing value", Report(OptionError.missingValue(option: "--volume"))),
                ("missing image", Report(OptionError.missingImage)),
                (
                    "bad value",
                    Report(OptionError.badValue(option: "--pull", value: "now", expected: "missing, always or never"))
                ),
                ("named volume", Report(OptionError.namedVolume("data"))),
                ("tilde", Report(OptionError.namedVolume("~/data"))),
                ("environment file", Report(OptionError.environmentFileBytes("job.env", line: 3))),
                ("other user", Report(OptionError.otherUser("web", userID: 5, groupID: 6))),
                ("no working directory", Report(OptionError.noWorkingDirectory("./data"))),
                ("contradiction", Report(OptionError.contradiction("--home", "--no-home"))),
            ])
    }

    @Test func configuration() {
        func error(_ reason: ConfigurationError.Reason, line: Int = 3) -> Report {
            Report(ConfigurationError(file: "/etc/berth/berth.conf", line: line, reason: reason))
        }
        Self.check(
            "configuration",
            [
                (
                    "unreadable",
                    error(.unreadable(SystemError(call: "open", errno: 13, subject: "/etc/berth/berth.conf")), line: 0)
                ),
                ("another user's", error(.untrusted(Self.fault(.owner(1002), "/etc/berth"), isOwn: false), line: 0)),
                (
                    "another user's home",
                    error(.untrusted(Self.fault(.owner(1002), "/home/mallory"), isOwn: true), line: 0)
                ),
                (
                    "open to others",
                    error(.untrusted(Self.fault(.mode(0o666), "/etc/berth/berth.conf"), isOwn: false), line: 0)
                ),
                ("unknown name", error(.unknownName("colour"))),
                ("bad value", error(.badValue(name: "home", value: "maybe", expected: "yes or no"))),
                ("not an assignment", error(.notAnAssignment)),
            ])
    }

    /// `chmod` is suggested only to users who can do it, and never for shared directories.
    @Test func theRemedyForAModeFitsTheOwner() {
        func hint(_ mode: UInt32, owner: UInt32) -> String? {
            Report(
                refusing: "store", "/x/store",
                UntrustedPath(path: "/x", reason: .mode(mode), expected: [0], owner: owner)
            ).hint
        }
        #expect(hint(0o777, owner: Identity.userID) == "chmod go-w /x")
        #expect(hint(0o1777, owner: Identity.userID) == "use a directory of your own below /x")
        if !Identity.isRoot { #expect(hint(0o777, owner: 4321)?.contains("ask uid 4321") == true) }
    }

    @Test func plan() {
        Self.check(
            "plan",
            [
                ("no command", Report(PlanError.noCommand(image: "scratch:1"))),
                ("no command left", Report(PlanError.noCommand(image: "scratch:1", entrypointIsDropped: true))),
                ("GPU not granted", Report(PlanError.gpuNotGranted(position: 3, granted: 2))),
                ("GPU not granted, none is", Report(PlanError.gpuNotGranted(position: 0, granted: 0))),
                ("too few GPUs", Report(PlanError.tooFewGPUs(requested: 4, granted: 1))),
                ("no GPUs", Report(PlanError.noGPUs)),
                ("relative working directory", Report(PlanError.relativeWorkingDirectory("app"))),
            ])
    }

    @Test func cgroupPolicy() {
        func failed(_ controller: String, _ errno: Int32, _ file: String) -> Report {
            Report(
                CgroupPolicyError.system(
                    controller: controller, SystemError(call: "write", errno: errno, subject: file)))
        }
        Self.check(
            "confinement",
            [
                ("no hierarchy", Report(CgroupPolicyError.noHierarchy(controller: "pids"))),
                (
                    "no controller",
                    Report(CgroupPolicyError.controllerMissing("memory", cgroup: "/user.slice/session-1.scope"))
                ),
                ("no privilege", failed("devices", 1, "BPF_PROG_ATTACH")),
                ("children", failed("devices", 22, "devices.deny")),
                ("read-only", failed("memory", 30, "berth-00")),
                ("in use", failed("memory", 16, "memory.limit_in_bytes")),
                ("user", Report(PlanError.enforcementNeedsRoot)),
            ])
    }

    @Test func requirements() {
        let small = LimitValues(soft: 65536, hard: 65536)
        let large = LimitValues(soft: 65536, hard: .max)
        func unmet(
            _ requirement: Requirement, _ reason: UnmetRequirement.Reason, _ origin: Origin = .option("--require")
        ) -> UnmetRequirement { UnmetRequirement(requirement, origin, reason) }
        func report(_ requirement: Requirement, _ reason: UnmetRequirement.Reason) -> Report {
            Report(PlanError.unmet([unmet(requirement, reason)]))
        }
        Self.check(
            "requirements",
            [
                ("gpu, none granted", report(.gpu(count: 1), .gpus(shown: 0, granted: 0))),
                ("gpu, none shown", report(.gpu(count: 1), .gpus(shown: 0, granted: 2))),
                ("gpu, too few", report(.gpu(count: 4), .gpus(shown: 2, granted: 2))),
                ("rdma, none", report(.fabric(.rdma), .noFabric(others: []))),
                ("efa, another", report(.fabric(.efa), .noFabric(others: ["mlx5_0"]))),
                ("rdma, not granted", report(.fabric(.rdma), .fabricNotGranted(["/dev/infiniband/uverbs0"]))),
                ("ib, down", report(.fabric(.ib), .portsDown(["mlx5_0", "mlx5_1"]))),
                ("memlock, slurmd", report(.lockedMemory(.max), .lockedMemory(small, .slurmd(small)))),
                ("memlock, PAM", report(.lockedMemory(.max), .lockedMemory(small, .pam(slurmd: large)))),
                ("memlock, script", report(.lockedMemory(1 << 30), .lockedMemory(small, .between(slurmstepd: large)))),
                ("memlock, propagation", report(.lockedMemory(.max), .lockedMemory(large, .propagation))),
                ("memlock, login", report(.lockedMemory(.max), .lockedMemory(small, .session))),
                (
                    "memlock, chosen",
                    report(.lockedMemory(.max), .lockedMemoryChosen(small, .site("/etc/berth/berth.conf:3")))
                ),
                ("shm, none", report(.sharedMemory(1 << 30), .noSharedMemory)),
                (
                    "shm, small",
                    report(.sharedMemory(1 << 30), .sharedMemory(FileSystemSpace(total: 1 << 20, available: 1 << 20)))
                ),
                (
                    "shm, full",
                    report(.sharedMemory(1 << 30), .sharedMemory(FileSystemSpace(total: 1 << 40, available: 4096)))
                ),
                (
                    "shm, mount",
                    report(.sharedMemory(1 << 30), .sharedMemoryMount(size: 4096, .option("--volume or --mount")))
                ),
                ("shm, job", report(.sharedMemory(1 << 30), .sharedMemoryAboveJob(limit: 1 << 29))),
                ("imex", report(.imex, .noChannel)),
                (
                    "several",
                    Report(
                        PlanError.unmet([
                            unmet(.gpu(count: 1), .gpus(shown: 0, granted: 0)),
                            unmet(.imex, .noChannel, .site("/etc/berth/berth.conf:9")),
                        ]))
                ),
            ])
    }

    @Test func images() throws {
        func source(_ text: String) -> Named {
            do throws(ImageSourceError) { _ = try ImageSource(parsing: text) } catch { return (text, Report(error)) }
            return (text, Report("it is fine"))
        }
        var reports = [
            "", "/srv/image", "./image", "train.sqsh", "train.sif", "dockerd://x", "library://x", "oci:", "oci:/dir:",
            "r.io/Upper", "a:", "a:b c", "r.io:99999/a",
            "a@sha256:00", "a@md5:00", "a@sha512", String(repeating: "a", count: 300),
            String(repeating: "f", count: 64), "a//b", "r.io/",
        ].map(source)
        reports.append(("platform", Report(PlatformError(text: "linux/"))))
        Self.check("images", reports)
    }

    @Test func store() {
        Self.check(
            "store",
            [
                ("disk full", Report(StoreError.system(Self.full))),
                ("quota", Report(StoreError.system(SystemError(call: "mkdirat", errno: 122, subject: "x")))),
                (
                    "denied",
                    Report(StoreError.system(SystemError(call: "mkdirat", errno: 13, subject: "/var/lib/berth")))
                ),
                ("not a store", Report(StoreError.notAStore(path: "/home/ada"))),
                ("unknown layout", Report(StoreError.unknownLayout(path: "/store", found: "berth-store 9\n"))),
                (
                    "another user's",
                    Report(StoreError.untrusted(path: "/tmp/store", Self.fault(.owner(1234), "/tmp/store")))
                ),
                ("below another user's", Report(StoreError.untrusted(path: "/a/store", Self.fault(.owner(7), "/a")))),
                (
                    "open to others",
                    Report(StoreError.untrusted(path: "/tmp/store", Self.fault(.mode(0o775), "/tmp/store")))
                ),
                ("damaged", Report(StoreError.damaged(path: "/store/refs/docker/x", reason: "not a digest"))),
                ("read-only", Report(StoreError.readOnly(path: "drafts"))),
                (
                    "source",
                    Report(
                        StoreError.source(
                            path: "/image.tar", SystemError(call: "stat", errno: 2, subject: "/image.tar")))
                ),
            ])
    }

    static func step(_ action: PlanAction, _ failure: StepFailure, _ origin: Origin = .option("--volume or --mount"))
        -> Report
    {
        Report(SandboxError.step(index: 7, count: 36, PlannedStep(action, origin), failure))
    }

    static let bind = PlanAction.bind(BindMount(source: "/scratch", target: "/data", attributes: [.readOnly]))

    @Test func steps() {
        Self.check(
            "steps",
            [
                ("bind, denied", Self.step(Self.bind, .system(Self.denied))),
                ("bind, source missing", Self.step(Self.bind, .sourceMissing("/scratch"))),
                (
                    "bind, source unreadable",
                    Self.step(
                        Self.bind,
                        .sourceUnreadable("/scratch", SystemError(call: "open_tree", errno: 13, subject: "/scratch")))
                ),
                (
                    "bind, source stale",
                    Self.step(
                        Self.bind,
                        .sourceUnreadable("/scratch", SystemError(call: "open_tree", errno: 116, subject: "/scratch")))
                ),
                (
                    "bind, leaves the root by a link",
                    Self.step(Self.bind, .leavesRoot(path: "/data", link: "../../etc"))
                ),
                ("bind, leaves the root", Self.step(Self.bind, .leavesRoot(path: "/../x", link: nil))),
                ("bind, covers the root", Self.step(Self.bind, .coversRoot("/"))),
                ("bind, target missing", Self.step(Self.bind, .targetMissing("/data"))),
                ("bind, too many links", Self.step(Self.bind, .tooManyLinks("/data"))),
                ("bind, kinds differ", Self.step(Self.bind, .kindsDiffer(source: "/scratch", target: "/data"))),
                ("bind, below a mount", Self.step(Self.bind, .belowMount("/data"))),
                (
                    "mount point, read-only",
                    Self.step(.mountPoint("/data/x", source: "/scratch"), .readOnlyMount("/data/x"))
                ),
                (
                    "layers",
                    Self.step(.root(.overlay(lower: Array(repeating: "/a", count: 501))), .tooManyLayers(501), .image)
                ),
                ("bind, not a directory", Self.step(Self.bind, .notADirectory("/etc/passwd/x"))),
                (
                    "not a device",
                    Self.step(
                        .bind(BindMount(source: "/dev/x", target: "/dev/x", device: true)), .notADevice("/dev/x"),
                        .option("--device"))
                ),
                (
                    "mount namespace",
                    Self.step(
                        .createNamespaces([.mount], nil),
                        .system(SystemError(call: "unshare", errno: 1, subject: "mount namespace")), .berth)
                ),
                (
                    "overlay",
                    Self.step(
                        .root(.overlay(lower: ["/a", "/b"])),
                        .system(SystemError(call: "mount", errno: 19, subject: "overlay")), .image)
                ),
                ("layer missing", Self.step(.root(.overlay(lower: ["/a", "/b"])), .sourceMissing("/a"), .image)),
                (
                    "scratch directory",
                    Self.step(
                        .scratch(.directory(path: "/local")),
                        .system(SystemError(call: "open", errno: 2, subject: "/local")), .site("scratch"))
                ),
                (
                    "scratch full",
                    Self.step(.copy(source: "/etc/hosts", target: "/etc/hosts"), .system(Self.full), .host)
                ),
                (
                    "tmpfs",
                    Self.step(
                        .mount(type: "tmpfs", target: "/t", flags: [], data: "size=1"),
                        .system(SystemError(call: "mount", errno: 22, subject: "tmpfs")))
                ),
                ("pivot", Self.step(.pivot, .system(SystemError(call: "pivot_root", errno: 22, subject: ".")), .berth)),
                (
                    "hostname",
                    Self.step(
                        .hostname("h"), .system(SystemError(call: "sethostname", errno: 1, subject: "h")),
                        .option("--hostname"))
                ),
            ])
    }

    /// The hint depends on the host, so only its existence is checked.
    @Test(arguments: [1, 12, 22, 28] as [Int32]) func aUserNamespaceRefusedAlwaysComesWithAdvice(_ errno: Int32) {
        let report = Self.step(
            .createNamespaces([.user, .mount], nil),
            .system(SystemError(call: "unshare", errno: errno, subject: "user namespace")), .berth)
        #expect(report.summary.hasPrefix("cannot create a user namespace: "))
        #expect(report.hint?.isEmpty == false)
        #expect(report.status == .ownFailure)
    }

    @Test func process() {
        func stage(_ stage: ProcessStage, _ errno: Int32, _ subject: String, call: String = "prctl") -> Report {
            Report(SandboxError.process(stage, SystemError(call: call, errno: errno, subject: subject)))
        }
        Self.check(
            "process",
            [
                ("limits", stage(.limits, 1, "memlock", call: "setrlimit")),
                ("capabilities", stage(.capabilities, 1, "PR_CAPBSET_DROP 5")),
                ("identity", stage(.identity, 22, "33", call: "setresuid")),
                ("working directory", stage(.workingDirectory, 2, "/app", call: "openat2")),
                ("join", stage(.join, 1, "/proc/self/fd/7", call: "setns")),
                ("unknown user", Report(SandboxError.account(.unknownUser("web")))),
                ("unknown group", Report(SandboxError.account(.unknownGroup("web:ssl")))),
                ("user out of range", Report(SandboxError.account(.outOfRange("4294967296")))),
            ])
    }

    @Test func commands() {
        func command(_ name: String, _ failure: CommandFailure) -> Named {
            (name, Report(SandboxError.command(name, failure)))
        }
        let path = "/bin/x"
        Self.check(
            "commands",
            [
                command("x", .notFound(searched: ["/usr/bin", "/bin"])),
                command("/bin/x", .notFound(searched: nil)),
                command(
                    "not executable", .notExecutable(path: path, SystemError(call: "execve", errno: 13, subject: path))),
                command("too big", .notExecutable(path: path, SystemError(call: "execve", errno: 7, subject: path))),
                command("no interpreter", .interpreterMissing(path: path, interpreter: "/bin/bash")),
                command("aarch64", .wrongArchitecture(path: path, machine: 183)),
                command("x86_64", .wrongArchitecture(path: path, machine: 62)),
                command("some machine", .wrongArchitecture(path: path, machine: 999)),
                command("unknown format", .unknownFormat(path: path)),
                command("directory", .isDirectory(path: path)),
            ])
    }

    @Test func rendezvous() {
        Self.check(
            "rendezvous",
            [
                ("system", Report(RendezvousError.system(SystemError(call: "bind", errno: 1, subject: "socket")))),
                ("builder failed", Report(RendezvousError.builderFailed(localID: 3))),
                (
                    "no place",
                    Report(
                        RendezvousError.noPlace([
                            .init(
                                path: "/dev/shm/berth-1001-7", error: SystemError(call: "open", errno: 1, subject: "")),
                            .init(
                                path: "/home/a/berth-1001-7",
                                error: SystemError(call: "mkdirat", errno: 30, subject: "")),
                        ]))
                ),
            ])
    }

    @Test func system() {
        Self.check(
            "system",
            [
                ("with a name", Report(SystemError(call: "open", errno: 2, subject: "/dev"))),
                ("without a name", Report(SystemError(call: "open", errno: 4000, subject: "/dev"))),
                ("read-only", Report(SystemError(call: "mkdirat", errno: 30, subject: "store"))),
            ])
    }

    // MARK: The terminal

    @Test(arguments: [0...0x1F, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069] as [ClosedRange<UInt32>])
    func nothingThatSteersATerminalPasses(_ range: ClosedRange<UInt32>) throws {
        for value in range {
            let scalar = try #require(Unicode.Scalar(value))
            let text = "a" + String(scalar) + "b"
            let shown = Report("what \(text)", details: ["detail \(text)"], hint: "hint \(text)").text
            #expect(
                shown == "berth: what a\u{FFFD}b\n  detail a\u{FFFD}b\n  hint: hint a\u{FFFD}b\n",
                "U+\(String(value, radix: 16))")
        }
    }

    @Test func otherWritingPassesAsItIs() {
        #expect(Report("ü 数 🚢 e\u{301}").text == "berth: ü 数 🚢 e\u{301}\n")
    }

    @Test(arguments: [
        ("5.10.0-32-amd64", true), ("4.18.0-553.el8_10.x86_64", true), ("3.10.0", true), ("5.11.0", false),
        ("5.14.0-427.13.1.el9_4.x86_64", false), ("6.1.0-56-amd64", false), ("6", false), ("", false), ("x.y", false),
    ])
    func oldKernelsAreNamed(_ release: String, _ isTooOld: Bool) {
        #expect((OverlayAdvice.tooOld(release) != nil) == isTooOld)
        if isTooOld { #expect(OverlayAdvice.tooOld(release)?.contains(release) == true) }
    }
}

@Suite struct PluginReportTests {
    @Test(arguments: [
        ("option --workdir cannot be \"x\"", "option --container-workdir cannot be \"x\""),
        ("the running container is ignoring --container-env", "the running container is ignoring --container-env"),
        (
            "write -v /absolute/x:/inside, or --no-home",
            "write --container-mounts /absolute/x:/inside, or --no-container-mount-home"
        ),
        ("step 3 of 9: bind (--volume or --mount)", "step 3 of 9: bind (--container-mounts)"),
        ("/data/-v/--env and a-e", "/data/-v/--env and a-e"),
        ("`berth run --help` lists them", "`srun --help` lists them"),
        (
            "pull it with `berth pull x`, or leave out --pull never",
            "pull it with `berth pull x`, or leave out --container-pull never"
        ),
    ]) func optionsAreThePluginsFlags(_ text: String, _ said: String) {
        let report = Report(text, details: [text], hint: text).forPlugin(node: "node7")
        // Details without a step are the output of other programs.
        let details = [text.hasPrefix("step ") ? said : text]
        #expect(report == Report("node7: " + said, details: details, hint: said))
    }
}
