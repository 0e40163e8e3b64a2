import Foundation
import Testing
import TestSupport

/// An image in a store, laid out by hand: what the launcher reads is a format, not whatever this version writes.
struct StoredBox {
    let box: Box
    let digest = "sha256-" + String(repeating: "1a", count: 32)
    var environment: [String] = []
    var entrypoint: [String] = []
    var command: [String] = []
    var user = ""
    var directory = ""
    var overlay = true
    private var layers: [String] = []

    init(_ caller: Caller) throws {
        box = try Box(caller)
        for name in [
            "refs/docker/docker.io/library/test", "images/" + digest, "layers", "rootfs", "drafts", "locks", "mount",
        ] { try box.directory.makeDirectory("store/" + name) }
        try box.directory.write("berth-store 1\n", to: "store/version")
        let box = box
        try addLayer { place in
            try FileManager.default.createDirectory(atPath: place + "/bin", withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: place + "/bin/probe")
            try FileManager.default.createDirectory(atPath: place + "/etc", withIntermediateDirectories: true)
            for name in ["passwd", "group"] {
                try FileManager.default.copyItem(atPath: box.path("rootfs/etc/" + name), toPath: place + "/etc/" + name)
            }
        }
    }

    var store: String { box.path("store") }
    var lease: String { "\(store)/images/\(digest)/lease" }

    mutating func addLayer(_ fill: (String) throws -> Void) throws {
        let name = "layers/sha256-" + String(format: "%064x", layers.count)
        try fill(try box.directory.makeDirectory("store/\(name)/tree"))
        layers.append(name + "/tree")
    }

    mutating func addLayer(_ files: [String: String]) throws {
        try addLayer { place in
            for (name, text) in files {
                let path = place + "/" + name
                try FileManager.default.createDirectory(
                    atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
                try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            }
        }
    }

    func publish() throws {
        var record = "berth-launch-record 1\n"
        func add(_ name: String, _ value: String) { record += name + "=" + value + "\u{0}" }
        add("digest", digest.replacingOccurrences(of: "-", with: ":"))
        #if arch(arm64)
            add("platform", "linux/arm64")
        #else
            add("platform", "linux/amd64")
        #endif
        for layer in layers { add("tree", layer) }
        add("overlay", overlay ? "yes" : "no")
        for entry in environment { add("env", entry) }
        for word in entrypoint { add("entrypoint", word) }
        for word in command { add("command", word) }
        add("user", user)
        add("workdir", directory)
        add("name", "test:1")
        try box.directory.write(record, to: "store/images/\(digest)/record")
        try box.directory.write("", to: "store/images/\(digest)/lease")
        try box.directory.write(
            digest.replacingOccurrences(of: "-", with: ":") + "\n", to: "store/refs/docker/docker.io/library/test/:1")
        box.give("store")
    }

    func run(_ options: [String] = [], _ command: [String] = [], environment: [String: String] = [:]) throws -> Ended {
        try box.run(
            berth: ["run", "--pull", "never", "--store", store] + options + ["test:1"] + command,
            environment: environment)
    }
}

@Suite(.needsLauncher) struct StoredImageTests {
    @Test(arguments: Caller.all) func layersAreJoinedTheLastOnTop(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        try image.addLayer(["a": "lower", "d/b": "lower", "gone": "lower", "both": "lower"])
        try image.addLayer(["a": "upper", "d/c": "upper"])
        let made = try Command([
            "mknod", image.box.path("store/layers/sha256-" + String(format: "%064x", 2) + "/tree/gone"), "c", "0", "0",
        ]).run()
        #expect(made.status == 0)
        try image.publish()
        let before = try image.box.fingerprint("store")
        let ended = try image.run(
            [],
            [
                "probe", "cat", "/a", "/d/b", "/d/c", "/both", "--", "stat", "/gone", "--", "write", "/d/b", "x", "--",
                "rm", "/a",
            ])
        #expect(ended.output == "upperlowerupperlower/gone: ENOENT\n/d/b: ok\n/a: ok\n", "\(ended)")
        #expect(try image.box.fingerprint("store") == before)
    }

