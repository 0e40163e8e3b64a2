import Distribution
import Foundation
import ImagePull
import ImageSpec
import LinuxKernel
import NIOHTTP1
import Store
import TestSupport
import Testing

/// Blobs on storage that several nodes share: here, several stores and one directory.
@Suite struct BlobCacheTests {
    static let image = StorePullTests.image
    static let name = image.layerDescriptor.digest.directoryName

    /// A cache, and stores beside it as if on so many nodes.
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
            reach: LockReach? = nil
        ) async throws -> PulledImage {
            let cache = try BlobCache(path, patience: patience, stallPatience: stallPatience, reach: reach)
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

        /// What was asked of the registry for the layer: the beginnings of ranges.
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
        // Nobody lists what others have pulled.
        let status = try FileStatus(of: cluster.path + "/blobs")
        #expect(status.permissions == 0o1733)
    }

    @Test(arguments: [LockReach.everybody, .thisNode]) func ofManyAtOnceOneDownloads(_ reach: LockReach) async throws {
        let cluster = try Cluster()
        try await FaultyServer.with(Self.image.reply) { server in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for node in 0..<6 { group.addTask { _ = try await cluster.pull(node, server, reach: reach) } }
                try await group.waitForAll()
            }
            #expect(cluster.asked(server) == ["all"])
        }
    }

    /// The bytes that a dead leader has left are not asked for again.
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

    /// All of it was there, but its leader died before it could give it its name.
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

    // MARK: Lies

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
            // And kept the next time.
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

    /// Another user has made the file that this one's would be, keeps its lock, and never writes.
    @Test(
        .enabled(if: geteuid() == 0, "root alone makes another user's file"), .timeLimit(.minutes(2)),
        arguments: [LockReach.everybody, .thisNode])
    func anotherUsersFileIsNotWaitedFor(_ reach: LockReach) async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        // Not sticky, as where that user made the directory too: the kernel refuses nothing then.
        try #require(chmod(cluster.path + "/partial", 0o777) == 0)
        let file = try cluster.place.write([1], to: cluster.partial)
        try #require(chown(file, 4321, 4321) == 0)
        let held = try OwnedFileDescriptor(opening: file, .readWrite)
        try #require(try held.tryLock(.exclusive))
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server, patience: 3600, reach: reach)
            #expect(cluster.asked(server) == ["all"])
        }
        withExtendedLifetime(DescriptorBox(held)) {}
    }

    /// Whoever may write to the file can hold its lock and write nothing.
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

    // MARK: Leaders elsewhere

    /// Somebody on another node, whose lock is not seen here, writes on: he is followed. Then he stops for good, and is
    /// taken over from.
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
            _ = try await cluster.pull(0, server, patience: 15, reach: .thisNode)
            #expect(cluster.asked(server) == ["bytes=2000000-"])
            // Its patience, and what a busy machine needs.
            #expect(try await writer.value.duration(to: .now) < .seconds(15 + 60))
        }
        #expect(try cluster.files("blobs") == [Self.name])
    }

    /// The leader's transfer is stuck, and it is interrupted: whoever waits goes on at once, and from where it was.
    @Test(.timeLimit(.minutes(3))) func anInterruptedLeaderIsTakenOverFrom() async throws {
        let cluster = try Cluster()
        let handler: FaultyServer.Handler = { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath, request.attempt == 0 {
                // Keeps the promise of more, and is silent.
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
            // At once; a minute is for a busy machine. A follower that waited for the leader would never go on.
            #expect(interrupted.duration(to: clock.now) < .seconds(60))
            _ = await leader.result
            _ = try await follower.value
            #expect(cluster.asked(server).count == 2)
        }
    }

    @Test func aCacheThatIsFullOrClosedKeepsNobodyFromPulling() async throws {
        let cluster = try Cluster()
        _ = try BlobCache(cluster.path)
        // A directory in the partial file's place: opening it for writing fails, for root too.
        try cluster.place.makeDirectory(cluster.partial)
        try await FaultyServer.with(Self.image.reply) { server in
            _ = try await cluster.pull(0, server)
            #expect(cluster.asked(server) == ["all"])
        }
        #expect(throws: SystemError.self) { _ = try BlobCache(cluster.path + "/nowhere") }
    }
}
