import Foundation
import TestSupport
import Testing

/// What NCCL and its like would do without in silence: said before the command starts, or the command does not start.
@Suite(.needsLauncher) struct RequirementTests {
    static func limited(_ command: Command, memlock: String) -> Command {
        var changed = command
        changed.arguments = ["prlimit", "--memlock=\(memlock)"] + command.arguments
        return changed
    }

    static func run(
        _ box: Box, _ options: [String], devices: [FakeDevices.Node] = [], memlock: String? = nil,
        environment: [String: String] = [:]
    ) throws -> Ended {
        var command = box.command(options, probe: ["limits", "memlock"], environment: environment)
        if let memlock { command = limited(command, memlock: memlock) }
        return try (devices.isEmpty ? command : FakeDevices(nodes: devices).around(command)).run()
    }

    // MARK: The warning

    @Test(.needsFakeDevices) func tooLittleLockedMemoryForRDMAIsWarnedOf() throws {
        let box = try Box(.ordinary)
        let warned = try Self.run(box, [], devices: FakeDevices.verbs, memlock: "65536:131072")
        #expect(warned.status == 0, "\(warned)")
        #expect(warned.output == "memlock 131072:131072\n")
        #expect(
            warned.errors.hasPrefix(
                "berth: warning: locked memory (memlock) is limited to 128 KiB, too little for the RDMA devices here "
                    + "(/dev/infiniband/uverbs0): "), "\(warned)")
        #expect(warned.errors.contains("/etc/security/limits.conf"), "\(warned)")
        #expect(warned.errors.split(separator: "\n").count == 1, "\(warned)")
    }

    @Test(.needsFakeDevices, arguments: [["-q"], ["--ulimit", "memlock=4096"]])
    func whoAsksForQuietOrForALimitIsNotWarned(_ options: [String]) throws {
        let ended = try Self.run(try Box(.ordinary), options, devices: FakeDevices.verbs, memlock: "65536:131072")
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.errors == "")
    }

    @Test(.needsFakeDevices) func withoutADeviceThatOpensThereIsNoWarning() throws {
        let closed = [FakeDevices.Node(path: "infiniband/uverbs0", major: 231, minor: 192, mode: "600")]
        let box = try Box(.ordinary)
        #expect(try Self.run(box, [], devices: closed, memlock: "65536:131072").errors == "")
        #expect(try Self.run(box, [], memlock: "65536:131072").errors == "")
    }

    // MARK: --require

    struct Refusal: Sendable, CustomTestStringConvertible {
        let words: String
        var devices: [FakeDevices.Node] = []
        var options: [String] = []
        let says: String
        var testDescription: String { words + " " + options.joined(separator: " ") }
    }

    static let refusals: [Refusal] = [
        Refusal(words: "gpu", says: "gpu is required (--require), but no GPU can be opened here"),
        Refusal(
            words: "gpu=3", devices: FakeDevices.gpus(2),
            says: "gpu=3 is required (--require), but only 2 are shown"),
        Refusal(
            words: "gpu", devices: FakeDevices.gpus(2), options: ["--gpus", "none"],
            says: "gpu is required (--require), but none of the 2 granted here is shown"),
        Refusal(
            words: "rdma", devices: FakeDevices.gpus(1),
            says: "rdma is required (--require), but this host has no such device"),
        Refusal(words: "efa", devices: FakeDevices.verbs, says: "efa is required (--require), but this host has only"),
        Refusal(
            words: "rdma", devices: [FakeDevices.Node(path: "infiniband/uverbs0", major: 231, minor: 192, mode: "600")],
            says: "rdma is required (--require), but the container lacks /dev/infiniband/uverbs0"),
        Refusal(
            words: "rdma", devices: FakeDevices.verbs,
            says: "rdma is required (--require), but memlock is 128 KiB"),
        Refusal(words: "imex", devices: FakeDevices.gpus(1), says: "the container has no IMEX channel"),
        Refusal(words: "cxi", devices: FakeDevices.gpus(1), says: "this host has no such device"),
    ]

    @Test(.needsFakeDevices, arguments: refusals) func whatIsMissingKeepsTheCommandFromStarting(_ refusal: Refusal)
        throws
    {
        let ended = try Self.run(
            try Box(.ordinary), ["-q", "--require", refusal.words] + refusal.options, devices: refusal.devices,
            memlock: "65536:131072")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.output == "")
        #expect(ended.errors.hasPrefix("berth: "), "\(ended)")
        #expect(ended.errors.contains(refusal.says), "\(ended)")
        #expect(ended.errors.contains("\n  hint: "), "\(ended)")
    }

    @Test(.needsFakeDevices) func whatIsThereLetsItStart() throws {
        let devices = FakeDevices.gpus(2) + FakeDevices.verbs + [FakeDevices.Node(path: "cxi0", major: 240, minor: 0)]
        let options = ["-q", "--require", "gpu=2,memlock=64k,shm=64k", "--device", "/dev/cxi0", "--require", "cxi"]
        let ended = try Self.run(try Box(.ordinary), options, devices: devices, memlock: "65536:131072")
        #expect(ended.status == 0, "\(ended)")
        // CAP_IPC_LOCK lifts the limit for whoever keeps it.
        let root = try Self.run(try Box(.root), ["-q", "--require", "rdma"], devices: devices, memlock: "65536:131072")
        #expect(root.status == 0, "\(root)")
    }

    @Test(.needsFakeDevices) func imexIsMetByAChannel() throws {
        let channel = FakeDevices.Node(path: "nvidia-caps-imex-channels/channel0", major: 239, minor: 0)
        let ended = try Self.run(
            try Box(.ordinary), ["--require", "imex", "--device", "/dev/" + channel.path], devices: [channel])
        #expect(ended.status == 0, "\(ended)")
        // Beside a GPU it comes along where it may be opened, as Slurm's switch plugin or a prolog leaves it.
        let granted = try Self.run(
            try Box(.ordinary), ["-q", "--require", "imex"], devices: FakeDevices.gpus(1) + [channel])
        #expect(granted.status == 0, "\(granted)")
        // CVE-2024-42511: a channel of another job's, which the kernel lets this one not open.
        let others = FakeDevices.Node(path: channel.path, major: 239, minor: 0, mode: "600")
        let refused = try Self.run(
            try Box(.ordinary), ["-q", "--require", "imex"], devices: FakeDevices.gpus(1) + [others])
        #expect(refused.status == 125 && refused.errors.contains("the container has no IMEX channel"), "\(refused)")
    }

    /// The library lies in the image, in a directory of LD_LIBRARY_PATH that is mounted, is brought by the site, or is not
    /// there; a link that leads nowhere is no library.
    @Test(.needsFakeDevices, arguments: Caller.all) func whatNCCLOpensMustBeFoundInside(_ caller: Caller) throws {
        func run(_ box: Box, _ options: [String] = []) throws -> Ended {
            try Self.run(box, ["-q", "--require", "nccl"] + options, devices: FakeDevices.verbs)
        }
        let box = try Box(caller)
        try box.directory.makeDirectory("libs")
        try box.directory.write("", to: "libs/libibverbs.so.1.14.39")
        try box.directory.link("libs/libibverbs.so.1", to: "libibverbs.so.1.14.39")
        let missing = try run(box)
        #expect(missing.status == 125 && missing.output == "", "\(missing)")
        #expect(missing.errors.contains("libnccl-net.so or libibverbs.so.1 or libibverbs.so"), "\(missing)")
        #expect(missing.errors.contains("hint: install rdma-core"), "\(missing)")
        #expect(try run(box, ["-v", "./libs:/opt/v", "-e", "LD_LIBRARY_PATH=/x:/opt/v"]).status == 0)
        #expect(try run(box, ["-v", "./libs:/opt/v", "-e", "LD_LIBRARY_PATH=/opt"]).status == 125)
        try box.directory.write("fabric-library = ib \(box.path("libs/libibverbs.so.1"))\n", to: "berth.conf")
        #expect(try run(box).status == 0)
        try box.directory.write("", to: "berth.conf")
        try box.directory.link("rootfs/usr/lib64/libibverbs.so.1", to: "libibverbs.so.1.14.39")
        #expect(try run(box).status == 125)
        try box.directory.write("", to: "rootfs/usr/lib64/libibverbs.so.1.14.39")
        #expect(try run(box).status == 0)
        let none = try Self.run(box, ["-q", "--require", "nccl"])
        #expect(none.status == 125 && none.errors.contains("this host has no such device"), "\(none)")
    }

    @Test func lockedMemoryIsHeldAgainstWhatWillBeInForce() throws {
        let box = try Box(.any)
        let limit = "65536:131072"
        #expect(try Self.run(box, ["--require", "memlock=128k"], memlock: limit).status == 0)
        let ended = try Self.run(box, ["--require", "memlock=129k"], memlock: limit)
        #expect(ended.status == 125, "\(ended)")
        #expect(
            ended.errors.contains("memlock=129k is required (--require), but memlock is 128 KiB"), "\(ended)")
        #expect(ended.errors.contains("hint: raise it in /etc/security/limits.conf"), "\(ended)")
        let chosen = try Self.run(
            box, ["--require", "memlock=128k", "--ulimit", "memlock=4096"], memlock: limit)
        #expect(chosen.errors.contains("hint: change the setting: --ulimit"), "\(chosen)")
    }

    @Test func moreSharedMemoryThanThereIsCanNotBeHad() throws {
        let ended = try Self.run(try Box(.any), ["--require", "shm=1000t"])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("/dev/shm has room for"), "\(ended)")
    }

    @Test func theSitesFileRequiresToo() throws {
        let box = try Box(.any)
        try box.directory.write("home = no\nrequire = shm=1000t gpu=99\n", to: "berth.conf")
        let ended = try Self.run(box, [])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("is required (berth.conf: \(box.path("berth.conf")):2), but"), "\(ended)")
        #expect(ended.errors.contains("\n  gpu=99 is required (berth.conf: "), "\(ended)")
        #expect(try box.run(["--dry-run"], probe: "id").status == 125, "a dry run says it too")
    }

    @Test func theSitesLimitsAreInForce() throws {
        let box = try Box(.any)
        try box.directory.write("ulimit = memlock=32768:65536\nulimit = nofile=100:200\n", to: "berth.conf")
        let ended = try box.run(probe: "limits", "memlock", "--", "limits", "nofile")
        #expect(ended.lines == ["memlock 32768:65536", "nofile 100:200"], "\(ended)")
        let option = try box.run(["--ulimit", "nofile=50"], probe: "limits", "nofile")
        #expect(option.lines == ["nofile 50:50"], "\(option)")
    }

    @Test(arguments: ["ulimit = memlock", "ulimit = colour=1", "ulimit = nofile=2:1", "require = tcp", "require ="])
    func aSettingThatMeansNothingIsNamedWithItsLine(_ line: String) throws {
        let box = try Box(.any)
        try box.directory.write("home = no\n\(line)\n", to: "berth.conf")
        let ended = try box.run(probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("berth.conf, line 2: "), "\(ended)")
    }
}