    /// As few as mount(2)'s page of options holds by their names, about as many, and as many as an image may have.
    @Test(arguments: Caller.all, [12, 20, 30, 46, 127, 230, 231, 232, 300, 499, 500])
    func layersByTheDozen(_ caller: Caller, _ count: Int) throws {
        var image = try StoredBox(caller)
        for number in 1..<count { try image.addLayer(["n\(number)": "\(number) "]) }
        try image.publish()
        let names = (1..<count).map { "/n\($0)" }
        let ended = try image.run([], ["probe", "cat"] + names + ["--", "write", "/new", "x"])
        #expect(ended.output == (1..<count).map { "\($0) " }.joined() + "/new: ok\n", "\(ended)")
        // With fewer descriptors than layers to begin with.
        let few = try image.box.shell(
            "ulimit -Sn 64; exec \"$BERTH\" run --pull never --store \"$HERE/store\" test:1 probe cat /n1 /n\(count - 1)"
        ).run()
        #expect(few.output == "1 \(count - 1) ", "\(few)")
        #expect(try image.run(["--dry-run"], ["probe"]).output.contains("root overlay of "))
    }

    /// A pull merges them; a store of an older version may still have one.
    @Test(arguments: Caller.all) func moreLayersThanOverlayfsJoinsAreRefusedInAFewLines(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        for number in 1...500 { try image.addLayer(["n\(number)": "\(number) "]) }
        try image.publish()
        let ended = try image.run([], ["probe", "id"])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.hasPrefix("berth: cannot join the image's 501 layers: overlayfs supports at most 500\n"), "\(ended)")
        #expect(ended.errors.utf8.count < 1000, "\(ended)")
    }

