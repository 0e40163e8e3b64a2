import Foundation
import Testing
import TestSupport

/// What the image brings is an attacker's: nothing of it may change, hold up or read the host.
@Suite(.needsLauncher) struct HostileRootfsTests {
    enum Disguise: Sendable, CustomTestStringConvertible {
        case link(String), file, fifo, directory, closedDirectory

        var testDescription: String {
            switch self {
            case .link(let target): "a link to \(target)"
            case .file: "a file"
            case .fifo: "a FIFO"
            case .directory: "a directory"
            case .closedDirectory: "a directory of mode 000"
            }
        }
    }

    /// A box with `outside` beside the root file system, and something odd at a path inside. `OUTSIDE` in a link's
    /// target stands for the absolute path of `outside`.
    static func box(_ caller: Caller, _ path: String, _ disguise: Disguise) throws -> Box {
        let box = try Box(caller)
        try box.directory.write("outside", to: "outside/marker")
        try box.directory.write("secret:x:1:1::/:\n", to: "outside/passwd")
        try box.directory.write("", to: "outside/null")
        try box.directory.makeDirectory("outside/pts")
        box.give("outside")
        let place = "rootfs" + path
        _ = try? FileManager.default.removeItem(atPath: box.path(place))  // often not there
        switch disguise {
        case .link(let target):
            try box.directory.link(place, to: target.replacingOccurrences(of: "OUTSIDE", with: box.path("outside")))
        case .file: try box.directory.write("a file", to: place)
        case .fifo:
            try box.directory.makeDirectory(String((place as NSString).deletingLastPathComponent))
            guard mkfifo(box.path(place), 0o666) == 0 else { throw TestSupportError("mkfifo") }
        case .directory: try box.directory.makeDirectory(place)
        case .closedDirectory: try box.directory.makeDirectory(place, mode: 0)
        }
        box.give("rootfs")
        return box
    }

    static let systemPaths = ["/dev", "/proc", "/sys", "/tmp"]
    static let disguises: [Disguise] = [
        .link("OUTSIDE"), .link("../outside"), .link("../../../../../../../../../../var"), .link("/"), .link("/etc"),
        .link("missing"), .link("dev"),
        .file, .fifo, .directory,
    ]

    /// CVE-2019-19921, CVE-2023-27561, CVE-2019-16884: /proc that is something else. CVE-2026-41579, CVE-2026-47766: the
    /// runtime fills /dev through the image's link.
    @Test(arguments: systemPaths, disguises) func systemDirectoriesThatAreSomethingElse(
        _ path: String, _ disguise: Disguise
    ) throws {
        for caller in Caller.all {
            let box = try Self.box(caller, path, disguise)
            let before = try (box.fingerprint(), box.fingerprint("outside"))
            let ended = try box.run(
                probe: "open", "/dev/null", "--", "cat", "/proc/self/comm", "--", "stat", path, "--", "mounts", path)
            #expect(ended.status == 0, "\(ended)")
            #expect(ended.lines.prefix(2) == ["/dev/null: ok", "probe"], "\(ended)")
            #expect(ended.lines.dropFirst(2).first?.hasPrefix("\(path): directory") == true, "\(ended)")
            #expect(ended.lines.count == 4, "exactly one mount there: \(ended)")
            #expect(try (box.fingerprint(), box.fingerprint("outside")) == before)
        }
    }

    /// CVE-2025-31133, CVE-2025-52565: what a runtime mounts over or on is a link of the image's.
    @Test(arguments: ["null", "console", "ptmx", "pts/0", "full", "shm"])
    func devicesOfTheImageThatAreLinksAreNotUsed(_ name: String) throws {
        for caller in Caller.all {
            let box = try Self.box(caller, "/dev/pts/beside", .directory)
            let target = name == "shm" ? "outside/pts" : "outside/null"
            try box.directory.link("rootfs/dev/" + name, to: box.path(target))
            box.give("rootfs")
            let before = try (box.fingerprint(), box.fingerprint("outside"))
            let ended = try box.run(probe: "open", "/dev/null", "--", "stat", "/dev/null", "/dev/pts")
            #expect(ended.lines.first == "/dev/null: ok", "\(ended)")
            #expect(ended.lines.dropFirst().first?.hasPrefix("/dev/null: character") == true, "\(ended)")
            #expect(ended.lines.last?.hasPrefix("/dev/pts: directory") == true, "\(ended)")
            #expect(try (box.fingerprint(), box.fingerprint("outside")) == before)
        }
    }

    /// Files that the launcher writes. CVE-2024-9676: /etc/passwd as a link to a FIFO of the host.
    @Test(
        arguments: [
            "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/localtime", "/etc/hostname", "/etc",
        ],
        [
            .link("OUTSIDE/passwd"), .link("../../../outside/passwd"), .link("/etc/shadow"), .link("missing/deep"),
            .link("passwd"), .link("/proc/self/environ"),
            .fifo, .directory, .file,
        ] as [Disguise]) func filesOfTheLaunchersThatAreSomethingElse(_ path: String, _ disguise: Disguise) throws
    {
        for caller in Caller.all {
            let box = try Self.box(caller, path, disguise)
            let before = try (box.fingerprint(), box.fingerprint("outside"))
            let ended = try box.command(["--hostname", "h"], probe: ["cat", "/etc/passwd", "/etc/group"]).run()
            #expect(!ended.timedOut, "\(ended)")
            #expect(ended.status == 0 || ended.status == 125, "\(ended)")
            if ended.status == 125 {
                #expect(ended.errors.hasPrefix("berth: ") && ended.errors.contains("step "), "\(ended)")
            }
            #expect(!ended.output.contains("secret"), "\(ended)")
            #expect(try (box.fingerprint(), box.fingerprint("outside")) == before)
            guard path != "/etc" else { continue }
            #expect(ended.status == 0, "one odd file is no reason not to start: \(ended)")
            #expect(ended.output.contains("\(caller.name):x:\(caller.user):"), "\(ended)")
        }
    }

