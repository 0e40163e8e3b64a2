import Distribution
import Foundation
import ImagePull
import ImageSpec
import LinuxKernel
import NIOHTTP1
import Store
import TestSupport
import Testing

/// Blobs on storage that several nodes share; here, several stores share one directory.
@Suite struct BlobCacheTests {
    static let image = StorePullTests.image
    static let name = image.layerDescriptor.digest.directoryName

    /// A cache and several stores, which simulate nodes.
    struct Cluster: Sendable {
        let place: TemporaryDirectory
        init() throws {
            place = try TemporaryDirectory()
            try place.makeDirectory("cache")
        }

        var path: String { place.path + "/cache" }
        var partial: String { "cache/partial/\(BlobCacheTests.name)-\(geteuid())" }

        func pull(
            _ node: Int, _ server: FaultyServer, patience: Double = 10, stallPatience: Double = 90,
            scope: LockScope? = nil
        ) async throws -> PulledImage {
            let cache = try BlobCache(path, patience: patience, stallPatience: stallPatience, scope: scope)
            let store = try ImageStore.open(creating: "\(place.path)/store\(node)")
            return try await withClient { client in
                let reference = try server.reference()
                let pulled = try await ImagePuller(
                    store: store, origin: RegistryOrigin(reference, client: client, cache: cache)
                ) { _ in }
                .pull(.docker(reference), platform: .host, refresh: true)
                guard try store.images().count == 1 else { throw TestSupportError("no image in the store") }
                return pulled
            }
        }

        /// The ranges of the layer that were requested from the registry.
        func asked(_ server: FaultyServer) -> [String] {
            server.requests.filter { $0.path == BlobCacheTests.image.blobPath }.map {
                $0.headers.first(name: "Range") ?? "all"
            }
        }

