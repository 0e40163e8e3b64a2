import Foundation
import Testing
import TestSupport

/// What the launcher makes for a container is the container's: nothing is written to, or removed from, what is mounted.
@Suite(.needsLauncher) struct HostDirectoriesTests {
    /// A directory of the host that has something else under each name that the launcher writes.
    static func box(_ caller: Caller) throws -> Box {
        let box = try Box(caller)
        for name in [
            "hostname", "hosts", "resolv.conf", "localtime", "passwd", "group", "ld.so.cache", "home", "proc", "sys",
            "dev",
        ] { try box.directory.write("the host's", to: "d/\(name)/kept") }
        box.give("d")
        return box
    }

    @Test(
        arguments: Caller.all,
        [
            ["-v", "./d:/etc"], ["-v", "./d:/etc", "--read-only"], ["-v", "./d:/etc", "--root"],
            ["--mount", "type=bind,src=./d,dst=/etc"],
        ])
    func aDirectoryOverEtcIsLeftAlone(_ caller: Caller, _ options: [String]) throws {
        let box = try Self.box(caller)
        let before = try box.fingerprint("d")
        let ended = try box.run(["--hostname", "trainer"] + options, probe: "hostname", "--", "ls", "/etc/hostname")
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.last == "/etc/hostname: kept", "\(ended)")
        #expect(try box.fingerprint("d") == before)
    }

    /// Every directory that the launcher writes in, as a link of the image's to where the volume is.
    @Test(arguments: Caller.all, ["etc", "home", "usr", "lib", "root", "run", "var"])
    func anImagesLinkToAVolumeLeadsNothingIntoIt(_ caller: Caller, _ name: String) throws {
        let box = try Self.box(caller)
        try? FileManager.default.removeItem(atPath: box.path("rootfs/" + name))  // absent: to be made
        try box.directory.makeDirectory("rootfs/data")
        try box.directory.link("rootfs/" + name, to: "/data")
        box.give("rootfs")
        let before = try box.fingerprint("d")
        let ended = try box.run(["--hostname", "trainer", "-v", "./d:/data"], probe: "hostname")
        #expect(ended.status == 0, "\(ended)")
        #expect(try box.fingerprint("d") == before)
    }

    @Test(arguments: Caller.all) func hostnameIsInThePlanBeforeTheFirstMount(_ caller: Caller) throws {
        let ended = try Box(caller).run(["--dry-run", "--hostname", "trainer"], probe: "id")
        let file = try #require(ended.lines.firstIndex { $0.contains("file /etc/hostname of 8 bytes") }, "\(ended)")
        let mount = try #require(ended.lines.firstIndex { $0.contains("rbind /proc on /proc") })
        #expect(file < mount)
        #expect(try Box(caller).run(["--hostname", "trainer"], probe: "cat", "/etc/hostname").output == "trainer\n")
    }

    // MARK: Mount points

    /// As with Docker; said in the plan, and never in place of anything.
    @Test(arguments: Caller.all) func aMountPointBelowAVolumeIsPlannedAndReplacesNothing(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.write("inner", to: "e/g")
        box.give("e")
        let plan = try box.run(["--dry-run", "-v", "./d:/m", "-v", "./e:/m/new"], probe: "id")
        #expect(plan.output.contains("mount point /m/new, if missing"), "\(plan)")
        #expect(!box.directory.exists("d/new"))
        let ended = try box.run(["-v", "./d:/m", "-v", "./e:/m/new"], probe: "cat", "/m/new/g", "/m/hosts/kept")
        #expect(ended.output == "innerthe host's", "\(ended)")
        let file = try box.run(["-v", "./d:/m", "-v", "./e/g:/m/hosts"], probe: "id")
        #expect(file.status == 125 && file.errors.contains("one is a directory and the other is a file"), "\(file)")
        #expect(box.directory.text("d/hosts/kept") == "the host's")
    }

    @Test(arguments: Caller.all) func aReadOnlyVolumeWithoutTheMountPointIsNamed(_ caller: Caller) throws {
        let box = try Self.box(caller)
        try box.directory.makeDirectory("e", mode: 0o755)
        let ended = try box.run(["-v", "./d:/m:ro", "-v", "./e:/m/new"], probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("d/new does not exist, and the volume /m is read-only"), "\(ended)")
        #expect(ended.errors.contains("hint: create the mount point on the host first"), "\(ended)")
    }

    /// Where the image's link leads into the host's /tmp, nothing is made.
    @Test(arguments: Caller.all) func aMountPointBehindALinkToTmpIsRefused(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let name = "berth-link-\(getpid())-\(caller)"
        try box.directory.link("rootfs/link", to: "/tmp")
        box.give("rootfs")
        let ended = try box.run(["-v", "./d:/link/\(name)"], probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("cannot create /link/\(name) inside the container"), "\(ended)")
        #expect(!FileManager.default.fileExists(atPath: "/tmp/" + name))
    }

    @Test(arguments: Caller.all) func aTmpfsIsTheContainersOwn(_ caller: Caller) throws {
        let box = try Self.box(caller)
        let ended = try box.run(["--tmpfs", "/t", "-v", "./d:/t/deep/d"], probe: "cat", "/t/deep/d/hosts/kept")
        #expect(ended.output == "the host's", "\(ended)")
    }

    // MARK: What an image has in the way

    /// The host's /tmp is shown inside; an image does not get directories made in it.
    @Test(arguments: Caller.all) func aWorkingDirectoryBelowTmpIsNotMadeOnTheHost(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        let name = "/tmp/berth-workdir-\(getpid())-\(caller)"
        image.directory = name
        try image.publish()
        let ended = try image.run([], ["probe", "cwd"])
        #expect(ended.lines == ["/"] && ended.errors.contains("working directory \(name) does not exist"), "\(ended)")
        #expect(!FileManager.default.fileExists(atPath: name))
        let chosen = try image.run(["-w", name], ["probe", "cwd"])
        #expect(chosen.status == 125, "\(chosen)")
    }

    @Test(.needsRoot, arguments: ["file", "link to nowhere", "link upwards", "link to itself"])
    func withoutAPlaceForAHomeTheCommandRunsWithoutOne(_ kind: String) throws {
        let box = try Box(.ordinary)
        let top = String(box.caller.home.split(separator: "/").first ?? "home")
        switch kind {
        case "file": try box.directory.write("", to: "rootfs/" + top)
        case "link upwards": try box.directory.link("rootfs/" + top, to: "../..")
        case "link to itself": try box.directory.link("rootfs/" + top, to: top)
        default: try box.directory.link("rootfs/" + top, to: "/nowhere")
        }
        box.give("rootfs")
        let ended = try box.run(probe: "exit", "42")
        #expect(ended.status == 42, "\(ended)")
        if kind != "link to nowhere" {
            #expect(ended.errors.contains("cannot create the home directory \(box.caller.home)"), "\(ended)")
        }
        #expect(try box.run(["-q"], probe: "exit").errors.isEmpty)
    }

    @Test(arguments: Caller.all, ["/", "/.", "/usr/..", "/proc/self/root"])
    func theHostsRootIsNoImage(_ caller: Caller, _ path: String) throws {
        let before = try FileManager.default.contentsOfDirectory(atPath: "/").sorted()
        let ended = try Box(caller).run(berth: ["run", "dir:" + path, "--", "true"])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("it is the root of this host"), "\(ended)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: "/").sorted() == before)
    }

    @Test(.needsRoot) func aWorkingDirectoryThatOnlyRootMayEnterIsEntered() throws {
        var image = try StoredBox(.root)
        image.user = "web"
        image.directory = "/work"
        try image.addLayer { place in
            try FileManager.default.createDirectory(
                atPath: place + "/work", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        try image.publish()
        let ended = try image.run([], ["/bin/probe", "id", "--", "ls", "/work"])
        #expect(ended.status == 0 && ended.output.contains("uid=33") && ended.output.contains("EACCES"), "\(ended)")
    }

    @Test(arguments: Caller.all) func anEmptyEntrypointIsNone(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.entrypoint = [""]
        image.command = ["/bin/probe", "exit", "42"]
        try image.publish()
        #expect(try image.run().status == 42)
        #expect(try image.run([], ["/bin/probe", "exit", "43"]).status == 43)
    }
}