    @Test(arguments: Caller.all) func theImagesConfigurationIsHonoured(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.environment = ["PATH=/sbin:/bin", "A=image", "B=image"]
        image.entrypoint = ["probe", "args"]
        image.command = ["default", "command"]
        image.directory = "/made/here"
        try image.publish()
        #expect(try image.run().lines == ["[default] [command]"])
        #expect(try image.run([], ["given"]).lines == ["[given]"])
        let shown = try image.run(
            ["--entrypoint", "probe", "-e", "B=option"],
            ["env", "PATH", "A", "B", "BERTH_IMAGE", "BERTH_IMAGE_DIGEST", "--", "cwd"])
        #expect(
            shown.lines == [
                "PATH=/sbin:/bin", "A=image", "B=option", "BERTH_IMAGE=test:1",
                "BERTH_IMAGE_DIGEST=sha256:" + image.digest.dropFirst(7), "/made/here",
            ], "\(shown)")
        #expect(try image.run(["--entrypoint", "probe"]).output == "", "the image's CMD goes with its ENTRYPOINT")
    }

    struct User: Sendable { let text, identity, home: String }

    @Test(
        .needsRoot,
        arguments: [
            User(text: "web", identity: "uid=33,33,33 gid=34,34,34 groups=110", home: "/srv"),
            User(text: "33", identity: "uid=33,33,33 gid=34,34,34 groups=110", home: "/srv"),
            User(text: "web:ssl", identity: "uid=33,33,33 gid=110,110,110 groups=", home: "/srv"),
            User(text: "1234:5", identity: "uid=1234,1234,1234 gid=5,5,5 groups=", home: "/"),
            User(text: "root", identity: "uid=0,0,0 gid=0,0,0 groups=", home: "/root"),
        ]) func theImagesUserIsWhoRunsWhereBerthIsRoot(_ user: User) throws
    {
        var image = try StoredBox(.root)
        image.user = user.text
        image.command = ["probe", "id", "--", "env", "HOME", "--", "caps"]
        try image.publish()
        let ended = try image.run()
        #expect(ended.lines.prefix(2) == [user.identity, "HOME=" + user.home], "\(ended)")
        if user.text != "root" {
            #expect(
                ended.lines.contains("CapEff: 0000000000000000") && ended.lines.contains("CapPrm: 0000000000000000"),
                "\(ended)")
        }
        #expect(try image.run(["--root"]).lines.first?.hasPrefix("uid=0,0,0") == true)
    }

    @Test(.needsRoot, arguments: ["nobodyknows", "web:nogroup", "4294967295", "0:4294967295"])
    func aUserOfTheImagesThatIsNoneIsRefused(_ user: String) throws {
        var image = try StoredBox(.root)
        image.user = user
        image.command = ["probe", "id"]
        try image.publish()
        let ended = try image.run()
        #expect(ended.status == 125)
        #expect(ended.errors.contains("berth: user \"\(user)\"") && ended.output.isEmpty, "\(ended)")
    }

    @Test func forAnOrdinaryCallerTheImagesUserIsHimself() throws {
        var image = try StoredBox(.ordinary)
        image.user = "web"
        image.command = ["probe", "id"]
        try image.publish()
        #expect(try image.run().lines.first?.hasPrefix("uid=\(image.box.caller.user),") == true)
    }

    /// CVE-2024-21626 and GHSA-q6r4-3wmg-fwcq, from the image's side.
    @Test(arguments: [
        "/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/cwd", "/../../../etc", "relative", "/bin/probe", "/a/../../x",
    ])
    func aHostileWorkingDirectoryLeadsNowhere(_ directory: String) throws {
        for caller in Caller.all {
            var image = try StoredBox(caller)
            image.directory = directory
            image.command = ["probe", "cwd"]
            try image.publish()
            let before = try image.box.fingerprint("store")
            let ended = try image.run()
            #expect(ended.status == 125 || ended.lines.first?.hasPrefix("/") == true, "\(ended)")
            if directory.hasPrefix("/proc/self/fd") { #expect(ended.status == 125, "\(ended)") }
            #expect(try image.box.fingerprint("store") == before)
        }
    }

    // MARK: The lease

    @Test(arguments: Caller.all) func theLeaseIsHeldAsLongAsTheCommandRuns(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.command = ["probe", "fds", "--", "signal", "15"]
        try image.publish()
        let running = try image.box.command(berth: ["run", "--pull", "never", "--store", image.store, "test:1"]).start()
        try running.until("ready") { $0.printed.hasSuffix("ready\n") }
        let lines = running.printed.split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasSuffix("/lease"), "the lease alone is handed on: \(running.printed)")
        #expect(try !FileLocks.isFree(image.lease, .exclusive))
        #expect(try FileLocks.isFree(image.lease, .shared))
        running.signal(SIGTERM)
        _ = try running.wait()
        #expect(try FileLocks.isFree(image.lease, .exclusive))
    }

    @Test(arguments: Caller.all) func anImageThatIsBeingCollectedIsWaitedFor(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.command = ["probe", "id"]
        try image.publish()
        let collecting = try FileLocks.hold(image.lease, .exclusive)
        let ended = try image.run()
        #expect(ended.status == 125)
        #expect(ended.errors.contains("is locked by the owner of the store"), "\(ended)")
        #expect(!ended.errors.contains("not in the store"), "\(ended)")
        withExtendedLifetime(collecting) {}
    }

    /// Locks of flock(2) need no right to write: any user can take them, and they mean nothing.
    @Test(arguments: Caller.all, ["-x", "-s"]) func aStrangersFlockHidesNoImage(_ caller: Caller, _ kind: String) throws
    {
        var image = try StoredBox(caller)
        image.command = ["probe", "id"]
        try image.publish()
        let stranger = try Command(["flock", kind, "-F", image.lease, "sleep", "60"]).start()
        defer { stranger.signal(SIGKILL) }
        try stranger.until("the lock") { _ in
            (try? Command(["flock", "-xn", image.lease, "true"]).run().status) == 1  // then not yet
        }
        #expect(try image.run().status == 0)
    }

    /// Lustre without `flock` and NFS without a lock server answer so: locks save work, nothing rests on them.
    @Test(.needsStrace, arguments: Caller.all, ["ENOLCK", "EOPNOTSUPP"])
    func aFileSystemWithoutLocksIsGoodEnoughToRunFrom(_ caller: Caller, _ error: String) throws {
        let image = try StoredBox(caller)
        try image.publish()
        // The first call on the lease is the lock.
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-P", image.lease, "-e", "trace=fcntl", "-e",
            "inject=fcntl:error=\(error):when=1",
        ]
        let berth = [
            image.box.fixture.berth, "run", "--pull", "never", "--store", image.store, "test:1", "probe", "exit", "4",
        ]
        let ended = try Command(
            caller.running(trace + berth), environment: image.box.environment, directory: image.box.directory.path
        ).run()
        #expect(ended.status == 4, "\(ended)")
    }

    // MARK: Where the store is

    @Test func theStoreMayBeNamedInThreeWays() throws {
        var image = try StoredBox(.any)
        image.command = ["probe", "exit", "4"]
        try image.publish()
        let berth = ["run", "--pull", "never", "test:1"]
        #expect(try image.box.run(berth: berth, environment: ["BERTH_STORE": image.store]).status == 4)
        #expect(
            try image.box.run(berth: berth, environment: ["XDG_DATA_HOME": image.box.path("nowhere")]).status == 125)
        try image.box.directory.write("store = \(image.store)\n", to: "berth.conf")
        #expect(try image.box.run(berth: berth).status == 4)
        #expect(try image.run(["--platform", "linux/s390x"]).status == 125)
    }

    @Test(.needsRoot, arguments: Caller.all) func aReadOnlyStoreIsGoodEnoughToRunFrom(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.command = ["probe", "write", "/x", "y"]
        try image.publish()
        let script = "mount --bind store store && mount -o remount,ro,bind store && exec \"$@\""
        let berth = caller.running([
            image.box.fixture.berth, "run", "--pull", "never", "--store", image.store, "test:1",
        ])
        let ended = try Command(
            ["unshare", "-m", "sh", "-ec", script, "sh"] + berth, environment: image.box.environment,
            directory: image.box.directory.path
        ).run()
        #expect(ended.lines == ["/x: ok"], "\(ended)")
    }

    @Test(.needsRoot) func aStoreOfTheAdministratorsServesEverybody() throws {
        var image = try StoredBox(.ordinary)
        image.command = ["probe", "cat", "/etc/passwd", "--", "open", "/dev/null"]
        try image.publish()
        _ = try Command(["chown", "-R", "0:0", image.store]).run()
        let ended = try image.run()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.first?.hasPrefix("\(image.box.caller.name):x:") == true, "\(ended)")
        #expect(ended.lines.last == "/dev/null: ok")
    }

    // MARK: --dry-run=oci

    /// The number of "web", as `--dry-run=oci` finds it.
    func dryRun(_ image: StoredBox) throws -> (user: String?, ended: Ended) {
        let ended = try image.box.run(berth: [
            "run", "--dry-run=oci", "--pull", "never", "--store", image.store, "--user", "web", "test:1",
        ])
        let words = ended.output.split { " \n,:{}".contains($0) }
        return (words.firstIndex(of: "\"uid\"").map { String(words[$0 + 1]) }, ended)
    }

    @Test(.needsRoot) func theLookedUpUserIsTheOneThatTheMergedImageHas() throws {
        func image(_ fill: (String) throws -> Void) throws -> StoredBox {
            var image = try StoredBox(.root)
            image.command = ["probe", "id"]
            try image.addLayer { place in
                try FileManager.default.createDirectory(atPath: place + "/etc", withIntermediateDirectories: true)
                try fill(place)
            }
            try image.publish()
            return image
        }
        let lower = try image { _ in }
        let below = try dryRun(lower)
        #expect(below.user == "33", "\(below.ended)")
        let link = try image { place in
            try Data("web:x:77:78::/:/bin/sh\n".utf8).write(to: URL(fileURLWithPath: place + "/users"))
            try FileManager.default.createSymbolicLink(atPath: place + "/etc/passwd", withDestinationPath: "../users")
        }
        let linked = try dryRun(link)
        #expect(linked.user == "77", "\(linked.ended)")
        let removed = try image { place in _ = mknod(place + "/etc/passwd", S_IFCHR, 0) }
        let hidden = try image { place in
            let ended = try Command(
                [
                    "python3", "-c", "import os,sys; os.setxattr(sys.argv[1], 'trusted.overlay.opaque', b'y')",
                    place + "/etc",
                ]
            ).run()
            #expect(ended.status == 0, "\(ended)")
        }
        for image in [removed, hidden] {
            let ended = try dryRun(image).ended
            #expect(ended.status == 125 && ended.errors.contains("\"web\" is not in /etc/passwd"), "\(ended)")
        }
        let large = try image { place in
            try Data().write(to: URL(fileURLWithPath: place + "/etc/passwd"))
            #expect(truncate(place + "/etc/passwd", 17 << 20) == 0)
        }
        let ended = try dryRun(large).ended
        #expect(ended.status == 125 && ended.errors.contains("larger than 16 MiB"), "\(ended)")
    }

    // MARK: Without an overlay

    @Test(arguments: Caller.all) func aTreeIsShownReadOnlyWithTheCallersNames(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.overlay = false
        for name in ["dev", "proc", "sys", "tmp", "data"] {
            try image.box.directory.makeDirectory("store/layers/sha256-" + String(format: "%064x", 0) + "/tree/" + name)
        }
        image.command = [
            "probe", "cat", "/etc/passwd", "--", "write", "/x", "y", "--", "write", "/etc/passwd", "y", "--", "open",
            "/dev/null", "--", "ls", "/data", "--", "mounts", "/",
        ]
        try image.publish()
        try image.box.directory.makeDirectory("data")
        try image.box.directory.write("", to: "data/file")
        let before = try image.box.fingerprint("store")
        let ended = try image.run(["-v", "./data:/data"])
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.first?.hasPrefix("\(caller.name):x:") == true, "\(ended)")
        #expect(
            ended.lines.contains("/x: EROFS") && ended.lines.contains("/dev/null: ok")
                && ended.lines.contains("/data: file"), "\(ended)")
        let options = ended.lines.last?.split(separator: " ").last?.split(separator: ",") ?? []
        #expect(options.contains("ro") && options.contains("nosuid") && options.contains("nodev"), "\(ended)")
        #expect(try image.box.fingerprint("store") == before)
        let missing = try image.run(["-v", "./data:/nowhere"])
        #expect(missing.status == 125)
        #expect(missing.errors.contains("cannot mount on /nowhere: the image lacks this path"), "\(missing)")
        #expect(try image.box.fingerprint("store") == before)
    }

    @Test(arguments: Caller.all, ["/dev", "/proc", "/sys", "/tmp", "/etc/passwd"]) func hostileTreesReachNothing(
        _ caller: Caller, _ path: String
    ) throws {
        var image = try StoredBox(caller)
        image.overlay = false
        let tree = "store/layers/sha256-" + String(format: "%064x", 0) + "/tree"
        for name in ["/dev", "/proc", "/sys", "/tmp"] where name != path {
            try image.box.directory.makeDirectory(tree + name)
        }
        try image.box.directory.write("outside", to: "outside/marker")
        image.box.give("outside")
        _ = try? FileManager.default.removeItem(atPath: image.box.path(tree + path))  // often not there
        try image.box.directory.link(tree + path, to: image.box.path("outside"))
        image.command = ["probe", "id"]
        try image.publish()
        let before = try (image.box.fingerprint("store"), image.box.fingerprint("outside"))
        let ended = try image.run()
        #expect(ended.status == 125 || (ended.status == 0 && path == "/etc/passwd"), "\(ended)")
        #expect(try (image.box.fingerprint("store"), image.box.fingerprint("outside")) == before)
    }
}
