import Foundation
import Testing
import TestSupport

@Suite(.needsLauncher) struct RootFilesystemTests {
    @Test(arguments: Caller.all, [[], ["--root"], ["--read-only"], ["--hostname", "h"]])
    func theRootFileSystemIsNeverWrittenTo(_ caller: Caller, _ options: [String]) throws {
        let box = try Box(caller)
        let before = try box.fingerprint()
        let ended = try box.run(
            options, probe: "write", "/etc/new", "x", "--", "rm", "/etc/group", "--", "chmod", "700", "/etc", "--",
            "mkdir", "/made", "--",
            "write", "/bin/probe2", "x", "--", "write", "/etc/passwd", "gone", "--", "chown",
            "\(caller.user):\(caller.group)", "/bin/probe")
        #expect(ended.status == 0, "\(ended)")
        #expect(try box.fingerprint() == before)
    }

    @Test(arguments: Caller.all) func writesGoSomewhereAndAreGoneAfterwards(_ caller: Caller) throws {
        let box = try Box(caller)
        let first = try box.run(
            probe: "write", "/f", "text", "--", "cat", "/f", "--", "rm", "/etc/group", "--", "stat", "/etc/group", "--",
            "mkdir", "/d", "--", "write", "/d/e", "")
        #expect(first.output == "/f: ok\ntext/etc/group: ok\n/etc/group: ENOENT\n/d: ok\n/d/e: ok\n", "\(first)")
        let second = try box.run(probe: "stat", "/f", "/d", "/etc/group")
        #expect(second.lines.prefix(2) == ["/f: ENOENT", "/d: ENOENT"], "\(second)")
        #expect(second.lines.last?.hasPrefix("/etc/group: file") == true)
    }

