import Foundation
import LinuxKernel
import Sandbox
import Synchronization
import Testing
import TestSupport

/// How the tasks of a step meet, within one process.
@Suite struct RendezvousTests {
    private static let alone = StepRendezvous.Arrival(localID: 0, grantedNodes: [])
    private static func key() -> String { "test/\(getpid())/\(UInt64.random(in: 0...UInt64.max))" }

    private static func entries(_ directory: TemporaryDirectory) throws -> [String] {
        try OwnedFileDescriptor(opening: directory.path, .readOnly | .directory).entries()
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// A connection to the builder that has taken a place there, as another task makes it.
    private static func connect(below place: String) throws -> DescriptorBox {
        let parent = try OwnedFileDescriptor(opening: place, .readOnly | .directory)
        let name = try #require(try parent.entries().first)
        let directory = try parent.open(name, .readOnly | .directory)
        guard let socket = try LocalSockets.connect(in: directory, "socket") else {
            throw SystemError(call: "connect", errno: 111, subject: place)
        }
        return DescriptorBox(socket)
    }

    /// A task that was killed before it could say which it is must not cost those behind it their container.
    @Test(arguments: [true, false]) func tasksThatDiedAreSkipped(_ succeeds: Bool) throws {
        let place = try TemporaryDirectory()
        switch try StepRendezvous.arrive(in: [place.path], for: Self.key(), Self.alone) {
        case .member: Issue.record("another task has the lock")
        case .builder(var builder):
            do { _ = try Self.connect(below: place.path) }
            let second = try Self.connect(below: place.path)
            try second.descriptor.send(Array("1\n".utf8))
            if succeeds {
                try builder.share(JoinSpec(namespaces: [], leases: []))
            } else {
                builder.fail(localID: 0)
            }
            try #require(try second.descriptor.isReadable(withinMilliseconds: 30000))
            let answer = try second.descriptor.receive()
            if succeeds {
                #expect(try answer.map { try JoinSpec($0) != nil } == true)
            } else {
                #expect(answer?.bytes == Array("E0".utf8))
            }
        }
        #expect(try Self.entries(place) == [], "the builder removes the place")
    }

    /// One file in memory for all tasks of the node, not one for each.
    @Test func allTasksGetTheSameFile() throws {
        let place = try TemporaryDirectory()
        guard case .builder(var builder) = try StepRendezvous.arrive(in: [place.path], for: Self.key(), Self.alone) else {
            Issue.record("another task has the lock")
            return
        }
        let tasks = try (1...3).map { number in
            let task = try Self.connect(below: place.path)
            try task.descriptor.send(Array("\(number)\n".utf8))
            return task
        }
        try builder.share(JoinSpec(namespaces: [], leases: []))
        let files = try tasks.map { try $0.descriptor.receive()?.descriptors.first?.descriptor.status().inode }
        #expect(files[0] != nil && Set(files).count == 1, "\(files)")
    }

    /// More tasks than fit in the builder's queue while it pulls: those outside wait like those in it.
    @Test func aFullQueueIsWaitedFor() throws {
        let place = try TemporaryDirectory()
        let (path, key) = (place.path, Self.key())
        guard case .builder(var builder) = try StepRendezvous.arrive(in: [path], for: key, Self.alone) else {
            Issue.record("another task has the lock")
            return
        }
        let parent = try OwnedFileDescriptor(opening: path, .readOnly | .directory)
        let directory = try parent.open(try #require(try parent.entries().first), .readOnly | .directory)
        try directory.removeFile("socket")
        let listener = try LocalSockets.listen(in: directory, "socket", backlog: 1)
        var queued: [DescriptorBox] = []
        #expect(throws: SystemError.self) {
            while queued.count < 100 { queued.append(try Self.connect(below: path)) }
        }
        // A thread of its own: other tests block the few threads that tasks have.
        let outcome = Mutex<String?>(nil)
        Thread.detachNewThread {
            let found: String
            do {
                _ = try StepRendezvous.arrive(
                    in: [path], for: key, StepRendezvous.Arrival(localID: 1, grantedNodes: []), patience: 100_000_000)
                found = "arrived"
            } catch { found = "\(error)" }
            outcome.withLock { $0 = found }
        }
        Processes.sleep(milliseconds: 600)
        var answer: [DescriptorBox] = []
        for _ in 0..<100 where answer.isEmpty {
            guard let next = try listener.accept(withinMilliseconds: 60_000) else { break }
            let box = DescriptorBox(next)
            if queued.isEmpty {
                if try box.descriptor.isReadable(withinMilliseconds: 5000) { answer.append(box) }
            } else {
                queued.removeLast()
            }
        }
        try answer.first?.descriptor.send(Array("E7".utf8))
        for _ in 0..<6000 where outcome.withLock({ $0 == nil }) { Processes.sleep(milliseconds: 10) }
        #expect(outcome.withLock { $0?.contains("builderFailed(localID: 7)") } == true)
        builder.fail(localID: 0)
    }

    @Test func theBuilderOfAKilledStepIsReplacedAndItsPlaceSwept() throws {
        let place = try TemporaryDirectory()
        let key = Self.key()
        // What is left is the directory, its socket and a free lock: the builder goes without a word.
        func build(_ key: String) throws -> Bool {
            if case .builder = try StepRendezvous.arrive(in: [place.path], for: key, Self.alone) { true } else { false }
        }
        #expect(try build(key))
        #expect(try Self.entries(place).count == 1)
        #expect(try build(key), "the lock is free: the next task builds")
        guard case .builder(var other) = try StepRendezvous.arrive(in: [place.path], for: Self.key(), Self.alone) else {
            Issue.record("another step met this one")
            return
        }
        other.fail(localID: 0)
        #expect(try Self.entries(place) == [], "the next step sweeps what a killed one left")
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give a directory away"))
    func placesOfOtherUsersAreSkipped() throws {
        let taken = try TemporaryDirectory()
        let free = try TemporaryDirectory()
        let key = Self.key()
        // The name can be computed: another user has made it first, for all to write.
        guard case .builder(var first) = try StepRendezvous.arrive(in: [taken.path], for: key, Self.alone) else {
            return
        }
        let name = try #require(try Self.entries(taken).first)
        first.fail(localID: 0)
        #expect(mkdir(taken.path + "/" + name, 0o777) == 0 && chmod(taken.path + "/" + name, 0o777) == 0)
        #expect(chown(taken.path + "/" + name, 12345, 12345) == 0)
        guard case .builder(var second) = try StepRendezvous.arrive(in: [taken.path, free.path], for: key, Self.alone)
        else {
            Issue.record("met somebody in another user's directory")
            return
        }
        #expect(try Self.entries(free) == [name])
        second.fail(localID: 0)
        #expect(throws: RendezvousError.self) {
            _ = try StepRendezvous.arrive(in: [taken.path, taken.path + "/absent"], for: key, Self.alone)
        }
    }

    @Test func placesThatOthersCanRenameAreSkipped() throws {
        let open = try TemporaryDirectory()
        #expect(chmod(open.path, 0o777) == 0)
        #expect(throws: RendezvousError.self) {
            _ = try StepRendezvous.arrive(in: [open.path], for: Self.key(), Self.alone)
        }
        #expect(chmod(open.path, 0o1777) == 0)
        guard case .builder(var builder) = try StepRendezvous.arrive(in: [open.path], for: Self.key(), Self.alone)
        else {
            Issue.record("not the builder")
            return
        }
        builder.fail(localID: 0)
    }
}
