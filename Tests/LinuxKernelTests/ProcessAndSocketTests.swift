import Foundation
import LinuxKernel
import Testing
import TestSupport

@Suite struct LockTests {
    @Test func sharedLocksGoTogetherAndAnExclusiveOneStandsAlone() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("", to: "lock")
        func open() throws(SystemError) -> OwnedFileDescriptor { try OwnedFileDescriptor(opening: path, .readWrite) }
        do {
            let one = try open()
            let other = try open()
            let third = try open()
            #expect(
                try (one.tryLock(.shared), other.tryLock(.shared), third.tryLock(.exclusive)) == (true, true, false))
        }
        // All are closed, so all locks are released.
        let owner = try open()
        #expect(try soon { try owner.tryLock(.exclusive) })
        #expect(try !open().tryLock(.shared))
    }

    @Test func aDuplicateKeepsTheLockAlive() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("", to: "lock")
        var first: DescriptorBox? = DescriptorBox(try OwnedFileDescriptor(opening: path, .readOnly))
        try first?.descriptor.lock(.shared)
        let kept = try first?.descriptor.duplicate()
        first = nil
        #expect(try !OwnedFileDescriptor(opening: path, .readWrite).tryLock(.exclusive))
        withExtendedLifetime(kept) {}
    }
}

@Suite struct LocalSocketTests {
    private let place: TemporaryDirectory
    private let directory: DescriptorBox

    init() throws {
        place = try TemporaryDirectory()
        directory = DescriptorBox(try OwnedFileDescriptor(opening: place.path, .readOnly | .directory))
    }

    private func listen(_ name: String = "socket", backlog: Int32 = 4096) throws -> OwnedFileDescriptor {
        try LocalSockets.listen(in: directory.descriptor, name, backlog: backlog)
    }

    private func connect(_ name: String = "socket") throws -> OwnedFileDescriptor? {
        try LocalSockets.connect(in: directory.descriptor, name)
    }

    @Test func aNameHasOneListener() throws {
        do {
            let listener = try listen()
            #expect { _ = try listen() } throws: { ($0 as? SystemError)?.errno == 98 }  // EADDRINUSE
            withExtendedLifetime(listener) {}
        }
        #expect(try !isThere(connect()))
        #expect(try !isThere(connect("absent")))
    }

    /// A hostile listener with a full queue accepts no connections; connect(2) alone would block forever.
    @Test func aFullQueueIsNotWaitedFor() throws {
        let listener = try listen(backlog: 1)
        var queued: [DescriptorBox] = []
        #expect {
            while let next = try connect() {
                queued.append(DescriptorBox(next))
                try #require(queued.count < 100)
            }
        } throws: { ($0 as? SystemError)?.errno == 11 }  // EAGAIN
        #expect(queued.count >= 1)
        withExtendedLifetime(listener) {}
    }

    @Test func packetsAndDescriptorsArriveWholeAndInOrder() throws {
        let listener = try listen()
        let client = try there(try connect())
        let server = try there(try listener.accept(withinMilliseconds: 1000))
        let boxes = try (0..<8).map { number in
            DescriptorBox(try OwnedFileDescriptor(opening: try place.write("\(number)", to: "\(number)"), .readOnly))
        }
        try client.send(Array("first".utf8), boxes)
        try client.send(Array("second".utf8))
        let first = try there(try server.receive())
        #expect(first.bytes == Array("first".utf8))
        #expect(try first.descriptors.map { try $0.descriptor.readAll() } == (0..<8).map { Array("\($0)".utf8) })
        let second = try there(try server.receive())
        #expect(second.bytes == Array("second".utf8) && second.descriptors.isEmpty)
    }

    @Test func thePeerIsKnownAndItsEndIsSeen() throws {
        let listener = try listen()
        var client: DescriptorBox? = DescriptorBox(try there(try connect()))
        let server = try there(try listener.accept(withinMilliseconds: 1000))
        let peer = try #require(try client?.descriptor.peer())
        #expect(peer.processID == Processes.ownID && peer.userID == Identity.userID)
        #expect(try !server.isReadable(withinMilliseconds: 0))
        client = nil
        #expect(try server.isReadable(withinMilliseconds: 1000))
        #expect(try server.receive()?.bytes == nil)
        #expect { try server.send([1]) } throws: { ($0 as? SystemError)?.errno == 32 }
    }

    @Test func acceptEndsAtItsLimit() throws {
        let listener = try listen()
        #expect(try !isThere(listener.accept(withinMilliseconds: 20)))
    }

    @Test func aConnectionThatWasGivenUpIsNoError() throws {
        let listener = try listen()
        do { _ = try connect() }
        let accepted = try there(try listener.accept(withinMilliseconds: 1000))
        #expect(try accepted.receive()?.bytes == nil)
    }

    @Test func tooManyDescriptorsAreAnError() throws {
        let (one, other) = try LocalSockets.pair()
        #expect { try one.descriptor.send([0], [DescriptorBox](repeating: other, count: 13)) } throws: {
            ($0 as? SystemError)?.errno == 7  // E2BIG
        }
    }

    /// An image with 500 layers in a shared store needs 500 leases.
    @Test func aBundleHoldsLocksInOneDescriptor() throws {
        let names = (0..<200).map { "lease\($0)" }
        let files = try names.map { try place.write("", to: $0) }
        var leases = try files.map { path in
            let file = try OwnedFileDescriptor(opening: path, .readOnly)
            try file.lock(.shared)
            return DescriptorBox(file)
        }
        var bundle: DescriptorBox? = try LocalSockets.bundle(leases)
        leases = []
        func areLocked() throws -> [Bool] {
            try files.map { try !OwnedFileDescriptor(opening: $0, .readWrite).tryLock(.exclusive) }
        }
        #expect(try areLocked().allSatisfy { $0 })
        let copy = try bundle?.descriptor.duplicate()
        bundle = nil
        #expect(try areLocked().allSatisfy { $0 }, "a copy keeps them, too")
        _ = consume copy
        #expect(try soon { try !areLocked().contains(true) })
    }
}

