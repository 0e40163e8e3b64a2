@testable import Distribution
import Foundation
import Hashing
import ImageSpec
import NIOHTTP1
import Synchronization
import Testing

/// Pushes to registries that refuse, break and redirect.
@Suite struct PushTests {
    static let image = SampleImage(layerSize: 300_000)
    static let name = "/v2/\(SampleImage.repository)"

    static func push(_ client: RegistryClient, to server: FaultyServer) async throws {
        let layer = image.layer
        try await client.push(image.layerDescriptor, to: try server.reference()) { (buffer, offset) in
            let count = min(buffer.count, layer.count - Int(offset))
            layer.withUnsafeBytes { bytes in
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<Int(offset) + count]))
            }
            return count
        }
    }

    /// A registry that accepts one blob. `upload` answers the PUT.
    static func registry(
        location: String = "\(name)/blobs/uploads/7?_state=s",
        upload: @escaping @Sendable (FaultyServer.Request) -> FaultyServer.Reply = { _ in .status(.created) }
    ) -> FaultyServer.Handler {
        { request in
            switch request.method {
            case .HEAD: .status(.notFound)
            case .POST: .status(.accepted, ("Location", location))
            case .PUT: upload(request)
            default: .status(.badRequest)
            }
        }
    }

    @Test func aBlobGoesWholeToWhereTheRegistrySays() async throws {
        try await FaultyServer.with(Self.registry()) { server in
            try await withClient { try await Self.push($0, to: server) }
            #expect(server.requests.map(\.method) == [.HEAD, .POST, .PUT])
            let put = try #require(server.requests.last)
            let digest = Self.image.layerDescriptor.digest
            #expect(put.uri == "\(Self.name)/blobs/uploads/7?_state=s&digest=sha256%3A\(digest.hex)")
            #expect(put.headers.first(name: "Content-Length") == "300000")
            #expect(put.headers.first(name: "Content-Type") == "application/octet-stream")
            #expect(put.body == String(decoding: Self.image.layer, as: UTF8.self))
        }
    }

    @Test func whatIsThereIsNotSent() async throws {
        try await FaultyServer.with { _ in
            .status(.ok)
        } _: { server in
            try await withClient { try await Self.push($0, to: server) }
            #expect(server.requests.map(\.method) == [.HEAD])
        }
    }

    @Test func aTransferThatBreaksBeginsAnew() async throws {
        let handler = Self.registry { request in
            request.attempt < 2
                ? FaultyServer.Reply(status: .created, claimedLength: 10, breaksAfter: 0) : .status(.created)
        }
        // The head arrived, so the registry has accepted the upload.
        try await FaultyServer.with(handler) { server in
            try await withClient { try await Self.push($0, to: server) }
        }
        let failing = Self.registry { $0.attempt < 2 ? .status(.badGateway) : .status(.created) }
        try await FaultyServer.with(failing) { server in
            try await withClient { try await Self.push($0, to: server) }
            #expect(server.requests.filter { $0.method == .PUT }.count == 3)
            #expect(server.requests.filter { $0.method == .POST }.count == 3)
        }
        try await FaultyServer.with(Self.registry { _ in .status(.badGateway) }) { server in
            let found = await reason { try await withClient { try await Self.push($0, to: server) } }
            #expect(found == .unexpectedStatus(502, message: nil))
            #expect(server.requests.filter { $0.method == .PUT }.count == 4)
        }
    }

    @Test(
        arguments: [
            (401, #"{"errors":[{"code":"UNAUTHORIZED","message":"m"}]}"#, .pushUnauthorized(nil, message: "m")),
            (403, #"{"errors":[{"code":"DENIED","message":"quota"}]}"#, .pushDenied(nil, message: "quota")),
            (405, #"{"errors":[{"code":"UNSUPPORTED","message":"ro"}]}"#, .readOnly(message: "ro")),
            (413, "", .noRoom(status: 413, message: nil)), (507, "", .noRoom(status: 507, message: nil)),
            (400, #"{"errors":[{"code":"DIGEST_INVALID","message":"d"}]}"#, .uploadCorrupted(message: "d")),
        ] as [(Int, String, RegistryError.Reason)])
    func refusalsAreToldApart(status: Int, body: String, expected: RegistryError.Reason) async throws {
        let handler = Self.registry { _ in
            FaultyServer.Reply(status: .init(statusCode: status), body: Array(body.utf8))
        }
        try await FaultyServer.with(handler) { server in
            let found = await reason { try await withClient { try await Self.push($0, to: server) } }
            #expect(found == expected)
            // None of these errors is transient.
            #expect(server.requests.filter { $0.method == .PUT }.count == 1)
        }
    }

    @Test func aTokenForWritingIsAskedFor() async throws {
        let handler: FaultyServer.Handler = { request in
            if request.path == "/token" { return .json(#"{"token":"t","expires_in":3600}"#) }
            guard request.authorization == "Bearer t" else {
                let host = request.headers.first(name: "Host") ?? ""
                return .status(
                    .unauthorized, ("WWW-Authenticate", #"Bearer realm="http://\#(host)/token",service="reg""#))
            }
            return Self.registry()(request)
        }
        try await FaultyServer.with(handler) { server in
            try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pw"))) {
                try await Self.push($0, to: server)
            }
            let tokens = server.requests.filter { $0.path == "/token" }
            #expect(tokens.map(\.uri) == ["/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull%2Cpush"])
        }
    }

    /// CVE-2026-50151, GHSA-jxpm-75mh-9fp7: an upload location on another host receives the registry's credentials.
    @Test func credentialsStayWithTheRegistry() async throws {
        let store = try await FaultyServer { _ in .status(.created) }
        let handler: FaultyServer.Handler = { request in
            guard request.authorization != nil else {
                return .status(.unauthorized, ("WWW-Authenticate", "Basic realm=\"x\""))
            }
            return Self.registry(location: "\(store.url)/bucket/up?signature=1")(request)
        }
        try await FaultyServer.with(handler) { server in
            try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pw"))) {
                try await Self.push($0, to: server)
            }
        }
        #expect(store.requests.map(\.path) == ["/bucket/up"])
        #expect(store.requests.allSatisfy { $0.authorization == nil })
        await store.stop()
        // A location that only this machine can reach, or an invalid one.
        for location in ["http://169.254.169.254/latest", "file:///etc/passwd"] {
            try await FaultyServer.with(Self.registry(location: location)) { server in
                guard
                    case .refusedRedirect? = await reason({
                        try await withClient { try await Self.push($0, to: server) }
                    })
                else {
                    Issue.record("sent to \(location)")
                    return
                }
            }
        }
    }

    @Test func aManifestThatTheRegistryRewritesIsAnError() async throws {
        let other = Digest(hashing: [1], with: .sha256)
        try await FaultyServer.with { _ in
            .status(.created, ("Docker-Content-Digest", other.description))
        } _: { server in
            let found = await reason {
                try await withClient {
                    try await $0.push(
                        manifest: Self.image.manifest, .ociManifest, digest: Self.image.manifestDigest,
                        to: server.reference())
                }
            }
            #expect(found == .digestMismatch(expected: Self.image.manifestDigest, found: other))
            #expect(server.requests.first?.headers.first(name: "Content-Type") == MediaType.ociManifest.rawValue)
            #expect(server.requests.first?.uri == "\(Self.name)/manifests/1.0")
        }
    }

    @Test func aBlobIsLentByAnotherRepository() async throws {
        for (status, lent) in [(HTTPResponseStatus.created, true), (.accepted, false), (.forbidden, false)] {
            try await FaultyServer.with { _ in
                .status(status)
            } _: { server in
                let found = try await withClient {
                    try await $0.mountBlob(
                        Self.image.layerDescriptor.digest, from: server.reference("base/os:1"), into: server.reference()
                    )
                }
                #expect(found == lent)
                let digest = Self.image.layerDescriptor.digest
                #expect(
                    server.requests.map(\.uri)
                        == ["\(Self.name)/blobs/uploads/?mount=sha256%3A\(digest.hex)&from=base%2Fos"])
            }
        }
    }
}