    @Test(arguments: Caller.all) func anEtcThatIsALinkInsideWorks(_ caller: Caller) throws {
        let box = try Self.box(caller, "/etc", .link("usr/etc"))
        try box.directory.makeDirectory("rootfs/usr/etc")
        box.give("rootfs")
        let ended = try box.run(probe: "stat", "/etc/passwd", "/usr/etc/passwd")
        #expect(ended.lines.allSatisfy { $0.contains(": file 0644") }, "\(ended)")
    }

    @Test(.needsRoot) func deviceNodesInTheImageCanNotBeOpened() throws {
        for caller in Caller.all {
            let box = try Box(caller)
            guard try Command(["mknod", "-m", "666", box.path("rootfs/disk"), "c", "1", "5"]).run().status == 0 else {
                return
            }
            _ = try Command(["mknod", "-m", "666", box.path("rootfs/etc/hosts"), "c", "1", "5"]).run()
            let ended = try box.run(probe: "open", "/disk", "--", "stat", "/etc/hosts")
            #expect(ended.lines.first == "/disk: EACCES", "\(ended)")
            #expect(ended.lines.last?.hasPrefix("/etc/hosts: file") == true)
        }
    }

    /// GHSA-q6r4-3wmg-fwcq: a link in the working directory makes the runtime create directories on the host.
    @Test(arguments: ["OUTSIDE/made", "../../../outside/made", "/proc/self/cwd", "/proc/self/fd/5", "/proc/1/root"])
    func aWorkingDirectoryThroughALinkStaysInside(_ target: String) throws {
        for caller in Caller.all {
            let box = try Self.box(caller, "/work", .link(target))
            let before = try box.fingerprint("outside")
            let ended = try box.run(["-w", "/work"], probe: "cwd", "--", "cat", "marker", "../marker")
            #expect(!ended.output.contains("outside\n"), "\(ended)")
            #expect(ended.status == 125 || ended.lines.first?.hasPrefix("/") == true, "\(ended)")
            #expect(try box.fingerprint("outside") == before)
        }
    }

    @Test(arguments: Caller.all) func aHomeThroughALinkStaysInside(_ caller: Caller) throws {
        let parent = (caller.home as NSString).deletingLastPathComponent
        guard parent != "/" else { return }
        let box = try Self.box(caller, parent, .link("OUTSIDE"))
        let before = try box.fingerprint("outside")
        let ended = try box.run(probe: "stat", caller.home)
        #expect(ended.status == 0, "\(ended)")
        #expect(try box.fingerprint("outside") == before)
    }

    @Test(arguments: Caller.all) func closedDirectoriesInTheImageHoldUpNothing(_ caller: Caller) throws {
        let box = try Self.box(caller, "/closed", .closedDirectory)
        let ended = try box.run(probe: "stat", "/closed", "--", "ls", "/closed")
        #expect(ended.lines.first?.hasPrefix("/closed: directory 0000") == true, "\(ended)")
    }

    @Test(arguments: Caller.all) func namesThatAreNoTextAreSeenAsTheyAre(_ caller: Caller) throws {
        let box = try Box(caller)
        let made = try Command([
            "sh", "-c", #"cd "$0" && mkdir "$(printf 'd\377')" && : > "$(printf 'd\377/f\001')""#, box.rootfs,
        ]).run()
        #expect(made.status == 0, "\(made)")
        box.give("rootfs")
        #expect(try box.run(probe: "ls", "/").output.contains(#" d\xff "#))
    }

    /// The rootfs' own path holds what overlayfs would take for its options' punctuation.
    @Test(arguments: ["a:b", "a,b", "a\\b", "a b", "a\nb", "upperdir=x,lowerdir=y", "é"])
    func theRootFileSystemMayLieAnywhere(_ name: String) throws {
        for caller in Caller.all {
            let box = try Box(caller)
            try box.directory.makeDirectory("odd")
            try FileManager.default.moveItem(atPath: box.rootfs, toPath: box.path("odd/" + name))
            let ended = try box.run(berth: [
                "run", "dir:" + box.path("odd/" + name), "--", "probe", "write", "/x", "y", "--", "cwd",
            ])
            #expect(ended.lines == ["/x: ok", "/"], "\(ended)")
        }
    }

    @Test(.needsRoot) func aRootFileSystemOfSomebodyElsesRuns() throws {
        // A shared store is unpacked once, by an administrator or a colleague: its directories are not the caller's.
        let box = try Box(.ordinary)
        _ = try Command(["chown", "-R", "0:0", box.rootfs]).run()
        try box.directory.makeDirectory("data")
        let ended = try box.run(
            ["-v", "./data:/new/data"], probe: "cat", "/etc/passwd", "--", "open", "/dev/null", "--", "stat",
            "/new/data")
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.first?.hasPrefix("\(box.caller.name):x:") == true, "\(ended)")
    }
}