    @Test(arguments: Caller.all) func readOnlyMeansReadOnlyButForMountsThatAreNot(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("rw", mode: 0o777)
        try box.directory.makeDirectory("rootfs/rw")
        let ended = try box.run(
            ["--read-only", "-v", "./rw:/rw"], probe: "write", "/f", "x", "--", "mkdir", "/d", "--", "rm", "/etc/group",
            "--", "write", "/etc/passwd", "x", "--",
            "write", "/rw/f", "x", "--", "write", "/dev/null", "x", "--", "open", "/dev/shm")
        #expect(
            ended.lines == [
                "/f: EROFS", "/d: EROFS", "/etc/group: EROFS", "/etc/passwd: EROFS", "/rw/f: ok", "/dev/null: ok",
                "/dev/shm: ok",
            ], "\(ended)")
        #expect(box.directory.text("rw/f") == "x")
    }

    @Test(arguments: Caller.all) func readOnlyRootStillHasTheCallersNames(_ caller: Caller) throws {
        let ended = try Box(caller).run(["--read-only"], probe: "cat", "/etc/passwd")
        #expect(ended.lines.first?.hasPrefix("\(caller.name):x:") == true, "\(ended)")
    }

    @Test(arguments: Caller.all) func theRootIsMountedWithoutSetUserIDAndDevices(_ caller: Caller) throws {
        let ended = try Box(caller).run(probe: "mounts", "/")
        let options = ended.lines.first?.split(separator: " ").last?.split(separator: ",") ?? []
        #expect(options.contains("nosuid"), "\(ended)")
        #expect(options.contains("nodev"))
    }

    @Test(arguments: Caller.all) func theHostsOwnMountsAreUntouched(_ caller: Caller) throws {
        let before = FileManager.default.contents(atPath: "/proc/self/mountinfo")
        _ = try Box(caller).run(["-v", "/etc:/x"], probe: "mounts")
        #expect(FileManager.default.contents(atPath: "/proc/self/mountinfo") == before)
    }

    @Test(arguments: Caller.all) func onlyWhatBelongsInsideIsMountedInside(_ caller: Caller) throws {
        let ended = try Box(caller).run(probe: "mounts")
        let points = Set(ended.lines.compactMap { $0.split(separator: " ").first.map(String.init) })
        let tops = Set(points.map { "/" + ($0.split(separator: "/").first ?? "") })
        #expect(tops == ["/", "/dev", "/proc", "/sys", "/tmp"], "\(ended)")
    }

    // MARK: /dev

    static let hostHasQueues = FileManager.default.fileExists(atPath: "/dev/mqueue")

    @Test(arguments: Caller.all) func devicesAreTheStandardOnesAndNoMore(_ caller: Caller) throws {
        let ended = try Box(caller).run(
            probe: "ls", "/dev", "--", "stat", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
            "/dev/tty")
        let queues = Self.hostHasQueues ? "mqueue " : ""
        #expect(
            ended.lines.first == "/dev: fd full \(queues)null ptmx pts random shm stderr stdin stdout tty urandom zero",
            "\(ended)")
        let numbers = ended.lines.dropFirst().map { $0.split(separator: " ").last.map(String.init) ?? "" }
        #expect(numbers == ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"])
    }

    @Test(arguments: Caller.all) func theStandardNodesWork(_ caller: Caller) throws {
        let ended = try Box(caller).run(
            probe: "open", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "--", "write", "/dev/null", "x",
            "--", "write", "/dev/full", "x", "--",
            "stat", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/ptmx")
        #expect(
            ended.lines.prefix(6) == [
                "/dev/null: ok", "/dev/zero: ok", "/dev/random: ok", "/dev/urandom: ok", "/dev/null: ok",
                "/dev/full: ENOSPC",
            ], "\(ended)")
        let links = ended.lines.suffix(5).map { $0.components(separatedBy: " -> ").last ?? "" }
        #expect(links == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"])
    }

    @Test(arguments: Caller.all) func terminalsCanBeMade(_ caller: Caller) throws {
        let ended = try Box(caller).run(probe: "terminal")
        #expect(
            ended.lines == [
                "/dev/ptmx: ok", "unlockpt: ok", "ptsname: ok", "slave: ok", "line: ok", "ttyname: /dev/pts/0",
            ], "\(ended)")
    }

    /// NCCL and UCX know a neighbour by the device number of /dev/shm.
    @Test(arguments: Caller.all) func sharedMemoryAndTmpAreTheHosts(_ caller: Caller) throws {
        let box = try Box(caller)
        let inside = try box.run(probe: "identity", "/dev/shm", "/tmp")
        let outside = try Command([box.fixture.probe, "identity", "/dev/shm", "/tmp"]).run()
        #expect(inside.output == outside.output)
    }

    @Test(.needsRoot) func aTerminalOnStandardInputIsTheConsoleInside() throws {
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/script") else { return }
        let box = try Box(.ordinary)
        let ended = try Command(
            box.caller.running([
                "script", "-qec",
                "\(box.fixture.berth) run \(box.image) -- probe ls /dev -- open /dev/console /dev/tty", "/dev/null",
            ]),
            environment: box.environment, directory: box.directory.path
        ).run()
        let lines = ended.output.split(whereSeparator: \.isNewline)
        #expect(lines.first?.hasPrefix("/dev: console fd full") == true, "\(ended)")
        #expect(lines.suffix(2) == ["/dev/console: ok", "/dev/tty: ok"])
    }

    // MARK: Granted devices, with a made-up /dev in a mount namespace of the test's own

    @Test(.needsRoot, arguments: Caller.all, ["granted", "device=0", "none"]) func grantedGPUsExistAndOthersDoNot(
        _ caller: Caller, _ request: String
    ) throws {
        let box = try Box(caller)
        let script = """
            mount -t tmpfs -o mode=755 tmpfs dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
            mkdir -p dev/shm dev/pts dev/infiniband dev/nvidia-caps
            for n in 3 11; do mknod -m 666 dev/nvidia$n c 195 $n; done
            mknod -m 600 dev/nvidia4 c 195 4; chown 12345 dev/nvidia4
            mknod -m 666 dev/nvidiactl c 195 255; mknod -m 666 dev/nvidia-uvm c 510 0
            mknod -m 666 dev/infiniband/uverbs0 c 231 192; mknod -m 666 dev/infiniband/umad0 c 231 0
            mount --rbind dev /dev && exec "$@"
            """
        try box.directory.makeDirectory("dev")
        let berth = caller.running([
            box.fixture.berth, "run", "--gpus", request, box.image, "--", "probe", "ls", "/dev", "/dev/infiniband",
            "--", "open", "/dev/nvidia3",
        ])
        let ended = try Command(
            ["unshare", "-m", "sh", "-ec", script, "sh"] + berth, environment: box.environment,
            directory: box.directory.path
        ).run()
        // Node 4 is closed to an ordinary user by its mode, as it would be to anybody by the device cgroup.
        let names =
            ended.lines.first?.split(separator: " ").dropFirst().filter { $0.hasPrefix("nvidia") }.map(String.init)
            ?? []
        switch (request, caller) {
        case ("granted", .ordinary): #expect(names == ["nvidia-uvm", "nvidia11", "nvidia3", "nvidiactl"], "\(ended)")
        case ("granted", .root):
            #expect(names == ["nvidia-uvm", "nvidia11", "nvidia3", "nvidia4", "nvidiactl"], "\(ended)")
        case ("device=0", _): #expect(names == ["nvidia-uvm", "nvidia3", "nvidiactl"], "\(ended)")
        default: #expect(names == [], "\(ended)")
        }
        #expect(ended.lines.dropFirst().first == "/dev/infiniband: uverbs0")
        #expect(ended.lines.last == (request == "none" ? "/dev/nvidia3: ENOENT" : "/dev/nvidia3: ENXIO"))
    }
}
