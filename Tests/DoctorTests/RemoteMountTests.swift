@testable import Doctor
import Foundation
import LinuxKernel
import TestSupport
import Testing

/// File systems whose server works, hangs or is gone: FUSE, which behaves like a network file system.
@Suite(.enabled(if: RemoteMounts.canRun)) struct RemoteMountTests {
    @Test func aServerThatSleepsOrIsGoneIsSaid() throws {
        let place = try TemporaryDirectory()
        let front = place.path + "/a front"
        func shell(_ script: String) throws -> String {
            let ended = try Command(["sh", "-c", script, "-", place.path, front]).run()
            guard ended.status == 0 else { throw TestSupportError(ended.errors) }
            return ended.output.trimmingCharacters(in: .whitespacesAndNewlines)
        }
        let server = try shell(
            """
            mkdir "$1/behind" "$2" && bindfs "$1/behind" "$2" && pgrep -f "^bindfs $1/behind"
            """)
        defer { _ = try? shell("kill -KILL \(server); umount -l \"$2\"") }  // may have exited
        func answer() -> NodeFacts.RemoteMount.Answer? {
            // Ignore other mounts of this machine.
            let lines = NodeFacts.lines("/proc/self/mountinfo").filter { $0.contains("/a\\040front ") }
            return NodeFacts.remoteMounts(lines).first { $0.path == front }?.answer
        }
        #expect(answer() == .well)
        _ = try shell("kill -STOP \(server)")
        let started = Clock.monotonicNanoseconds
        #expect(answer() == NodeFacts.RemoteMount.Answer.none)
        #expect(Clock.monotonicNanoseconds - started < 5_000_000_000, "it waited for the server")
        _ = try shell("kill -CONT \(server)")
        #expect(answer() == .well)
        _ = try shell("kill -KILL \(server); while kill -0 \(server) 2>/dev/null; do sleep 0.05; done")
        #expect(answer() == .failed(107))  // ENOTCONN
    }
}

enum RemoteMounts {
    static let canRun: Bool = {
        let can =
            Identity.userID == 0 && FileManager.default.isExecutableFile(atPath: "/usr/bin/bindfs")
            && FileManager.default.fileExists(atPath: "/dev/fuse")
        if !can {
            FileHandle.standardError.write(
                Data("SKIPPED: mounts that do not answer: needs root, bindfs and /dev/fuse\n".utf8))
        }
        return can
    }()
}
