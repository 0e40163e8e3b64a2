@testable import Distribution
import Foundation
import ImageSpec
import NIOHTTP1
import Testing

/// Registries that deviate from the specification.
@Suite struct StrangerTests {
    static let image = SampleImage()
    static let login = FixedCredentials(.password(user: "me", password: "pw"))
    static let basic = "Basic " + Data("me:pw".utf8).base64EncodedString()

    /// GitHub's packages, Artifactory and zot hide private images and send a challenge only at their root.
    @Test(arguments: [HTTPResponseStatus.notFound, .forbidden, .unauthorized], [true, false])
    func credentialsAreUsedWhereOnlyTheRootAsks(status: HTTPResponseStatus, isBearer: Bool) async throws {
        let handler: FaultyServer.Handler = { request in
            if request.path == "/token" {
                return request.authorization == Self.basic ? .json(#"{"token":"t"}"#) : .status(.unauthorized)
            }
            if request.authorization == (isBearer ? "Bearer t" : Self.basic) { return Self.image.reply(to: request) }
            guard request.path == "/v2/" else { return .status(status) }
            let host = request.headers.first(name: "Host") ?? ""
            return .status(
                .unauthorized,
                ("WWW-Authenticate", isBearer ? #"Bearer realm="http://\#(host)/token",service="s""# : "Basic realm=x"))
        }
        try await FaultyServer.with(handler) { server in
            try await withClient(credentials: Self.login) { client in
                _ = try await client.image(server.reference(), for: Platform(parsing: "amd64"))
                #expect(try await client.layer(Self.image, at: server) == Self.image.layer)
            }
            #expect(server.requests.filter { $0.path == "/v2/" }.count == 1)
            if isBearer {
                let token = try #require(server.requests.first { $0.path == "/token" })
                #expect(token.uri.contains("scope=repository%3Ateam%2Fapp%3Apull"))
            }
        }
    }

    @Test func whatIsNotThereIsAskedForOnce() async throws {
        try await FaultyServer.with { request in
            request.path == "/v2/" ? .json("{}") : .status(.notFound)
        } _: { server in
            try await withClient(credentials: Self.login) { client in
                for _ in 0..<2 {
                    let found = await reason { _ = try await client.manifest(server.reference()) }
                    #expect(found == .manifestUnknown)
                }
            }
            #expect(server.requests.map(\.path).filter { $0 == "/v2/" }.count == 1)
        }
    }

    @Test func aWebServerIsNoRegistry() async throws {
        let page = FaultyServer.Reply.json("<html>Welcome</html>", type: "text/html; charset=utf-8")
        for handler: FaultyServer.Handler in [
            { _ in page },
            { _ in .init(status: .notFound, headers: page.headers, body: page.body) },
            { _ in .init(status: .methodNotAllowed, headers: page.headers, body: page.body) },
            { request in
                request.path == "/login" ? page : .status(.found, ("Location", "/login"))
            },
        ] {
            try await FaultyServer.with(handler) { server in
                let found = await reason { try await withClient { _ = try await $0.manifest(server.reference()) } }
                #expect(found == .notARegistry)
            }
        }
    }

    @Test func severalScopesAreOneFieldOfAForm() async throws {
        let handler = AuthenticationTests.tokenRegistry { _, _ in true }
        let scopes = "repository:team/app:pull repository:team/base:pull"
        for secret in [
            Credential.Secret.identityToken(user: "", token: "idt"), .password(user: "me", password: "pw"),
        ] {
            try await FaultyServer.with { request in
                let reply = handler(request)
                guard reply.status == .unauthorized, request.path != "/token" else { return reply }
                let host = request.headers.first(name: "Host") ?? ""
                return .status(
                    .unauthorized,
                    ("WWW-Authenticate", #"Bearer realm="http://\#(host)/token",service="s",scope="\#(scopes)""#))
            } _: { server in
                try await withClient(credentials: FixedCredentials(secret)) {
                    _ = try await $0.manifest(server.reference())
                }
                let token = try #require(server.requests.first { $0.path == "/token" })
                let text = token.method == .POST ? token.body : token.uri
                #expect(text.components(separatedBy: "scope=").count == (token.method == .POST ? 2 : 3), "\(text)")
                if token.method == .POST {
                    #expect(text.contains("scope=repository%3Ateam%2Fapp%3Apull%20repository%3Ateam%2Fbase%3Apull"))
                }
            }
        }
    }

    @Test func bytesAreAskedForAsTheyAre() async throws {
        for path in [Self.image.manifestPath, Self.image.blobPath] {
            try await FaultyServer.with { request in
                var reply = Self.image.reply(to: request)
                if request.path == path {
                    reply.headers.append(("Content-Encoding", "gzip"))
                    reply.body = Array(reply.body.reversed())
                }
                return reply
            } _: { server in
                let found = await reason {
                    try await withClient { client in
                        _ = try await client.manifest(server.reference())
                        _ = try await client.layer(Self.image, at: server)
                    }
                }
                #expect(found == .contentEncoding("gzip"))
                #expect(server.requests.allSatisfy { $0.headers["Accept-Encoding"] == ["identity"] })
            }
        }
    }

    /// Object stores send this header for compressed layers and transfer them unchanged.
    @Test func aLabelOnTheRightBytesDoesNoHarm() async throws {
        try await FaultyServer.with { request in
            var reply = Self.image.reply(to: request)
            if request.path == Self.image.blobPath { reply.headers.append(("Content-Encoding", "gzip")) }
            return reply
        } _: { server in
            let bytes = try await withClient { try await $0.layer(Self.image, at: server) }
            #expect(bytes == Self.image.layer)
        }
    }

    /// Unreadable credentials must not prevent the pull of a public image.
    @Test func brokenCredentialsMatterOnlyWhereTheyAreNeeded() async throws {
        struct Broken: CredentialProvider {
            static let error = CredentialError.helperNotFound("docker-credential-x", file: "/f")
            func credential(
                registry: String, repository: String, user: String?
            ) async throws(CredentialError) -> Credential? { throw Self.error }
        }
        try await FaultyServer.with(AuthenticationTests.tokenRegistry { _, _ in true }) { server in
            try await withClient(credentials: Broken()) { _ = try await $0.manifest(server.reference()) }
        }
        for handler: FaultyServer.Handler in [
            AuthenticationTests.tokenRegistry { _, _ in false },
            AuthenticationTests.tokenRegistry { _, _ in
                true
            } token: { _ in
                .status(.unauthorized)
            },
            { _ in .status(.unauthorized, ("WWW-Authenticate", "Basic realm=x")) },
            { _ in .status(.forbidden) },
            { $0.path == "/v2/" ? .status(.unauthorized, ("WWW-Authenticate", "Basic realm=x")) : .status(.notFound) },
        ] {
            try await FaultyServer.with(handler) { server in
                let found = await reason {
                    try await withClient(credentials: Broken()) { _ = try await $0.manifest(server.reference()) }
                }
                #expect(found == .credentials(Broken.error))
            }
        }
    }

    @Test func locationsAreEscapedAndFollowed() async throws {
        try await FaultyServer.with { request in
            switch request.path {
            case Self.image.blobPath:
                .status(.found, ("Location", "../../../../store/a b/./x/../\u{e9}|1.bin?sig=a b%2F&x=%zz"))
            case "/store/a%20b/%C3%A9%7C1.bin": SampleImage.blob(Self.image.layer, request)
            default: .status(.notFound)
            }
        } _: { server in
            let bytes = try await withClient { try await $0.layer(Self.image, at: server) }
            #expect(bytes == Self.image.layer)
            #expect(server.requests.last?.uri == "/store/a%20b/%C3%A9%7C1.bin?sig=a%20b%2F&x=%25zz")
        }
    }

    /// RFC 3986, section 5.4, for http URLs, and the behaviour of browsers and curl for bytes that are not allowed in
    /// URLs.
    @Test(
        arguments: [
            ("g", "http://a/b/c/g"), ("./g", "http://a/b/c/g"), ("g/", "http://a/b/c/g/"), ("/g", "http://a/g"),
            ("//g", "http://g/"), ("?y", "http://a/b/c/d;p?y"), ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"), ("g?y#s", "http://a/b/c/g?y"), (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"), ("./", "http://a/b/c/"), ("..", "http://a/b/"), ("../", "http://a/b/"),
            ("../g", "http://a/b/g"), ("../..", "http://a/"), ("../../", "http://a/"), ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"), ("../../../../g", "http://a/g"), ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."), (".g", "http://a/b/c/.g"), ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"), ("./g/.", "http://a/b/c/g/"), ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"), ("g;x=1/../y", "http://a/b/c/y"), ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://B.example/x/../y z", "https://b.example/y%20z"), ("  /g ", "http://a/g"),
            ("/\u{fc}\u{301}", "http://a/%C3%BC%CC%81"), ("/a%2e%2e", "http://a/a%2e%2e"), ("/100%", "http://a/100%25"),
            ("mailto:x", nil), ("/a\\b", nil), ("/a\u{1}b", nil), ("http://h h/", nil), ("http://\u{e9}.example/", nil),
            ("http://u@h/", nil), ("///", nil),
        ] as [(String, String?)])
    func locationsAreResolved(location: String, expected: String?) throws {
        let base = try #require(WebURL(parsing: "http://a/b/c/d;p?q"))
        #expect(base.resolving(location)?.text == expected)
    }
}
