import Foundation
import TestSupport
import Testing

/// `berth probe`: what the doctor has the launcher try.
@Suite(.needsLauncher) struct ProbeTests {
    @Test(arguments: Caller.all) func everyStepOfALaunchIsTriedAndNothingStays(_ caller: Caller) throws {
        let box = try Box(caller)
        let before = try (box.fingerprint(), FileManager.default.contents(atPath: "/proc/self/mountinfo"))
        let ended = try box.run(berth: ["probe", box.rootfs])
        let steps =
            (caller == .root ? [] : ["user-namespace", "id-map"])
            + ["mount-namespace", "tmpfs", "overlay", "overlay-removal", "overlay-on-store", "seccomp"]
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines == steps.map { $0 + " 0" }, "\(ended)")
        #expect(try box.fingerprint() == before.0)
        #expect(FileManager.default.contents(atPath: "/proc/self/mountinfo") == before.1)
    }

    @Test func withoutAStoreThatIsNotTried() throws {
        let ended = try Box(.any).run(berth: ["probe", "/absent"])
        #expect(ended.lines.suffix(2) == ["overlay-removal 0", "seccomp 0"], "\(ended)")
    }

    @Test(.needsStrace, arguments: [("unshare", "EPERM", "1"), ("mount", "EACCES", "13")])
    func theFirstStepThatFailsIsTheLast(_ call: String, _ error: String, _ number: String) throws {
        let box = try Box(.ordinary)
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e", "inject=\(call):error=\(error)",
        ]
        let ended = try Command(
            box.caller.running(trace + [box.fixture.berth, "probe", box.rootfs]), environment: box.environment,
            directory: box.directory.path
        ).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.last?.hasSuffix(" " + number) == true, "\(ended)")
    }

    /// A tmpfs before Linux 6.6, with a root file system on it.
    @Test(.needsStrace, arguments: Caller.all) func aFileSystemWithoutExtendedAttributesServes(_ caller: Caller) throws
    {
        let box = try Box(caller)
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fgetxattr", "-e",
            "inject=fgetxattr:error=EOPNOTSUPP",
        ]
        let ended = try Command(
            box.caller.running(trace + [box.fixture.berth, "run", box.image, "--", "probe", "exit", "42"]),
            environment: box.environment, directory: box.directory.path
        ).run()
        #expect(ended.status == 42, "\(ended)")
    }
}