@Suite struct SpawningTests {
    static let environment = ["PATH=/usr/bin:/bin"]

    @Test(arguments: [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("exit 255", 255)] as [(String, Int32)])
    func theEndOfAProgramIsTold(_ script: String, _ status: Int32) throws {
        let ended = try Processes.run(
            "/bin/sh", arguments: ["sh", "-c", script], environment: Self.environment, output: .inherit)
        #expect(ended.status == status)
    }

    @Test func itsOutputIsCapturedAndItsInputIsEmpty() throws {
        let ended = try Processes.run(
            "/bin/sh", arguments: ["sh", "-c", "cat; echo out; echo $HOME"], environment: Self.environment,
            output: .capture(limit: 100))
        #expect(ended.output == Array("out\n\n".utf8))
    }

    @Test func whatPrintsWithoutEndDoesNotHoldUp() throws {
        let ended = try Processes.run(
            "/bin/sh", arguments: ["sh", "-c", "exec yes"], environment: Self.environment, output: .capture(limit: 1000)
        )
        #expect(ended.status != 0)
    }

    @Test func aProgramThatIsNotThereIsAnError() {
        #expect(throws: SystemError(call: "posix_spawn", errno: 2, subject: "/nonexistent")) {
            try Processes.run("/nonexistent", arguments: ["x"], environment: [], output: .inherit)
        }
    }

    @Test func aDescriptorIsHandedOnOnlyWhenItIsMeantTo() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("", to: "some-name")
        let closed = try OwnedFileDescriptor(opening: path, .readOnly)
        func seen() throws -> Bool {
            let ended = try Processes.run(
                "/bin/ls", arguments: ["ls", "-l", "/proc/self/fd"], environment: Self.environment,
                output: .capture(limit: 65536))
            return String(decoding: ended.output, as: UTF8.self).contains(path)
        }
        #expect(try !seen())
        withExtendedLifetime(closed) {}
    }
}

@Suite struct ErrorTests {
    @Test(
        arguments: [
            (13, "EACCES", "Permission denied"), (2, "ENOENT", "No such file or directory"),
            (28, "ENOSPC", "No space left on device"),
        ] as [(Int32, String, String)])
    func codesHaveNamesAndSentences(_ code: Int32, _ name: String, _ reason: String) {
        let error = SystemError(call: "open", errno: code, subject: "/x")
        #expect(error.name == name && error.reason == reason)
    }

    @Test func aCodeThatNobodyKnowsIsANumber() {
        #expect(SystemError(call: "open", errno: 4000, subject: "").name == "errno 4000")
    }
}

@Suite struct ResourceLimitTests {
    @Test(arguments: ResourceLimit.allCases) func everyLimitCanBeReadAndSetToWhatItIs(_ limit: ResourceLimit) throws {
        let now = try limit.current()
        #expect(now.soft <= now.hard)
        if limit != .cpu { try limit.set(now) }
        #expect(try limit.current() == now)
    }

    @Test func namesAreDockers() {
        #expect(
            Set(ResourceLimit.allCases.map(\.rawValue)).isSuperset(of: [
                "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
                "rtprio", "rttime", "sigpending", "stack",
            ]))
    }
}

@Suite struct RandomTests {
    @Test func digitsAreLowerCaseHexadecimalAndDiffer() throws {
        let many = try (0..<64).map { _ in try Random.hexadecimal(bytes: 12) }
        #expect(Set(many).count == 64)
        #expect(many.allSatisfy { $0.utf8.count == 24 && $0.allSatisfy { "0123456789abcdef".contains($0) } })
    }
}

@Suite struct CapabilityTests {
    /// The names must equal those of capsh(1), which uses the same library.
    @Test func namesAreThoseOfCapsh() throws {
        try #require(FileManager.default.isExecutableFile(atPath: "/usr/sbin/capsh"), "libcap2-bin")
        let mask = String((UInt64(1) << Capabilities.names.count) - 1, radix: 16)
        let decoded = try Command(["/usr/sbin/capsh", "--decode=\(mask)"]).run()
        #expect(
            decoded.output.hasSuffix("=" + Capabilities.names.joined(separator: ",").lowercased() + "\n"), "\(decoded)")
    }
}