        func files(_ directory: String) throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: path + "/" + directory)
        }
    }

    @Test func whatOneNodeHasDownloadedTheOthersRead() async throws {
        let cluster = try Cluster()
        try await FaultyServer.with(Self.image.reply) { server in
            for node in 0..<3 { _ = try await cluster.pull(node, server) }
            #expect(cluster.asked(server) == ["all"])
        }
        #expect(try cluster.files("blobs") == [Self.name])
        #expect(try cluster.files("partial") == [])
        // Users cannot list what others have pulled.
        let status = try FileStatus(of: cluster.path + "/blobs")
        #expect(status.permissions == 0o1733)
    }

    @Test(arguments: [LockScope.cluster, .node]) func ofManyAtOnceOneDownloads(_ scope: LockScope) async throws {
        let cluster = try Cluster()
        try await FaultyServer.with(Self.image.reply) { server in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for node in 0..<6 { group.addTask { _ = try await cluster.pull(node, server, scope: scope) } }
                try await group.waitForAll()
            }
            #expect(cluster.asked(server) == ["all"])
        }
    }

    /// The bytes of a killed leader are not requested again.
    @Test(arguments: [1, 1_000_000, 2_999_999]) func whatADeadLeaderHasLeftIsContinued(_ count: Int) async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        try cluster.place.write(Array(Self.image.layer.prefix(count)), to: cluster.partial)
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server)
            #expect(cluster.asked(server) == ["bytes=\(count)-"])
        }
        #expect(try cluster.files("blobs") == [Self.name])
    }

    /// The file was complete, but its leader was killed before it could rename it.
    @Test func aWholeBlobWithoutItsNameIsTaken() async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        try cluster.place.write(Self.image.layer, to: cluster.partial)
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server)
            #expect(cluster.asked(server) == [])
        }
        #expect(try cluster.files("blobs") == [Self.name])
    }

    // MARK: Wrong content

    @Test(arguments: ["blobs", "partial"]) func whatIsWrongInTheCacheIsFetchedAnew(_ where_: String) async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        var wrong = Self.image.layer
        wrong[1_234_567] ^= 1
        try cluster.place.write(wrong, to: where_ == "blobs" ? "cache/blobs/\(Self.name)" : cluster.partial)
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server)
            #expect(cluster.asked(server) == ["all"])
            #expect(try cluster.files("blobs") == [] && cluster.files("partial") == [])
            // The next pull stores it.
            _ = try await cluster.pull(1, server)
            _ = try await cluster.pull(2, server)
            #expect(cluster.asked(server) == ["all", "all"])
        }
    }

    @Test func whereTheRegistryIsWrongTooNothingIsKept() async throws {
        let cluster = try Cluster()
        let handler: FaultyServer.Handler = { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath { reply.body[2_000_000] ^= 1 }
            return reply
        }
        _ = try await FaultyServer.with(handler) { server in
            await #expect(throws: PullError.self) { _ = try await cluster.pull(0, server) }
        }
        #expect(try cluster.files("blobs") == [])
    }

    @Test func aLinkOrAPipeInItsPlaceIsPassedOver() async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        try cluster.place.link("cache/blobs/" + Self.name, to: "/etc/passwd")
        #expect(mkfifo(cluster.place.path + "/" + cluster.partial, 0o600) == 0)
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server)
            #expect(cluster.asked(server) == ["all"])
        }
    }

    /// Another user creates the file with this user's name, keeps its lock and never writes.
    @Test(
        .enabled(if: geteuid() == 0, "root alone makes another user's file"), .timeLimit(.minutes(2)),
        arguments: [LockScope.cluster, .node])
    func anotherUsersFileIsNotWaitedFor(_ scope: LockScope) async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        // Not sticky, as if that user had created the directory: the kernel then denies nothing.
        try #require(chmod(cluster.path + "/partial", 0o777) == 0)
        let file = try cluster.place.write([1], to: cluster.partial)
        try #require(chown(file, 4321, 4321) == 0)
        let held = try OwnedFileDescriptor(opening: file, .readWrite)
        try #require(try held.tryLock(.exclusive))
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server, patience: 3600, scope: scope)
            #expect(cluster.asked(server) == ["all"])
        }
        withExtendedLifetime(DescriptorBox(held)) {}
    }

    /// A user who can write to the file may lock it and write nothing.
    @Test(.timeLimit(.minutes(2))) func aWriterThatStandsStillIsNotWaitedForForEver() async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        let file = try cluster.place.write(Array(Self.image.layer.prefix(1000)), to: cluster.partial)
        let held = try OwnedFileDescriptor(opening: file, .readWrite)
        try #require(try held.tryLock(.exclusive))
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server, stallPatience: 1)
            #expect(cluster.asked(server) == ["bytes=1000-"])
        }
        withExtendedLifetime(DescriptorBox(held)) {}
    }

    // MARK: Leaders on other nodes

    /// A leader on another node, whose lock is not visible here, keeps writing and is followed. After it stops, another
    /// process takes over.
    @Test(.timeLimit(.minutes(3))) func aLeaderWhoseLockIsNotSeenIsJudgedByItsFile() async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        let file = try cluster.place.write([UInt8](), to: cluster.partial)
        let writer = Task.detached {
            let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file))
            for start in stride(from: 0, to: 2_000_000, by: 200_000) {
                try handle.write(contentsOf: Data(Self.image.layer[start..<start + 200_000]))
                try await Task.sleep(for: .milliseconds(100))
            }
            return ContinuousClock.now
        }
        while try FileStatus(of: file).size == 0 { try await Task.sleep(for: .milliseconds(5)) }
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server, patience: 15, scope: .node)
            #expect(cluster.asked(server) == ["bytes=2000000-"])
            // The patience, and the delays of a busy machine.
            #expect(try await writer.value.duration(to: .now) < .seconds(15 + 60))
        }
        #expect(try cluster.files("blobs") == [Self.name])
    }

    /// A leader whose transfer hangs is interrupted: a waiting process continues at once at the same offset.
    @Test(.timeLimit(.minutes(3))) func anInterruptedLeaderIsTakenOverFrom() async throws {
        let cluster = try Cluster()
        let handler: FaultyServer.Handler = { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath, request.attempt == 0 {
                // Promises more data, but sends nothing.
                reply.breaksAfter = nil
                reply.stalls = true
            }
            return reply
        }
        try await FaultyServer.with(handler) { server in
            let leader = Task { try await cluster.pull(0, server) }
            while cluster.asked(server).isEmpty { try await Task.sleep(for: .milliseconds(5)) }
            let follower = Task { try await cluster.pull(1, server) }
            try await Task.sleep(for: .milliseconds(300))
            #expect(cluster.asked(server) == ["all"])
            let clock = ContinuousClock()
            let interrupted = clock.now
            leader.cancel()
            while cluster.asked(server).count < 2, interrupted.duration(to: clock.now) < .seconds(70) {
                try await Task.sleep(for: .milliseconds(5))
            }
            // At once, but a busy machine may need a minute. A follower that waited for the leader would never
            // continue.
            #expect(interrupted.duration(to: clock.now) < .seconds(60))
            _ = await leader.result
            _ = try await follower.value
            #expect(cluster.asked(server).count == 2)
        }
    }

    @Test func aCacheThatIsFullOrClosedKeepsNobodyFromPulling() async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        // A directory in place of the partial file cannot be opened for writing, even by root.
        try cluster.place.makeDirectory(cluster.partial)
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server)
            #expect(cluster.asked(server) == ["all"])
        }
        #expect(throws: SystemError.self) { _ = try BlobCache(cluster.path + "/nowhere") }
    }
}
