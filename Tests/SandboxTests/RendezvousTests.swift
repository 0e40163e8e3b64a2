import Glibc
import LinuxKernel
import Sandbox
import Testing

/// How the tasks of a step meet, within one process.
@Suite struct RendezvousTests {
    /// A task that was killed before it could say which it is must not cost those behind it their container.
    @Test(arguments: [true, false]) func whoHasDiedIsPassedOver(_ succeeds: Bool) throws {
        let name = "berth-test/\(getpid())/\(UInt64.random(in: 0...UInt64.max))"
        switch try StepRendezvous.arrive(name, StepRendezvous.Arrival(localID: 0, grantedNodes: [])) {
        case .member: Issue.record("the name was taken")
        case .builder(var builder):
            _ = try #require(try LocalSockets.connect(name) != nil)
            let second = try LocalSockets.connect(name)
            guard let second else { throw SystemError(call: "connect", errno: 111, subject: name) }
            try second.send(Array("1\n".utf8))
            if succeeds { try builder.share([], scratchLease: nil) } else { builder.fail(localID: 0) }
            try #require(try second.isReadable(withinMilliseconds: 30000))
            #expect(try second.receive()?.bytes == Array((succeeds ? "R" : "E0").utf8))
        }
    }
}
