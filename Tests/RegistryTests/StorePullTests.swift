import Distribution
import Foundation
import ImagePull
import ImageSpec
import NIOHTTP1
import Store
import Synchronization
import TestSupport
import Testing

/// Pulls from a registry into a store: failures leave nothing behind.
@Suite struct StorePullTests {
    static let image: SampleImage = {
        var writer = TarWriter()
        for (name, size) in [("hello", 5), ("large", 3_000_000)] {
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            writer.add(.init(name: Array(name.utf8), size: Int64(size)), bytes)
        }
        writer.end()
        return SampleImage(layer: writer.bytes, platform: Platform.host.architecture)
    }()

    /// Pulls into a new store and returns its contents.
    static func pull(
        _ handler: @escaping FaultyServer.Handler, times: Int = 1
    ) async throws -> (result: Result<PulledImage, PullError>, images: Int, drafts: Int) {
        let place = try TemporaryDirectory()
        let store = try ImageStore.open(creating: place.path + "/store")
        return try await FaultyServer.with(handler) { server in
            try await withClient { client in
                let reference = try server.reference()
                let results = await withTaskGroup(of: Result<PulledImage, PullError>.self) { group in
                    for _ in 0..<times {
                        group.addTask {
                            do throws(PullError) {
                                return .success(
                                    try await ImagePuller(
                                        store: store, origin: RegistryOrigin(reference, client: client)
                                    ) { _ in }
                                    .pull(.docker(reference), platform: .host, refresh: times == 1))
                            } catch {
                                return .failure(error)
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                for result in results {
                    if case .failure = result { return (result, try store.images().count, try drafts(place)) }
                }
                if times > 1 {
                    let fetched = server.requests.count { $0.path == image.blobPath }
                    #expect(fetched == 1)
                }
                return (results[0], try store.images().count, try drafts(place))
            }
        }
    }

    private static func drafts(_ place: borrowing TemporaryDirectory) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/drafts").count
    }

    @Test func aPullArrives() async throws {
        let (result, images, drafts) = try await Self.pull(Self.image.reply)
        let pulled = try result.get()
        #expect(pulled.manifestDigest == Self.image.manifestDigest)
        #expect(pulled.downloadedBytes == Int64(Self.image.layer.count))
        #expect((images, drafts) == (1, 0))
    }

    @Test func aBrokenTransferIsResumedUnderneath() async throws {
        let (result, images, drafts) = try await Self.pull { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath, request.attempt < 2 { reply.breaksAfter = 1_100_000 }
            return reply
        }
        _ = try result.get()
        #expect((images, drafts) == (1, 0))
    }

    @Test func wrongBytesLeaveNothing() async throws {
        let (result, images, drafts) = try await Self.pull { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath { reply.body[2_000_000] ^= 1 }
            return reply
        }
        #expect(throws: PullError.self) { try result.get() }
        #expect((images, drafts) == (0, 0))
    }

    @Test func aTransferThatNeverEndsLeavesNothing() async throws {
        let (result, images, drafts) = try await Self.pull { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath { reply.breaksAfter = request.attempt == 0 ? 500_000 : 0 }
            return reply
        }
        guard case .failure(.registry(let error)) = result, case .truncated = error.reason else {
            Issue.record("\(result)")
            return
        }
        #expect((images, drafts) == (0, 0))
    }

    @Test func manyAtOnceFetchOnce() async throws {
        let (result, images, drafts) = try await Self.pull(Self.image.reply, times: 8)
        _ = try result.get()
        #expect((images, drafts) == (1, 0))
    }

    /// The second of two mirrors has the image. The first lacks it, and the registry is down; neither is asked for its
    /// blobs, and no mirror receives the registry's password.
    @Test func aMirrorThatHasTheImageIsEnough() async throws {
        let place = try TemporaryDirectory()
        let store = try ImageStore.open(creating: place.path + "/store")
        let log = Mutex<[RegistryError]>([])
        try await FaultyServer.with({ _ in
            .status(.unauthorized, ("WWW-Authenticate", "Basic realm=\"r\""))
        }) { empty in
            try await FaultyServer.with({ request in
                var uri = request.uri
                if let range = uri.range(of: "/v2/hub/") { uri.replaceSubrange(range, with: "/v2/") }
                let inner = FaultyServer.Request(
                    method: request.method, uri: uri, headers: request.headers, body: request.body,
                    attempt: request.attempt)
                return uri == request.uri ? .status(.notFound) : Self.image.reply(to: inner)
            }) { full in
                let reference = try Reference(parsing: "127.0.0.1:1/\(SampleImage.repository):1.0")
                let secret = FixedCredentials(.password(user: "me", password: "secret"), registry: "127.0.0.1:1")
                try await withClient(credentials: secret) { client in
                    let origin = RegistryOrigin(
                        reference,
                        mirrors: [
                            try reference.mirrored(at: empty.authority, path: ""),
                            try reference.mirrored(at: full.authority, path: "hub"),
                        ], client: client, passedOver: { error in log.withLock { $0.append(error) } })
                    let pulled = try await ImagePuller(store: store, origin: origin) { _ in }
                        .pull(.docker(reference), platform: .host, refresh: true)
                    #expect(pulled.manifestDigest == Self.image.manifestDigest)
                }
                #expect(full.requests.contains { $0.path == "/v2/hub/" + Self.image.blobPath.dropFirst(4) })
                #expect((empty.requests + full.requests).allSatisfy { $0.authorization == nil })
            }
            #expect(empty.requests.allSatisfy { $0.path.contains("/manifests/") })
            #expect(log.withLock { $0.map(\.host) } == [empty.authority])
        }
        // Under the requested name.
        #expect(try store.images().flatMap(\.names) == ["127.0.0.1:1/\(SampleImage.repository):1.0"])
    }

    @Test func theRegistryItselfHasTheLastWord() async throws {
        try await FaultyServer.with({ _ in .status(.forbidden) }) { mirror in
            try await FaultyServer.with(Self.image.reply) { registry in
                try await withClient { client in
                    let reference = try registry.reference()
                    let origin = RegistryOrigin(
                        reference, mirrors: [try reference.mirrored(at: mirror.authority, path: "")], client: client)
                    let found = try await origin.resolve(for: .host)
                    #expect(found.manifestDigest == Self.image.manifestDigest)
                    #expect(mirror.requests.count == 1)
                }
            }
        }
    }

    /// A store that has the image, and the requests of another pull.
    static func again(
        _ handler: @escaping FaultyServer.Handler, _ names: [String],
        mirroredAt mirrors: @escaping @Sendable (FaultyServer) throws -> [Reference] = { _ in [] }
    ) async throws -> (digests: [Digest], requests: [String]) {
        let place = try TemporaryDirectory()
        let store = try ImageStore.open(creating: place.path + "/store")
        return try await FaultyServer.with(handler) { server in
            try await withClient { client in
                var (digests, requests): ([Digest], [String]) = ([], [])
                for name in names {
                    let reference = try Reference(parsing: "\(server.authority)/\(SampleImage.repository)\(name)")
                    let before = server.requests.count
                    let origin = RegistryOrigin(reference, mirrors: try mirrors(server), client: client)
                    digests.append(
                        try await ImagePuller(store: store, origin: origin) { _ in }
                            .pull(.docker(reference), platform: .host, refresh: true).digest)
                    requests = server.requests.dropFirst(before).map { "\($0.method) \($0.path)" }
                    let key = try ImageKey(.docker(reference), platform: .host)
                    #expect(try store.digest(of: key) == Self.image.manifestDigest)
                }
                return (digests, requests)
            }
        }
    }

    private static func headed(_ request: FaultyServer.Request, _ digest: String?) -> FaultyServer.Reply {
        var reply = image.reply(to: request)
        if let digest, request.path.contains("/manifests/") { reply.headers.append(("Docker-Content-Digest", digest)) }
        return reply
    }

    @Test func whatIsUpToDateCostsOneHead() async throws {
        let (digests, requests) = try await Self.again(
            { Self.headed($0, "\(Self.image.manifestDigest)") }, [":1.0", ":1.0"])
        #expect(digests == [Self.image.manifestDigest, Self.image.manifestDigest])
        #expect(requests == ["HEAD \(Self.image.manifestPath)"])
    }

    @Test func whatIsPinnedAndHereCostsNothing() async throws {
        let pinned = "@\(Self.image.manifestDigest)"
        let (digests, requests) = try await Self.again({ Self.headed($0, nil) }, [pinned, pinned])
        #expect(digests[1] == Self.image.manifestDigest)
        #expect(requests == [])
    }

    /// A reachable mirror answers instead of the registry.
    @Test func oneMirrorIsAskedOnce() async throws {
        let (_, requests) = try await Self.again(
            { Self.headed($0, "\(Self.image.manifestDigest)") }, [":1.0", ":1.0"]
        ) { server in
            let reference = try server.reference()
            return [
                try reference.mirrored(at: "127.0.0.1:1", path: ""),
                try reference.mirrored(at: server.authority, path: ""),
            ]
        }
        #expect(requests == ["HEAD \(Self.image.manifestPath)"])
    }

    /// No digest, an unknown one, an invalid one, and a registry without HEAD: the manifest decides.
    @Test(arguments: [nil, "sha256:" + String(repeating: "0", count: 64), "sha256:1", "refused"] as [String?])
    func whatAHeadCannotTellTheManifestDoes(_ answer: String?) async throws {
        let (digests, requests) = try await Self.again(
            { request in
                if answer == "refused", request.method == .HEAD { return .status(.methodNotAllowed) }
                return Self.headed(request, answer == "refused" || request.method == .GET ? nil : answer)
            }, [":1.0", ":1.0"])
        #expect(digests[1] == Self.image.manifestDigest)
        #expect(requests.prefix(2) == ["HEAD \(Self.image.manifestPath)", "GET \(Self.image.manifestPath)"])
    }
}
