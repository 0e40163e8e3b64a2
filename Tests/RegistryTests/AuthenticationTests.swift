@testable import Distribution
import Foundation
import ImageSpec
import NIOHTTP1
import Synchronization
import Testing

/// The token flow end to end, and attacks on it.
@Suite struct AuthenticationTests {
    static let image = SampleImage()
    static let scope = "repository:team/app:pull"

    /// A registry whose token service issues `t0`, `t1`, … and that accepts the tokens for which `accepts` returns
    /// true.
    static func tokenRegistry(
        accepts: @escaping @Sendable (_ token: String, _ request: FaultyServer.Request) -> Bool,
        token: @escaping @Sendable (FaultyServer.Request) -> FaultyServer.Reply = {
            .json(#"{"token":"t\#($0.attempt)","expires_in":3600}"#)
        }
    ) -> FaultyServer.Handler {
        { request in
            if request.path == "/token" { return token(request) }
            if let header = request.authorization, header.hasPrefix("Bearer "),
                accepts(String(header.dropFirst(7)), request)
            {
                return image.reply(to: request)
            }
            let host = request.headers.first(name: "Host") ?? ""
            return .status(
                .unauthorized,
                ("WWW-Authenticate", #"Bearer realm="http://\#(host)/token",service="reg",scope="\#(scope)""#))
        }
    }

    @Test func anonymousTokensAreFetchedOnceForAll() async throws {
        try await FaultyServer.with(Self.tokenRegistry { token, _ in token == "t0" }) { server in
            try await withClient { client in
                _ = try await client.manifest(server.reference())
                try await withThrowingTaskGroup { group in
                    for _ in 0..<8 { group.addTask { try await client.layer(Self.image, at: server) } }
                    for try await bytes in group { #expect(bytes == Self.image.layer) }
                }
            }
            let tokens = server.requests.filter { $0.path == "/token" }
            #expect(tokens.map(\.uri) == ["/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"])
            #expect(tokens.first?.authorization == nil)
            // The first request is anonymous, and all later ones have the token.
            #expect(server.requests.filter { $0.path != "/token" && $0.authorization == nil }.count == 1)
        }
    }

    @Test func aRepeatedKeyInATokensAnswerIsRefusedByName() async throws {
        let registry = Self.tokenRegistry(accepts: { _, _ in true }) { _ in .json(#"{"token":"a","token":"b"}"#) }
        try await FaultyServer.with(registry) { server in
            try await withClient { client in
                let reference = try server.reference()
                await #expect {
                    try await client.manifest(reference)
                } throws: { error in
                    guard case .malformed(.token, let detail)? = (error as? RegistryError)?.reason else { return false }
                    return detail.hasPrefix(#"the key "token" occurs twice"#)
                }
            }
        }
    }

    /// A public image is pulled, and the credential error can be reported.
    @Test func aPublicImageIsPulledWithBrokenCredentials() async throws {
        struct Broken: CredentialProvider {
            func credential(
                registry: String, repository: String, user: String?
            ) async throws(CredentialError) -> Credential? {
                throw .malformed(file: "/home/u/.docker/config.json", detail: "broken")
            }
        }
        try await FaultyServer.with(Self.tokenRegistry { _, _ in true }) { server in
            let faults = try await withClient(credentials: Broken()) { client in
                _ = try await client.manifest(server.reference())
                return await client.credentialFaults
            }
            #expect(faults == [.malformed(file: "/home/u/.docker/config.json", detail: "broken")])
        }
    }

    @Test func manyAtOnceStillFetchOneToken() async throws {
        try await FaultyServer.with(Self.tokenRegistry { _, _ in true }) { server in
            try await withClient { client in
                try await withThrowingTaskGroup { group in
                    for _ in 0..<12 { group.addTask { try await client.layer(Self.image, at: server) } }
                    try await group.waitForAll()
                }
            }
            #expect(server.requests.filter { $0.path == "/token" }.count == 1)
        }
    }

    /// Enroot's long pulls failed here: the token expires before all layers are fetched.
    @Test func aTokenThatExpiresMidPullIsRenewed_enroot278() async throws {
        try await FaultyServer.with(
            Self.tokenRegistry { token, request in
                // The first token is valid only for the manifest and the first half of the blob.
                request.path == Self.image.manifestPath || request.attempt == 0 ? token == "t0" : token == "t1"
            }
        ) { server in
            try await withClient { client in
                _ = try await client.manifest(server.reference())
                #expect(try await client.layer(Self.image, at: server) == Self.image.layer)
                #expect(try await client.layer(Self.image, at: server) == Self.image.layer)
            }
            #expect(server.requests.filter { $0.path == "/token" }.count == 2)
        }
    }

    @Test func aTokenExpiringBetweenTwoPartsOfABlobIsRenewed() async throws {
        let registry = Self.tokenRegistry { token, request in
            request.headers.first(name: "Range") == nil ? token == "t0" : token == "t1"
        }
        try await FaultyServer.with { request in
            var reply = registry(request)
            if reply.status == .ok, request.path == Self.image.blobPath { reply.breaksAfter = 100_000 }
            return reply
        } _: { server in
            try await withClient { client in
                let bytes = try await client.layer(Self.image, at: server)
                #expect(bytes == Self.image.layer)
            }
        }
    }

    @Test func credentialsGoToTheTokenServiceOnly() async throws {
        let basic = "Basic " + Data("me:pa:ss".utf8).base64EncodedString()
        try await FaultyServer.with(Self.tokenRegistry { _, _ in true }) { server in
            try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pa:ss"))) { client in
                _ = try await client.manifest(server.reference())
            }
            #expect(server.requests.map(\.authorization) == [nil, basic, "Bearer t0"])
        }
    }

    @Test func aRefusalNamesTheCredentialsFile() async throws {
        let origin = CredentialOrigin.file("/test/auth.json")
        let refuse: FaultyServer.Handler = { request in
            request.path == "/token"
                ? .init(status: .unauthorized, body: Array(#"{"details":"incorrect username or password"}"#.utf8))
                : Self.tokenRegistry { _, _ in false }(request)
        }
        try await FaultyServer.with(refuse) { server in
            let found = await reason {
                try await withClient(credentials: FixedCredentials(.password(user: "me", password: "x"))) {
                    _ = try await $0.manifest(server.reference())
                }
            }
            #expect(found == .unauthorized(origin, message: "incorrect username or password"))
        }
        try await FaultyServer.with(Self.tokenRegistry { _, _ in false }) { server in
            let found = await reason { try await withClient { _ = try await $0.manifest(server.reference()) } }
            #expect(found == .unauthorized(nil, message: nil))
            #expect(server.requests.filter { $0.path == "/token" }.count == 2)
        }
    }

    @Test func identityTokensAreTradedByPostAndElseByGet() async throws {
        for knowsPost in [true, false] {
            let handler = Self.tokenRegistry { _, _ in
                true
            } token: { request in
                if request.method == .POST {
                    return knowsPost ? .json(#"{"access_token":"a"}"#) : .status(.methodNotAllowed)
                }
                return .json(#"{"token":"g"}"#)
            }
            try await FaultyServer.with(handler) { server in
                try await withClient(credentials: FixedCredentials(.identityToken(user: "", token: "secret+1"))) {
                    client in
                    _ = try await client.manifest(server.reference())
                }
                let post = server.requests.first { $0.method == .POST }
                #expect(
                    post?.body == "service=reg&scope=repository%3Ateam%2Fapp%3Apull"
                        + "&grant_type=refresh_token&client_id=berth&refresh_token=secret%2B1")
                #expect(server.requests.last?.authorization == (knowsPost ? "Bearer a" : "Bearer g"))
            }
        }
    }

    @Test func basicAndRegistryTokens() async throws {
        let basic = "Basic " + Data("me:pw".utf8).base64EncodedString()
        for (secret, challenge, header) in [
            (Credential.Secret.password(user: "me", password: "pw"), "Basic realm=\"x\"", basic),
            (.registryToken("tok"), "Bearer realm=\"http://127.0.0.1:1/\"", "Bearer tok"),
        ] {
            try await FaultyServer.with { request in
                request.authorization == header
                    ? Self.image.reply(to: request) : .status(.unauthorized, ("WWW-Authenticate", challenge))
            } _: { server in
                try await withClient(credentials: FixedCredentials(secret)) { client in
                    _ = try await client.image(server.reference(), for: Platform(parsing: "amd64"))
                }
                #expect(server.requests.filter { $0.authorization == nil }.count == 1)
            }
        }
    }

    /// CVE-2022-23538, GHSA-vh4v-2xq2-g5cg, CVE-2018-1000007, CVE-2022-27774, CVE-2022-27776 and CVE-2023-45289:
    /// clients forwarded credentials to the target of a redirect, including another port of the same host.
    /// CVE-2024-45336: they sent them again after a second redirect to the same host as the first.
    @Test func authorizationStaysAtItsOrigin() async throws {
        let store = try await FaultyServer { request in
            guard request.path == "/bucket/x" else { return SampleImage.blob(Self.image.layer, request) }
            return .status(.found, ("Location", "/elsewhere/in/it"))
        }
        let registry = Self.tokenRegistry { _, _ in true }
        try await FaultyServer.with { request in
            let reply = registry(request)
            guard reply.status == .ok, request.path == Self.image.blobPath else { return reply }
            return .status(.temporaryRedirect, ("Location", "\(store.url)/bucket/x?signature=abc"))
        } _: { server in
            try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pw"))) { client in
                let bytes = try await client.layer(Self.image, at: server)
                #expect(bytes == Self.image.layer)
            }
        }
        #expect(store.requests.map(\.uri) == ["/bucket/x?signature=abc", "/elsewhere/in/it"])
        // The same host under another port is another origin.
        #expect(store.requests.allSatisfy { $0.authorization == nil })
        await store.stop()
    }

    /// CVE-2020-15157: the host of a blob requests credentials and receives the registry's.
    @Test func aChallengeFromElsewhereGetsNoCredentials() async throws {
        // The store requests credentials from its own token service. It may only get anonymous tokens.
        let store = try await FaultyServer(
            Self.tokenRegistry { _, _ in
                true
            } token: { _ in
                .json(#"{"token":"s"}"#)
            })
        let basicStore = try await FaultyServer { _ in .status(.unauthorized, ("WWW-Authenticate", "Basic realm=\"x\""))
        }
        for target in [store, basicStore] {
            try await FaultyServer.with { request in
                request.path == Self.image.blobPath
                    ? .status(.found, ("Location", "\(target.url)\(Self.image.blobPath)")) : .status(.notFound)
            } _: { server in
                try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pw"))) { client in
                    _ = try? await client.layer(Self.image, at: server)
                }
            }
            #expect(!target.requests.isEmpty)
            #expect(target.requests.allSatisfy { $0.authorization?.hasPrefix("Basic") != true })
            await target.stop()
        }
    }

    /// CVE-2026-48978, GHSA-xf85-363p-868w: another host receives the credentials for the token service.
    @Test func aTokenServiceThatRedirectsIsNotFollowed() async throws {
        let other = try await FaultyServer { _ in .json(#"{"token":"stolen"}"#) }
        let handler = Self.tokenRegistry { _, _ in
            true
        } token: { _ in
            .status(.temporaryRedirect, ("Location", "\(other.url)/token"))
        }
        try await FaultyServer.with(handler) { server in
            let found = await reason {
                try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pw"))) {
                    _ = try await $0.manifest(server.reference())
                }
            }
            #expect(found == .refusedRealm(.redirected, realm: server.url))
        }
        #expect(other.requests.isEmpty)
        await other.stop()
    }

    @Test func redirectsEnd() async throws {
        try await FaultyServer.with {
            .status(.movedPermanently, ("Location", $0.uri))
        } _: { server in
            let found = await reason { try await withClient { _ = try await $0.manifest(server.reference()) } }
            #expect(found == .refusedRedirect(.tooMany, to: server.url))
        }
        for (location, fault) in [
            ("file:///etc/passwd", RegistryError.RedirectFault.notHTTP),
            ("http://169.254.169.254/latest", .localAddress),
            ("http://me:pw@127.0.0.1/", .notHTTP),
        ] {
            try await FaultyServer.with { _ in
                .status(.found, ("Location", location))
            } _: { server in
                let found = await reason { try await withClient { _ = try await $0.manifest(server.reference()) } }
                guard case .refusedRedirect(let why, _)? = found else {
                    Issue.record("followed \(location)")
                    return
                }
                #expect(why == fault)
            }
        }
    }
}
