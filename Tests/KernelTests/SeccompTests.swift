import Foundation
import TestSupport
import Testing

/// Filters of system calls, as the kernel holds the command to them.
@Suite(.needsLauncher) struct SeccompTests {
    /// How many filters this process has, from what it runs in.
    private static func filters(_ status: [String]) -> Int? {
        status.first { $0.hasPrefix("Seccomp_filters:") }.flatMap { Int($0.split(separator: "\t").last ?? "") }
    }

    private func added(_ box: Box, _ options: [String]) throws -> Int? {
        let outside = try String(contentsOfFile: "/proc/self/status", encoding: .utf8).split(separator: "\n").map(
            String.init)
        let ended = try box.run(options, probe: "cat", "/proc/self/status")
        guard let inside = Self.filters(ended.lines), let before = Self.filters(outside) else {
            throw TestSupportError("no Seccomp_filters: \(ended)")
        }
        return inside - before
    }

    @Test func rootInsideChangesOwnersAndUsersWithoutEffect() throws {
        let box = try Box(.ordinary)
        let ended = try box.run(
            ["--root"],
            probe: "write", "/f", "x", "--", "chown", "5:6", "/f", "--", "stat", "/f", "--", "setuid", "5", "--", "id",
            "--",
            "mknod", "/null", "1", "3", "--", "stat", "/null", "--", "mkfifo", "/fifo", "--", "stat", "/fifo")
        #expect(
            ended.lines == [
                "/f: ok", "/f: ok", "/f: file 0644 0:0", "setuid: ok", "uid=0,0,0 gid=0,0,0 groups=", "/null: ok",
                "/null: ENOENT", "/fifo: ok", "/fifo: fifo 0644 0:0",
            ], "\(ended)")
    }

    @Test func theFilterOfRootIsLeftOutOnRequest() throws {
        let box = try Box(.ordinary)
        for option in [["--security-opt", "seccomp=unconfined"], ["--seccomp", "none"]] {
            let ended = try box.run(["--root"] + option, probe: "write", "/f", "x", "--", "chown", "5:6", "/f")
            #expect(ended.lines == ["/f: ok", "/f: EINVAL"], "\(ended)")
        }
    }

    @Test func onlyRootInsidePretends() throws {
        let ordinary = try Box(.ordinary)
        #expect(try added(ordinary, []) == 0)
        #expect(try added(ordinary, ["--root"]) == 1)
        #expect(try added(ordinary, ["--seccomp", "default"]) == 1)
        #expect(try added(ordinary, ["--root", "--seccomp", "default"]) == 2)
        let refused = try ordinary.run(["--seccomp", "fakeroot"], probe: "id")
        #expect(refused.status == 125 && refused.errors.contains("add --root"), "\(refused)")
    }

    @Test(.needsRoot) func theHostsRootPretendsNothing() throws {
        let box = try Box(.root)
        #expect(try added(box, ["--root"]) == 0)
        let refused = try box.run(["--root", "--seccomp", "fakeroot"], probe: "id")
        #expect(refused.status == 125 && refused.errors.contains("leave it out"), "\(refused)")
    }

    #if arch(x86_64)
        /// keyctl, open_by_handle_at, userfaultfd, sysfs; CVE-2017-5226: ioctl TIOCSTI. getpid, process_vm_readv, unshare
        @Test(arguments: Caller.all) func theDefaultRefusesWithAnError(_ caller: Caller) throws {
            let calls = [
                "call", "250", "--", "call", "304", "--", "call", "323", "--", "call", "139", "--", "call", "16", "0",
                "0x5412",
                "--", "call", "39", "--", "call", "310", "--", "call", "272",
            ]
            let box = try Box(caller)
            let ended = try box.command(["--seccomp", "default"], probe: calls).run()
            #expect(
                ended.lines == [
                    "250: EPERM", "304: EPERM", "323: EPERM", "139: ENOSYS", "16: EPERM", "39: ok", "310: ok",
                    "272: ok",
                ], "\(ended)")
        }
    #endif

    @Test func theSiteChoosesAProfileAndTheUserAnother() throws {
        let box = try Box(.ordinary)
        try box.directory.write("seccomp = default\n", to: "berth.conf", mode: 0o644)
        #expect(try added(box, []) == 1)
        #expect(try added(box, ["--security-opt", "seccomp=unconfined"]) == 0)
        try box.directory.write("seccomp = fakeroot\n", to: "berth.conf", mode: 0o644)
        let refused = try box.run(probe: "id")
        #expect(refused.status == 125 && refused.errors.contains("none, default, or the absolute path"), "\(refused)")
    }

    @Test func aDryRunNamesTheFilterAndItsOrigin() throws {
        let box = try Box(.ordinary)
        let text = try box.run(["--root", "--dry-run"], probe: "id")
        #expect(text.lines.contains { $0.hasPrefix("     seccomp fakeroot  [--root]") }, "\(text)")
        let json = try box.run(["--root", "--seccomp", "default", "--dry-run=oci"], probe: "id")
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any], "\(json)")
        let seccomp = try #require((document["linux"] as? [String: Any])?["seccomp"] as? [String: Any])
        #expect(seccomp["defaultAction"] as? String == "SCMP_ACT_ALLOW")
        let names = (seccomp["syscalls"] as? [[String: Any]] ?? []).flatMap { $0["names"] as? [String] ?? [] }
        #expect(names.contains("chown") && names.contains("keyctl"), "\(names)")
    }

    @Test func aRecordThatIsMissingOrDamagedIsNamed() throws {
        let (box, place) = (try Box(.ordinary), try TemporaryDirectory())
        try place.makeDirectory("bin")
        try FileManager.default.copyItem(atPath: box.fixture.berth, toPath: place.path + "/bin/berth")
        let command = Command(
            box.caller.running([place.path + "/bin/berth", "run", "--root", box.image, "--", "probe", "id"]),
            environment: box.environment, directory: box.directory.path)
        let missing = try command.run()
        #expect(missing.status == 125 && missing.errors.contains("libexec/berth/seccomp/fakeroot"), "\(missing)")
        try place.write("berth-seccomp 0 nothing\n", to: "libexec/berth/seccomp/fakeroot", mode: 0o644)
        let damaged = try command.run()
        #expect(damaged.status == 125 && damaged.errors.contains("is damaged"), "\(damaged)")
    }
}
