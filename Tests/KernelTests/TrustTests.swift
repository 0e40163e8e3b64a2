import Foundation
import Testing
import TestSupport

/// Whose files decide what runs, and who is root.
@Suite(.needsLauncher) struct TrustTests {
    static func chown(_ place: String, _ user: UInt32) throws {
        _ = try Command(["chown", "-hR", "\(user):\(user)", place]).run()
    }

    // MARK: Files that decide what runs

    @Test(.needsRoot, arguments: Caller.all) func anotherUsersHomeIsNotObeyed(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("evil", to: "evil/file")
        try box.directory.write("mount = \(box.path("evil")) /evil\n", to: "mallory/.config/berth/berth.conf")
        try Self.chown(box.path("mallory"), 4321)
        let ended = try box.run(probe: "ls", "/evil", environment: ["HOME": box.path("mallory")])
        #expect(ended.status == 125 && ended.output.isEmpty, "\(ended)")
        let expected = caller == .root ? "root" : "\(caller.user) or root"
        #expect(
            ended.errors.contains(
                "refusing to use configuration \(box.path("mallory"))/.config/berth/berth.conf: \(box.path("mallory")) is "
                    + "owned by uid 4321, expected \(expected)"), "\(ended)")
        // Its own owner may.
        if caller == .ordinary {
            try Self.chown(box.path("mallory"), caller.user)
            #expect(try box.run(probe: "ls", "/evil", environment: ["HOME": box.path("mallory")]).status == 0)
        }
    }

    @Test(.needsRoot) func rootObeysRootsFilesAlone() throws {
        let box = try Box(.root)
        try box.directory.write("home = yes\n", to: "berth.conf")
        #expect(try box.run(probe: "id").status == 0)
        for (mode, owner, reason) in [(0o644, 4321, "owned by uid 4321, expected root"), (0o664, 0, "mode 664")] {
            chmod(box.path("berth.conf"), mode_t(mode))
            Foundation.chown(box.path("berth.conf"), uid_t(owner), 0)
            let ended = try box.run(probe: "id")
            #expect(ended.status == 125 && ended.errors.contains(reason), "\(ended)")
        }
    }

    @Test(.needsRoot, arguments: ["cdi", "cdi/vendor.json", "hook"]) func devicesAndHooksOfAnotherUserAreRefused(
        _ part: String
    )
        throws
    {
        let box = try Box(.root)
        let marker = box.path("marker")
        try box.directory.write("#!/bin/sh\ntouch \(marker)\n", to: "hook", mode: 0o755)
        let hook = #"{"hookName":"createContainer","path":"\#(box.path("hook"))"}"#
        try box.directory.write(
            #"{"cdiVersion":"0.5.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":{"hooks":[\#(hook)]}}]}"#,
            to: "cdi/vendor.json")
        try box.directory.write(
            "cdi-directory = \(box.path("cdi"))\ncdi-hook = \(box.path("hook"))\n", to: "berth.conf")
        Foundation.chown(box.path(part), 4321, 0)
        let ended = try box.run(
            ["--device", "v.com/c=d"], probe: "id", environment: ["BERTH_STORE": box.path("store")])
        #expect(ended.status == 125 && !box.directory.exists("marker"), "\(ended)")
        // Without berth-image beside it the launcher cannot read specifications at all.
        if part != "hook" { #expect(ended.errors.contains("owned by uid 4321, expected root"), "\(ended)") }
    }

    /// The default of Red Hat's distributions: umask 002, and a group for each user.
    @Test(.needsRoot, arguments: ["", "bob"]) func aPrivateGroupMayWrite(_ member: String) throws {
        let box = try Box(.ordinary)
        let passwd = try box.directory.write("root:x:0:0::/:/bin/sh\nada:x:4321:4321::/:/bin/sh\n", to: "passwd")
        let group = try box.directory.write("root:x:0:\nada:x:4321:\(member)\n", to: "group")
        try box.directory.write("root = yes\n", to: "home/.config/berth/berth.conf", mode: 0o664)
        try Self.chown(box.path("home"), 4321)
        chmod(box.path("home/.config"), 0o775)
        chmod(box.rootfs, 0o755)
        let script = "mount --bind \(passwd) /etc/passwd && mount --bind \(group) /etc/group && exec \"$@\""
        let ended = try Command(
            [
                "unshare", "-m", "sh", "-ec", script, "sh", "setpriv", "--reuid=4321", "--regid=4321", "--clear-groups",
                box.fixture.berth, "run", box.image, "--", "probe", "id",
            ],
            environment: box.environment, directory: box.directory.path
        ).run()
        if member.isEmpty {
            #expect(ended.status == 0 && ended.lines.first?.hasPrefix("uid=0,0,0") == true, "\(ended)")
        } else {
            #expect(ended.status == 125, "\(ended)")
            #expect(ended.errors.contains("/home/.config is writable by its group (mode 775)"), "\(ended)")
        }
    }

    @Test(.needsRoot) func aStickyDirectoryIsNotToBeChanged() throws {
        let box = try Box(.root)
        let ended = try box.run(
            berth: ["run", "--pull", "never", "example.invalid/x:1"], environment: ["BERTH_STORE": "/tmp"])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("hint: use a directory of your own below /tmp"), "\(ended)")
    }

    @Test func aConfigurationThatIsAFIFOIsRefused() throws {
        let box = try Box(.any)
        _ = mkfifo(box.path("berth.conf"), 0o600)
        box.give("berth.conf")
        let ended = try box.shell("timeout 20 \"$BERTH\" run \"$IMAGE\" -- probe id").run()
        #expect(ended.status == 125 && ended.errors.contains("it is not a regular file"), "\(ended)")
        let piped = try box.shell(
            "printf 'root = yes\\n' | timeout 20 env BERTH_CONFIG=/dev/fd/0 \"$BERTH\" run \"$IMAGE\" -- probe id"
        ).run()
        #expect(piped.status == 0, "\(piped)")
    }

    @Test(.needsRoot) func aTreeNeedsSearchPermissionOnly() throws {
        let box = try Box(.ordinary)
        try Self.chown(box.rootfs, 0)
        for (mode, status) in [(0o711, Int32(0)), (0o700, 125)] {
            chmod(box.rootfs, mode_t(mode))
            let ended = try box.run(probe: "id")
            #expect(ended.status == status, "\(ended)")
            if status != 0 { #expect(ended.errors.contains("chmod go+x \(box.rootfs)"), "\(ended)") }
        }
    }

    // MARK: Root

    /// User 0 of a user namespace is an ordinary user wherever Berth needs root.
    @Test func rootOfAUserNamespaceIsAnOrdinaryUser() throws {
        let box = try Box(.any)
        let probe = box.shell("unshare -Ur true").run
        guard try probe().status == 0 else { return }  // this host lets no user make one
        let ended = try box.shell(
            "unshare -Ur \"$BERTH\" run \"$IMAGE\" -- probe id -- cat /proc/self/uid_map"
        ).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.first?.hasPrefix("uid=0,0,0 gid=0,0,0") == true, "\(ended)")
        let other = try box.shell("unshare -Ur \"$BERTH\" run --user 7 \"$IMAGE\" -- probe id").run()
        #expect(other.status == 125 && other.errors.contains("--user 7"), "\(other)")
        // The kernel shows the owner of `/` there as the overflow user.
        try box.directory.write("home = no\n", to: "home/.config/berth/berth.conf")
        box.give("home")
        let configured = try box.shell("unshare -Ur \"$BERTH\" run \"$IMAGE\" -- probe id").run()
        #expect(configured.status == 0, "\(configured)")
        let plan = try box.shell("unshare -Ur \"$BERTH\" run --dry-run \"$IMAGE\" -- probe id").run()
        #expect(plan.output.contains("user namespace") || plan.output.contains("user,"), "\(plan)")
    }

    // MARK: Scratch

    @Test(.needsRoot) func aFileSystemWithoutInodesIsNotCalledFull() throws {
        let box = try Box(.root)
        try box.directory.makeDirectory("scratch")
        try box.directory.write("scratch = \(box.path("scratch"))\n", to: "berth.conf")
        let ended = try box.shell(
            "unshare -m sh -c 'mount -t tmpfs -o nr_inodes=2,mode=1777 t $HERE/scratch && $BERTH run $IMAGE -- probe id'"
        ).run()
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("has space but no free inodes (df -i)"), "\(ended)")
    }

    @Test(.needsRoot) func aScratchOnDiskIsOneForEachUser() throws {
        let box = try Box(.ordinary)
        try box.directory.makeDirectory("scratch", mode: 0o1777)
        try box.directory.write("scratch = \(box.path("scratch"))\n", to: "berth.conf")
        chmod(box.rootfs, 0o755)
        let users = [box.caller.user, 4321, 0]
        for options in [["--root"], []] {
            for user in users {
                let ended = try Command(
                    ["setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups", box.fixture.berth, "run"]
                        + options
                        + [box.image, "--", "probe", "id"], environment: box.environment.merging(["HOME": "/"]) { $1 },
                    directory: "/"
                ).run()
                #expect(ended.status == 0, "uid \(user) \(options): \(ended)")
            }
        }
        let names = try FileManager.default.contentsOfDirectory(atPath: box.path("scratch")).sorted()
        #expect(names == users.map { "berth-\($0)" }.sorted())
        // A name that another user has taken is no obstacle, and what is made beside it is found again.
        try FileManager.default.removeItem(atPath: box.path("scratch/berth-4321"))
        try box.directory.makeDirectory("scratch/berth-4321")
        for _ in 0..<2 {
            let ended = try Command(
                [
                    "setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", box.fixture.berth, "run", box.image,
                    "--",
                    "probe", "id",
                ], environment: box.environment.merging(["HOME": "/"]) { $1 }, directory: "/"
            ).run()
            #expect(ended.status == 0, "\(ended)")
        }
        let beside = try FileManager.default.contentsOfDirectory(atPath: box.path("scratch"))
        #expect(beside.filter { $0.hasPrefix("berth-4321") }.count == 2, "\(beside)")
    }
}
