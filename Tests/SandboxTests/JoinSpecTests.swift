import Devices
import Foundation
import LinuxKernel
@testable import Sandbox
import Testing
import TestSupport

/// What a container is handed over as, and what arrives.
@Suite struct JoinSpecTests {
    private static func file() throws -> DescriptorBox {
        DescriptorBox(try OwnedFileDescriptor(inMemory: "lease"))
    }

    private static func sent(_ spec: JoinSpec) throws -> JoinSpec? {
        let (one, other) = try LocalSockets.pair()
        try spec.send(over: one.descriptor)
        let packet = try #require(try other.descriptor.receive())
        return try JoinSpec(packet)
    }

    @Test func whatIsSentArrives() throws {
        let own = try Namespaces.own()
        var spec = try JoinSpec(standingIn: [.mount, .ipc, .user], own, leases: [try Self.file()])
        spec.grantedNodes = ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap1", "/dev/a\u{301}"]
        spec.directory = try Self.file()
        let found = try #require(try Self.sent(spec))
        #expect(found.namespaces.map(\.kind) == [.user, .mount, .ipc], "the user namespace first")
        #expect(found.grantedNodes == spec.grantedNodes)
        #expect(found.lease != nil && found.directory != nil && found.root == nil)
    }

    /// However many leases: one descriptor, and all of them stay open.
    @Test func manyLeasesAreOneDescriptor() throws {
        let place = try TemporaryDirectory()
        var spec: JoinSpec?
        do {
            var leases: [DescriptorBox] = []
            for number in 0..<200 {
                try place.write("", to: "lease-\(number)")
                let box = DescriptorBox(try OwnedFileDescriptor(opening: place.path + "/lease-\(number)", .readWrite))
                #expect(try box.descriptor.tryLock(.shared))
                leases.append(box)
            }
            spec = try JoinSpec(namespaces: [], leases: leases)
        }
        let sent = try #require(spec)
        let found = try #require(try Self.sent(sent))
        let other = try OwnedFileDescriptor(opening: place.path + "/lease-199", .readWrite)
        #expect(try !other.tryLock(.exclusive), "the lease is held")
        withExtendedLifetime(found) {}
    }

    /// A launcher that was replaced during a job.
    @Test func anotherVersionIsNotTaken() throws {
        let (one, other) = try LocalSockets.pair()
        try one.descriptor.send(Array("berth-container 1\0".utf8), [try Self.file()])
        let packet = try #require(try other.descriptor.receive())
        #expect(try JoinSpec(packet) == nil)
    }

    @Test(arguments: ["Nuser\0", "Nother\0", "X\0", "Vx\0Nuser\0"]) func damagedWordsAreNotTaken(_ words: String) throws
    {
        let (one, other) = try LocalSockets.pair()
        let file = try Self.file()
        try file.descriptor.writeAll(Array(words.utf8))
        try one.descriptor.send(JoinSpec.version, [file])
        let packet = try #require(try other.descriptor.receive())
        #expect(try JoinSpec(packet) == nil)
    }
}
