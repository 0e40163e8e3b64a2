import Foundation
import Testing
import TestSupport

@Suite(.needsLauncher) struct VolumeTests {
    /// A box with a directory `d` that holds `f`, and a file `f`.
    static func box(_ caller: Caller = .any) throws -> Box {
        let box = try Box(caller)
        try box.directory.write("in d", to: "d/f")
        try box.directory.write("f", to: "f")
        box.give("d")
        box.give("f")
        return box
    }

    @Test func aMountPointThatAVolumeLacksIsNotTheImagesFault() throws {
        let box = try Box(.any)
        try box.directory.makeDirectory("a")
        try box.directory.makeDirectory("b")
        let readOnly = try box.run(["-v", "./a:/data:ro", "-v", "./b:/data/sub"], probe: "id")
        #expect(readOnly.status == 125, "\(readOnly)")
        #expect(
            readOnly.errors.contains(
                "cannot mount on /data/sub: \(box.path("a"))/sub does not exist, and the volume /data is read-only"),
            "\(readOnly)")
        #expect(!readOnly.errors.contains("image has"), "\(readOnly)")
        // What is there is mounted on.
        try box.directory.makeDirectory("a/sub")
        #expect(try box.run(["-v", "./a:/data:ro", "-v", "./b:/data/sub"], probe: "id").status == 0)
        guard Caller.isRoot else { return }
        let other = try Box(.ordinary)
        try other.directory.makeDirectory("a")
        try other.directory.makeDirectory("b")
        let denied = try other.run(["-v", "./a:/data", "-v", "./b:/data/sub"], probe: "id")
        #expect(denied.status == 125, "\(denied)")
        #expect(denied.errors.contains("cannot be created in the volume /data: Permission denied"), "\(denied)")
    }

    @Test(.needsRoot) func aDirectoryOfAnotherUsersIsNamedAsSuch() throws {
        let box = try Box(.ordinary)
        try box.directory.makeDirectory("closed", mode: 0o700)
        let ended = try box.run(berth: ["run", "dir:" + box.path("closed"), "--", "id"])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("Permission denied (EACCES): owned by uid 0, mode 700"), "\(ended)")
    }

    @Test(arguments: Caller.all) func aDirectoryOnAMissingOne(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.run(
            ["-v", "\(box.path("d")):/data/deep"], probe: "cat", "/data/deep/f", "--", "write", "/data/deep/new", "n")
        #expect(ended.output == "in d/data/deep/new: ok\n", "\(ended)")
        #expect(box.directory.text("d/new") == "n")
    }

    /// The container is made over the directory that is run; what is mounted of it, or lies in it, is the host's all the same.
    @Test(arguments: Caller.all) func partsOfTheRootFileSystemThatIsRunAreMounted(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.write("inner", to: "rootfs/work/f")
        try box.directory.link("link", to: "rootfs/work")
        box.give("rootfs")
        let mounts = [
            "-v", "./rootfs/work:/one", "-v", "./link:/one/two", "-v", "./rootfs/work/f:/three", "-v", "./rootfs:/four",
        ]
        let ended = try box.run(
            mounts, probe: "cat", "/one/f", "/one/two/f", "/three", "/four/work/f", "--", "write", "/one/new", "n",
            "--",
            "ls", "/four/work")
        #expect(ended.output == "innerinnerinnerinner/one/new: ok\n/four/work: f new two\n", "\(ended)")
        // Made where the mount comes to lie, and the only thing that is.
        #expect(box.directory.text("rootfs/work/new") == "n")
        for script in [
            "cd rootfs/work && $BERTH run --here .. -- probe cat f",
            "cd rootfs/work && $BERTH run -v .:/w .. -- probe cat /w/f",
        ] {
            let here = try box.shell(script).run()
            #expect(here.status == 0 && here.output == "inner", "\(script): \(here)")
        }
        let absent = try box.run(["-v", "./rootfs/absent:/x"], probe: "id")
        #expect(
            absent.status == 125 && absent.errors.contains("rootfs/absent: source path does not exist"), "\(absent)")
    }

    /// Where it would hide all that the image has, and be seen by nobody.
    @Test(arguments: ["/", "//", "/.", "/..", "/a/..", "/./../"]) func nothingIsMountedOnTheRoot(_ target: String)
        throws
    {
        let box = try Self.box()
        try box.directory.write("mount = /tmp \(target)\n", to: "site.conf")
        for dry in [[], ["--dry-run"]] as [[String]] {
            for words in [
                ["-v", "/tmp:" + target], ["--mount", "type=bind,src=/tmp,dst=" + target], ["--tmpfs", target],
                ["--mount", "type=tmpfs,dst=" + target], ["--bind", "/tmp:" + target],
                ["--device", "/dev/null:" + target],
            ] {
                let ended = try box.run(dry + words, probe: "id")
                #expect(ended.status == 125 && ended.errors.contains("a path below /"), "\(dry) \(words): \(ended)")
            }
            let site = try box.command(dry, probe: ["id"], environment: ["BERTH_CONFIG": box.path("site.conf")]).run()
            #expect(site.status == 125 && site.errors.contains("a path below /"), "\(site)")
        }
    }

    @Test(arguments: Caller.all) func aDirectoryOverOneOfTheImages(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.write("covered", to: "rootfs/data/old")
        let ended = try box.run(["-v", "\(box.path("d")):/data"], probe: "ls", "/data")
        #expect(ended.lines == ["/data: f"], "\(ended)")
    }

    @Test(arguments: Caller.all) func aFileOnAFileAndOnNothing(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.run(
            ["-v", "./f:/etc/group", "-v", "./f:/new/place/x"], probe: "cat", "/etc/group", "/new/place/x", "--",
            "write", "/new/place/x", "changed")
        #expect(ended.output == "ff/new/place/x: ok\n", "\(ended)")
        #expect(box.directory.text("f") == "changed")
    }

    @Test(arguments: Caller.all) func readOnlyReachesTheMountsBelow(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.run(
            ["-v", "./d:/a:ro", "-v", "/dev:/b:ro", "--mount", "type=bind,src=./f,dst=/c,readonly"], probe: "write",
            "/a/new", "x", "--", "write", "/a/f", "x", "--", "write", "/c", "x", "--", "mkdir", "/b/shm/berth-test")
        #expect(ended.lines == ["/a/new: EROFS", "/a/f: EROFS", "/c: EROFS", "/b/shm/berth-test: EROFS"], "\(ended)")
        #expect(box.directory.text("d/f") == "in d")
    }

    @Test(arguments: Caller.all) func laterMountsLieOverEarlierOnes(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.write("inner", to: "e/g")
        box.give("e")
        let ended = try box.run(
            ["-v", "./d:/m", "-v", "./e:/m/sub", "-v", "./f:/m/f", "-v", "./f:/m/sub/deep/x"], probe: "cat", "/m/f",
            "/m/sub/g", "/m/sub/deep/x")
        #expect(ended.output == "finnerf", "\(ended)")
        // The target was made in the directory of the host, as with Docker.
        #expect(box.directory.exists("d/sub"))
    }

    @Test func sourceWithoutTargetIsShownAtTheSamePlace() throws {
        let box = try Self.box()
        #expect(try box.run(["-v", box.path("d")], probe: "cat", box.path("d/f")).output == "in d")
    }

    @Test func relativeSourcesCountFromWhereTheCallerStands() throws {
        let box = try Self.box()
        #expect(try box.run(["-v", "./d:/m"], probe: "cat", "/m/f").output == "in d")
        #expect(try box.run(["-v", ".:/m"], probe: "cat", "/m/d/f").output == "in d")
        #expect(try box.run(["-v", "./d/../f:/m"], probe: "cat", "/m").output == "f")
        // PWD is only believed where it names the same directory: programs that change directory often leave it behind.
        for wrong in ["/etc", "/nonexistent", "relative", ""] {
            let ended = try box.run(["-v", "./d:/m"], probe: "cat", "/m/f", environment: ["PWD": wrong])
            #expect(ended.output == "in d", "PWD=\(wrong) \(ended)")
        }
    }

    @Test func aSymlinkAsSourceIsFollowedOnTheHost() throws {
        let box = try Self.box()
        try box.directory.link("to-d", to: "d")
        #expect(try box.run(["-v", "./to-d:/m"], probe: "cat", "/m/f").output == "in d")
    }

    @Test(arguments: ["a b", "a,b", "a:b", "a\nb", "a\tb", "a\\040b", "a=b", "a\"b", "é", "-v", "..."])
    func namesMayHoldAnything(_ name: String) throws {
        let box = try Self.box()
        try box.directory.write("odd", to: "odd/" + name)
        // A comma has no way into --mount, nor a colon into -v: each option serves for the other's.
        let (source, target) = (box.path("odd/" + name), "/m/" + name)
        let options =
            name.contains(",")
            ? ["-v", "\(source):\(target)"] : ["--mount", "type=bind,source=\(source),target=\(target)"]
        let ended = try box.run(options, probe: "cat", target)
        #expect(ended.output == "odd", "\(ended)")
    }

    // MARK: What can not be mounted

    struct Refusal: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let options: [String]
        let says: [String]
    }

    static let refusals: [Refusal] = [
        Refusal(
            testDescription: "source missing", options: ["-v", "./missing:/m"],
            says: ["missing", "does not exist on this host"]),
        Refusal(
            testDescription: "source missing below a file", options: ["-v", "./f/x:/m"],
            says: ["Not a directory (ENOTDIR)"]),
        Refusal(
            testDescription: "file over a directory", options: ["-v", "./f:/bin"],
            says: ["on /bin: one is a directory and the other is a file"]),
        Refusal(
            testDescription: "directory over a file", options: ["-v", "./d:/etc/group"],
            says: ["on /etc/group: one is a directory and the other is a file"]),
        Refusal(
            testDescription: "below a file", options: ["-v", "./d:/etc/group/x"],
            says: ["/etc/group/x", "no directory"]),
        Refusal(
            testDescription: "upwards out of the root", options: ["-v", "./d:/../x"],
            says: ["/../x", "leaves the rootfs"]),
        Refusal(
            testDescription: "upwards from inside", options: ["-v", "./d:/bin/../../x"], says: ["leaves the rootfs"]),
        Refusal(
            testDescription: "through a link out", options: ["-v", "./d:/out/x"],
            says: ["symbolic link to ../../.. there, which leaves the rootfs"]),
        Refusal(
            testDescription: "on a link out", options: ["-v", "./d:/out"],
            says: ["symbolic link to ../../.. there, which leaves the rootfs"]),
        Refusal(
            testDescription: "links in a circle", options: ["-v", "./d:/circle/x"], says: ["too many symbolic links"]),
        Refusal(
            testDescription: "the root itself", options: ["-v", "./d:/"],
            says: ["a path below / inside the container"]),
        Refusal(
            testDescription: "the root by a link", options: ["--mount", "type=tmpfs,target=/top"],
            says: ["cannot mount on /top: it is the container's root"]),
        Refusal(
            testDescription: "device missing", options: ["--device", "/dev/missing"],
            says: ["/dev/missing", "does not exist on this host"]),
        Refusal(
            testDescription: "device that is none", options: ["--device", "/dev/../etc/passwd"], says: ["is not a device node"]),
    ]

    @Test(arguments: refusals) func whatCanNotBeMountedIsRefusedAndNamed(_ refusal: Refusal) throws {
        let box = try Self.box()
        try box.directory.link("rootfs/out", to: "../../..")
        try box.directory.link("rootfs/circle", to: "circle")
        try box.directory.link("rootfs/top", to: "/")
        box.give("rootfs")
        let before = try box.fingerprint()
        let ended = try box.run(refusal.options, probe: "ls", "/")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.hasPrefix("berth: "))
        for words in refusal.says { #expect(ended.errors.contains(words), "\(ended)") }
        #expect(try box.fingerprint() == before)
    }

    @Test(.needsRoot) func aSourceThatTheCallerMayNotReachIsRefused() throws {
        let box = try Self.box()
        try box.directory.write("secret", to: "closed/secret")
        chmod(box.path("closed"), 0o700)
        let ended = try box.run(["-v", "./closed/secret:/m"], probe: "cat", "/m")
        #expect(ended.status == 125)
        #expect(ended.errors.contains("Permission denied (EACCES)"), "\(ended)")
    }

    @Test(arguments: Caller.all) func devicesAndDirectoriesOfDevicesAreShown(_ caller: Caller) throws {
        let ended = try Self.box(caller).run(
            ["--device", "/dev/zero:/dev/other", "--device", "/dev/shm:/dev/dir"], probe: "stat", "/dev/other",
            "/dev/dir", "--", "open", "/dev/other")
        #expect(
            ended.lines.map { $0.split(separator: " ").dropFirst().first } == ["character", "directory", "ok"],
            "\(ended)")
    }

    // MARK: Links inside

    @Test(arguments: Caller.all) func aLinkInsideLeadsToItsTargetInside(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.makeDirectory("rootfs/real")
        try box.directory.link("rootfs/relative", to: "real")
        try box.directory.link("rootfs/absolute", to: "/real")
        try box.directory.link("rootfs/sub/up", to: "../real")
        box.give("rootfs")
        for target in ["/relative/x", "/absolute/x", "/sub/up/x", "/sub/../absolute/../relative/x"] {
            #expect(try box.run(["-v", "./d:\(target)"], probe: "cat", "/real/x/f").output == "in d", "\(target)")
        }
        #expect(try box.run(["-v", "./d:/absolute"], probe: "cat", "/real/f").output == "in d")
    }

    /// CVE-2021-30465, CVE-2024-1753. An absolute link is read inside: /var/tmp of the host must not be where it leads.
    @Test(arguments: Caller.all) func anAbsoluteLinkToAPlaceOfTheHostStaysInside(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.makeDirectory("outside", mode: 0o777)
        try box.directory.link("rootfs/out", to: box.path("outside"))
        box.give("rootfs")
        let ended = try box.run(["-v", "./d:/out/sub"], probe: "cat", "/out/sub/f", "--", "stat", "/out")
        #expect(ended.output.hasPrefix("in d/out: symlink"), "\(ended)")
        #expect(!box.directory.exists("outside/sub"))
    }

    /// A link that an earlier volume brings along is the user's own directory's: it can lead nowhere but inside.
    @Test(arguments: Caller.all) func aLinkInAVolumeStaysInside(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.makeDirectory("outside", mode: 0o777)
        try box.directory.link("d/out", to: box.path("outside"))
        let ended = try box.run(["-v", "./d:/d", "-v", "./f:/d/out/f"], probe: "cat", box.path("outside/f"))
        #expect(ended.output == "f", "\(ended)")
        #expect(!box.directory.exists("outside/f"))
    }

    /// The launcher remembers the directory it has last walked to; a mount that covers it must make it forget.
    @Test(arguments: [
        ["./f:/m/x/one", "./e:/link/x", "./f:/m/x/two"], ["./f:/m/x/one", "./e:/m/x/", "./f:/m/x/two"],
        ["./f:/m/x/one", "./e:/m//x", "./f:/m/x/two"],
        ["./f:/m/x/one", "./e:/m/./x", "./f:/m/x/two"], ["./f:/m/x/one", "./e:/m/x/../x", "./f:/m/x/two"],
        ["./e:/m/x/", "./f:/m/x/two"],
        ["./f:/m/x/one", "./e:/m", "./f:/m/x/two"], ["./f:/link/x/one", "./e:/m/x", "./f:/link/x/two"],
        ["./f:/m//x/one", "./e:/m/x", "./f:/m//x/two"],
    ]) func aFileMountedAfterItsDirectoryLiesOverIt(_ volumes: [String]) throws {
        let box = try Self.box()
        try box.directory.makeDirectory("rootfs/m/x")
        try box.directory.makeDirectory("e/x")
        try box.directory.link("rootfs/link", to: "m")
        box.give("rootfs")
        box.give("e")
        let ended = try box.run(volumes.flatMap { ["-v", $0] }, probe: "cat", "/m/x/two")
        #expect(ended.output == "f", "\(ended)")
    }

    // MARK: tmpfs

    @Test(arguments: Caller.all) func aTmpfsHasItsSizeAndMode(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.run(
            [
                "--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700", "--mount", "type=tmpfs,dst=/new/u",
                "--mount", "type=tmpfs,dst=/r,ro",
            ],
            probe: "stat", "/t", "/new/u", "--", "statfs", "/t", "--", "write", "/t/f", "x", "--", "write", "/r/f", "x",
            "--", "mounts", "/t")
        let own = "\(caller.user):\(caller.group)"
        #expect(
            ended.lines.prefix(5) == [
                "/t: directory 0700 \(own)", "/new/u: directory 1777 \(own)", "/t: type=1021994 bytes=1048576",
                "/t/f: ok", "/r/f: EROFS",
            ], "\(ended)")
        #expect(ended.lines.last?.contains("nosuid,nodev") == true)
    }

    @Test(arguments: Caller.all) func dockersTmpfsIsTheSame(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.run(
            ["--tmpfs", "/t:size=1m,mode=700,noexec", "--tmpfs=/new/u", "--tmpfs", "/r:ro"],
            probe: "stat", "/t", "/new/u", "--", "statfs", "/t", "--", "write", "/t/f", "x", "--", "write", "/r/f", "x",
            "--", "mounts", "/t")
        let own = "\(caller.user):\(caller.group)"
        #expect(
            ended.lines.prefix(5) == [
                "/t: directory 0700 \(own)", "/new/u: directory 1777 \(own)", "/t: type=1021994 bytes=1048576",
                "/t/f: ok", "/r/f: EROFS",
            ], "\(ended)")
        #expect(ended.lines.last?.contains("nosuid,nodev,noexec") == true)
    }

    // MARK: Bytes and places

    /// On an existing directory, on a missing one, and through `--mount`.
    @Test(arguments: Caller.all) func aTargetNeedNotBeText(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.shell(
            #"""
            t=$(printf '/m\377'); mkdir "rootfs$t"; n=$(printf '/new\376/x')
            exec "$BERTH" run -v "./d:$t" -v "./f:$n" --mount "type=tmpfs,target=$t/t" "$IMAGE" -- \
                probe cat "$t/f" "$n" -- statfs "$t/t" -- ls "$t"
            """#
        ).run()
        #expect(ended.status == 0 && ended.output.hasPrefix("in df"), "\(ended)")
        #expect(ended.output.contains("type=1021994"), "\(ended)")
        #expect(ended.lines.last?.hasSuffix(": f t") == true, "\(ended)")
    }

    /// Taken for `/`, a relative path would show all of the host.
    @Test(arguments: ["-v .:/x IMAGE", "dir:.", "--mount src=./d,dst=/x IMAGE"])
    func nothingIsRelativeToADirectoryThatIsGone(_ words: String) throws {
        let box = try Self.box()
        let ended = try box.shell(
            "cd home && mkdir gone && cd gone && rmdir ../gone && exec \"$BERTH\" run "
                + words.replacingOccurrences(of: "IMAGE", with: "\"$IMAGE\"") + " -- probe id"
        ).run()
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("the current directory no longer exists"), "\(ended)")
    }

    // MARK: Home

    @Test(arguments: Caller.all) func homeIsMountedOnlyWhenAskedFor(_ caller: Caller) throws {
        let box = try Self.box(caller)
        // The one that HOME names; as root the account's, whatever HOME says.
        let home = Caller.isRoot && caller == .root ? caller.home : box.environment["HOME"] ?? caller.home
        guard FileManager.default.fileExists(atPath: home) else { return }
        let inside = try box.run(["--home"], probe: "identity", home, "--", "env", "HOME")
        let outside = try Command([box.fixture.probe, "identity", home]).run()
        #expect(inside.lines == outside.lines + ["HOME=\(home)"], "\(inside)")
        let without = try box.run(probe: "identity", home, "--", "env", "HOME")
        #expect(without.lines.first != outside.lines.first && without.lines.last == "HOME=\(caller.home)", "\(without)")
        try box.directory.write("home = yes\n", to: "berth.conf")
        #expect(try box.run(probe: "identity", home).lines == outside.lines)
        #expect(try box.run(["--no-home"], probe: "identity", home).lines != outside.lines)
    }

    @Test(.needsRoot) func withoutAHomeThereIsAnEmptyOneToWriteIn() throws {
        let box = try Self.box(.ordinary)
        let ended = try box.run(probe: "ls", box.caller.home, "--", "write", box.caller.home + "/f", "x")
        #expect(ended.lines == ["\(box.caller.home):", "\(box.caller.home)/f: ok"], "\(ended)")
    }

    // MARK: The site's

    @Test(arguments: Caller.all) func theSitesMountsComeFirstAndAbsentOnesMayBePassedOver(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.write(
            "mount = \(box.path("d")) /site none ro\nmount = /nonexistent /x none nofail\nmount = tmpfs /ram tmpfs size=1m\n",
            to: "berth.conf")
        let ended = try box.run(
            ["-v", "./f:/site/f"], probe: "cat", "/site/f", "--", "write", "/site/new", "x", "--", "stat", "/x", "--",
            "write", "/ram/x", "")
        #expect(ended.output == "f/site/new: EROFS\n/x: ENOENT\n/ram/x: ok\n", "\(ended)")
        try box.directory.write("mount = /nonexistent /x\n", to: "berth.conf")
        let missing = try box.run(probe: "id")
        #expect(missing.status == 125)
        #expect(missing.errors.contains("berth.conf: \(box.path("berth.conf")):1"), "\(missing)")
    }

    @Test(arguments: Caller.all) func aScratchDirectoryHoldsTheWritesAndIsSweptByTheNextLaunch(_ caller: Caller) throws
    {
        let box = try Self.box(caller)
        try box.directory.makeDirectory("scratch", mode: 0o1777)
        try box.directory.write("scratch = \(box.path("scratch"))\n", to: "berth.conf")
        let own = "scratch/berth-\(caller.user)"
        func inside() -> [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: box.path(own))) ?? []).sorted()
        }  // absent: none
        let first = try box.run(probe: "write", "/f", "x", "--", "mkdir", "/d", "--", "chmod", "000", "/d", "--", "fds")
        #expect(first.lines.prefix(3) == ["/f: ok", "/d: ok", "/d: ok"], "\(first)")
        #expect(first.lines.dropFirst(3).count == 1, "the lease alone is handed on: \(first)")
        #expect(inside().count == 1)
        let running = try box.command(probe: ["write", "/g", "x", "--", "signal", "\(SIGTERM)"]).start()
        try running.until("ready") { $0.printed.hasSuffix("ready\n") }
        let held = inside()
        #expect(held.count == 1, "the first one's is gone")
        _ = try box.run(probe: "stat", "/g")
        #expect(Set(held).isSubset(of: Set(inside())), "one in use stays")
        running.signal(SIGTERM)
        _ = try running.wait()
        _ = try box.run(probe: "id")
        #expect(inside().count == 1)
    }

    /// Each sweeps what the dead have left; none may take another's for dead.
    @Test(arguments: Caller.all) func manyLaunchesWithAScratchDirectoryAtOnce(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.makeDirectory("scratch", mode: 0o1777)
        try box.directory.write("scratch = \(box.path("scratch"))\n", to: "berth.conf")
        let running = try (0..<32).map { number in
            try box.command(probe: ["write", "/f", "\(number)", "--", "cat", "/f", "--", "exit", "\(number)"]).start()
        }
        for (number, task) in running.enumerated() {
            let ended = try task.wait()
            #expect(ended.status == Int32(number) && ended.output == "/f: ok\n\(number)", "\(ended)")
        }
    }

    @Test(.needsRoot) func aScratchDirectoryThatSomebodyElseMadeIsNotUsed() throws {
        let box = try Self.box(.ordinary)
        try box.directory.makeDirectory("scratch", mode: 0o1777)
        try box.directory.makeDirectory("scratch/berth-\(box.caller.user)", mode: 0o777)
        try box.directory.write("scratch = \(box.path("scratch"))\n", to: "berth.conf")
        let ended = try box.run(probe: "id")
        #expect(ended.status == 0, "\(ended)")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: box.path("scratch/berth-\(box.caller.user)")).isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: box.path("scratch")).count == 2)
    }
}
