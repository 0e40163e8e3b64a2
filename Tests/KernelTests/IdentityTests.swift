import Foundation
import Testing
import TestSupport

@Suite(.needsLauncher) struct IdentityTests {
    @Test(arguments: Caller.all) func theCallerStaysWhoHeIs(_ caller: Caller) throws {
        let box = try Box(caller)
        let ended = try box.run(probe: "id")
        #expect(ended.status == 0, "\(ended)")
        let (user, group) = (caller.user, caller.group)
        #expect(ended.lines == ["uid=\(user),\(user),\(user) gid=\(group),\(group),\(group) groups="])
    }

    @Test(arguments: Caller.all) func rootInsideIsTheCallerOutside(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("out", mode: 0o777)
        let ended = try box.run(
            ["--root", "-v", "./out:/out"], probe: "id", "--", "write", "/out/f", "x", "--", "stat", "/out/f")
        #expect(ended.lines == ["uid=0,0,0 gid=0,0,0 groups=", "/out/f: ok", "/out/f: file 0644 0:0"], "\(ended)")
        #expect(
            try Command(["stat", "-c", "%u:%g", box.path("out/f")]).run().lines == ["\(caller.user):\(caller.group)"])
    }

    /// CVE-2023-25173: the groups are those of the caller, no more and no fewer.
    @Test(.needsRoot) func supplementaryGroupsAreKept() throws {
        let box = try Box(.ordinary)
        try box.directory.makeDirectory("out", mode: 0o070)
        _ = try Command(["chown", "0:7777", box.path("out")]).run()
        let with = try box.run(["-v", "./out:/out"], probe: "ls", "/out", "--", "write", "/out/f", "x", groups: [7777])
        #expect(with.lines == ["/out:", "/out/f: ok"], "\(with)")
        let without = try box.run(["-v", "./out:/out"], probe: "write", "/out/f", "x")
        #expect(without.lines == ["/out/f: EACCES"], "\(without)")
    }

    @Test(.needsRoot) func rootsOwnGroupsAreKept() throws {
        let box = try Box(.root)
        #expect(try box.run(probe: "id", groups: [0, 7777]).lines == ["uid=0,0,0 gid=0,0,0 groups=0,7777"])
    }

    @Test(arguments: Caller.all) func namesInsideAreTheHosts(_ caller: Caller) throws {
        let box = try Box(caller)
        let ended = try box.run(
            probe: "cat", "/etc/passwd", "/etc/group", groups: caller == .ordinary ? [caller.group, 0] : [])
        #expect(ended.lines.first?.hasPrefix("\(caller.name):x:\(caller.user):\(caller.group):") == true, "\(ended)")
        #expect(ended.lines.contains("web:x:33:34::/srv:/bin/sh"))
        if caller == .ordinary {
            #expect(ended.lines.contains("root:x:0:0:root:/root:/bin/sh"))
            if Caller.isRoot { #expect(ended.lines.contains("root:x:0:\(caller.name)")) }
        }
    }

    @Test(.needsRoot) func rootBecomesWhomTheUserOptionNames() throws {
        let box = try Box(.root)
        let numbers = try box.run(["--user", "7:8"], probe: "id", "--", "env", "HOME")
        #expect(numbers.lines == ["uid=7,7,7 gid=8,8,8 groups=", "HOME=/"], "\(numbers)")
        let name = try box.run(["-u", "web"], probe: "id", "--", "env", "HOME", "USER")
        #expect(name.lines.first?.hasPrefix("uid=33,33,33 gid=34,34,34") == true, "\(name)")
        #expect(name.lines.suffix(2) == ["HOME=/srv", "USER=web"], "\(name)")
        #expect(try box.run(["--user", "0"], probe: "id").lines.first?.hasPrefix("uid=0,0,0") == true)
        let nobody = try box.run(["--user", "nosuch"], probe: "id")
        #expect(nobody.status == 125 && nobody.errors.contains("\"nosuch\""), "\(nobody)")
    }

    /// CVE-2016-3697, CVE-2026-46680: what is spelled as a number is a number, whatever names the image's files hold.
    @Test(.needsRoot) func aNameOfDigitsIsNoUser() throws {
        let box = try Box(.root)
        try box.directory.write(
            "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\n99999999999:x:0:0::/:\nweb:x:33:34::/srv:/bin/sh\n",
            to: "rootfs/etc/passwd")
        try box.directory.write("root:x:0:\n1001:x:0:\nweb:x:34:\nssl:x:110:web\n", to: "rootfs/etc/group")
        for (user, ids) in [
            ("1000", "uid=1000,1000,1000 gid=0,0,0 groups="), ("01000", "uid=1000,1000,1000 gid=0,0,0 groups="),
            ("5:1001", "uid=5,5,5 gid=1001,1001,1001 groups="), ("web:", "uid=33,33,33 gid=34,34,34 groups=110"),
            (":ssl", "uid=0,0,0 gid=110,110,110 groups="), ("web:ssl:x", "uid=33,33,33 gid=110,110,110 groups="),
        ] {
            let ended = try box.run(["--user", user], probe: "id")
            #expect(ended.lines == [ids], "\(user): \(ended)")
        }
        for user in ["99999999999", "2147483648", "-1", "5:99999999999"] {
            let ended = try box.run(["--user", user], probe: "id")
            #expect(
                ended.status == 125 && ended.output.isEmpty && ended.errors.contains("2147483647"), "\(user): \(ended)")
        }
    }

    @Test func anAccountsFileOfManyMegabytesIsReadWhole() throws {
        let box = try Box(.any)
        let entry = "user0000000:x:100000:100000::/:/bin/sh\n"
        let many = String(repeating: entry, count: (5 << 20) / entry.utf8.count)
        for name in ["passwd", "group"] {
            let present = box.directory.text("rootfs/etc/" + name) ?? ""
            try box.directory.write(many + present, to: "rootfs/etc/" + name)
        }
        box.give("rootfs")
        for options in [[], ["--read-only"]] {
            let ended = try box.run(options, probe: "stat", "/etc/passwd")
            #expect(ended.status == 0, "\(ended)")
        }
        if Caller.isRoot {
            let box = try Box(.root)
            try box.directory.write(many + "web:x:33:34::/srv:/bin/sh\n", to: "rootfs/etc/passwd")
            #expect(try box.run(["--user", "web"], probe: "id").lines.first?.hasPrefix("uid=33,33,33") == true)
        }
    }

    @Test func anAccountsFileThatIsTooLargeIsNamed() throws {
        let box = try Box(.any)
        // A hole: no disk of the test's.
        let file = box.rootfs + "/etc/passwd"
        #expect(truncate(file, 17 << 20) == 0)
        let ended = try box.run(probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("cannot read /etc/passwd of the image: it is larger than 16 MiB"), "\(ended)")
    }

    @Test func anOrdinaryUserMayNameHimselfAndRoot() throws {
        let box = try Box(.ordinary)
        let (user, group) = (box.caller.user, box.caller.group)
        for own in ["\(user)", "\(user):\(group)"] {
            let ended = try box.run(["--user", own], probe: "id")
            #expect(ended.lines.first?.hasPrefix("uid=\(user),\(user),\(user)") == true, "\(ended)")
        }
        #expect(try box.run(["--user=0:0"], probe: "id").lines.first?.hasPrefix("uid=0,0,0") == true)
        let other = try box.run(["--user", "\(user + 1)"], probe: "id")
        #expect(other.status == 125 && other.errors.contains("--user \(user):\(group)"), "\(other)")
    }

    @Test(.needsRoot) func rootInsideIsCalledRoot() throws {
        let box = try Box(.ordinary)
        let ended = try box.run(["--root"], probe: "cat", "/etc/passwd", "--", "env", "HOME", "USER")
        #expect(ended.lines.first?.hasPrefix("root:x:0:0:") == true, "\(ended)")
        #expect(ended.lines.filter { $0.hasPrefix("root:") }.count == 1)
        #expect(ended.lines.suffix(2) == ["HOME=/root", "USER=root"])
    }

    @Test func anOrdinaryUsersMapIsOneUserAndOneGroup() throws {
        let box = try Box(.ordinary)
        let ended = try box.run(probe: "cat", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups")
        let numbers = ended.lines.map { $0.split(separator: " ").map(String.init) }
        let (user, group) = ("\(box.caller.user)", "\(box.caller.group)")
        #expect(numbers == [[user, user, "1"], [group, group, "1"], ["deny"]], "\(ended)")
    }

    @Test func asRootNoUserNamespaceIsMadeAndAsAUserOneIs() throws {
        for caller in Caller.all {
            let host = try Command(
                caller.running([
                    "sh", "-c", "cd /proc/self/ns; for n in cgroup ipc mnt net pid user uts; do readlink $n; done",
                ])
            ).run().lines
            let inside = try Box(caller).run(probe: "ns").lines
            let same = zip(host, inside).filter { $0 == $1 }.map { $0.0.prefix { $0 != ":" } }
            #expect(
                same
                    == (caller == .root
                        ? ["cgroup", "ipc", "net", "pid", "user", "uts"] : ["cgroup", "ipc", "net", "pid", "uts"]))
        }
    }

    // MARK: What the process may do

    @Test(arguments: Caller.all) func nothingGainsPrivilegesByBeingExecuted(_ caller: Caller) throws {
        let box = try Box(caller)
        let ended = try box.run(probe: "caps")
        #expect(ended.lines.contains("NoNewPrivs: 1"), "\(ended)")
        #expect(ended.lines.contains("CapAmb: 0000000000000000"))
        #expect(ended.lines.contains("CapInh: 0000000000000000"))
        if caller == .ordinary {
            #expect(ended.lines.contains("CapEff: 0000000000000000"))
            #expect(ended.lines.contains("CapPrm: 0000000000000000"))
        } else {
            // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE IPC_LOCK SYS_CHROOT AUDIT_WRITE SETFCAP
            #expect(ended.lines.contains("CapEff: 00000000a00445fb"))
            #expect(ended.lines.contains("CapBnd: 00000000a00445fb"))
        }
    }

    @Test(.needsRoot, arguments: [[], ["--root"]]) func aSetUserIDFileOfAnotherUserGivesNothing(_ options: [String])
        throws
    {
        let box = try Box(.ordinary)
        try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: box.path("rootfs/bin/su"))
        _ = try Command(["chown", "0:0", box.path("rootfs/bin/su")]).run()
        _ = try Command(["chmod", "6755", box.path("rootfs/bin/su")]).run()
        let ended = try box.run(options, probe: "exec", "/bin/su", "id")
        let (user, group) = options.isEmpty ? (box.caller.user, box.caller.group) : (0, 0)
        #expect(ended.lines == ["uid=\(user),\(user),\(user) gid=\(group),\(group),\(group) groups="], "\(ended)")
    }

    @Test(.needsRoot) func aSetUserIDFileInAVolumeGivesNothingEither() throws {
        let box = try Box(.ordinary)
        try box.directory.makeDirectory("vol")
        try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: box.path("vol/su"))
        _ = try Command(["chmod", "6755", box.path("vol/su")]).run()
        let ended = try box.run(["-v", "./vol:/vol"], probe: "exec", "/vol/su", "id")
        #expect(ended.lines.first?.hasPrefix("uid=\(box.caller.user),\(box.caller.user),") == true, "\(ended)")
    }

    @Test(.needsRoot) func theHostsRootInsideMayNotDoWhatRootOutsideMay() throws {
        let box = try Box(.root)
        let ended = try box.run(
            probe: "mount", "tmpfs", "/etc", "--", "umount", "/sys", "--", "remount-rw", "/sys", "--", "remount-rw",
            "/proc/sys", "--",
            "mknod", "/dev/sda", "8", "0", "--", "open", "/proc/sysrq-trigger", "--", "open", "/proc/kcore", "--",
            "write", "/proc/sys/kernel/hostname", "x", "--", "write", "/proc/sys/kernel/core_pattern", "|/x", "--",
            "write", "/sys/kernel/mm/ksm/run", "0")
        #expect(ended.lines.count == 10, "\(ended)")
        for line in ended.lines { #expect(!line.hasSuffix(": ok"), "\(line)") }
    }

    /// Its own mounts root inside may change; the files below them are the host's and stay closed to it.
    @Test(.needsRoot) func rootOfAUserNamespaceReachesNothingOfTheHosts() throws {
        let box = try Box(.ordinary)
        let ended = try box.run(
            ["--root"], probe: "remount-rw", "/sys", "--", "write", "/sys/kernel/mm/ksm/run", "0", "--",
            "write", "/proc/sys/kernel/hostname", "x", "--", "open", "/proc/kcore", "--",
            "mknod", "/x", "1", "3", "--", "stat", "/x")
        for line in ended.lines[1..<4] { #expect(!line.hasSuffix(": ok"), "\(line)") }
        // A device is pretended, and not made.
        #expect(ended.lines.suffix(2) == ["/x: ok", "/x: ENOENT"], "\(ended)")
        let unfiltered = try box.run(["--root", "--seccomp", "none"], probe: "mknod", "/x", "1", "3")
        #expect(unfiltered.lines == ["/x: EPERM"], "\(unfiltered)")
    }

    // MARK: USER of an image is tested with a store, below; for a rootfs there is none.

    @Test func aUserWhomTheHostDoesNotKnowIsANumber() throws {
        guard Caller.isRoot else { return }
        let box = try Box(.ordinary)
        _ = try Command(["chown", "-R", "54321:54322", box.rootfs]).run()
        let ended = try Command(
            [
                "setpriv", "--reuid=54321", "--regid=54322", "--clear-groups", box.fixture.berth, "run", box.image,
                "--", "probe", "cat", "/etc/passwd", "--", "env", "USER", "HOME",
            ],
            environment: box.environment
        ).run()
        #expect(ended.lines.first == "54321:x:54321:54322::\(box.path("home")):/bin/sh", "\(ended)")
        #expect(ended.lines.suffix(2) == ["USER=54321", "HOME=\(box.path("home"))"])
    }
}
