@testable import Distribution
import Foundation
import ImageSpec
import NIOCore
import NIOHTTP1
import Testing

/// Which connections are allowed, by address rather than by name. End to end: Private/private-registry.sh.
@Suite struct ReachTests {
    static let registry = Origin(scheme: .https, host: "r.example")

    static let cases: [(peer: String, own: String?, registry: String?, realm: Bool, redirect: Bool)] = [
        ("203.0.113.7", "192.0.2.2", "203.0.113.1", true, true),
        ("10.0.0.7", "10.0.0.2", "203.0.113.1", true, true),
        ("127.0.0.1", "127.0.0.1", "203.0.113.1", false, false),
        ("127.0.0.1", "127.0.0.1", nil, false, false),
        ("127.8.8.8", "127.0.0.1", "10.0.0.1", false, false),
        ("::1", "::1", "203.0.113.1", false, false),
        ("::ffff:127.0.0.1", "127.0.0.1", "203.0.113.1", false, false),
        ("0.0.0.0", nil, "203.0.113.1", false, false),
        ("::", nil, "203.0.113.1", false, false),
        ("169.254.169.254", "192.0.2.2", "203.0.113.1", false, false),
        ("::ffff:169.254.169.254", "192.0.2.2", "203.0.113.1", false, false),
        ("169.254.169.254", "192.0.2.2", "127.0.0.1", false, false),
        ("fe80::1", "fe80::2", "203.0.113.1", false, false),
        ("fd00:ec2::254", "2001:db8::2", "203.0.113.1", false, false),
        ("100.100.100.200", "192.0.2.2", "203.0.113.1", false, false),
        ("168.63.129.16", "192.0.2.2", "203.0.113.1", false, false),
        // A registry on this host may have its token service there.
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", true, true),
        ("::1", "::1", "127.0.0.1", true, true),
        ("169.254.10.1", "169.254.10.2", "169.254.10.1", true, true),
        // This host by another of its addresses.
        ("192.0.2.2", "192.0.2.2", "203.0.113.1", false, true),
        ("192.0.2.2", "192.0.2.2", "192.0.2.2", true, true),
        ("10.0.0.2", "10.0.0.2", "10.0.0.1", true, true),
    ]

    @Test(arguments: cases.indices) func judgesAddresses(index: Int) throws {
        let each = Self.cases[index]
        let peer = try #require(IPAddress(literal: each.peer))
        let own = each.own.flatMap { IPAddress(literal: $0) }
        let registry = each.registry.flatMap { IPAddress(literal: $0) }
        #expect(Reach.realm(of: Self.registry).allows(peer, own: own, registry: registry) == each.realm)
        #expect(Reach.redirect(from: Self.registry).allows(peer, own: own, registry: registry) == each.redirect)
        #expect(Reach.registry.allows(peer, own: own, registry: registry))
    }

    @Test(arguments: [
        "localhost", "localhost.", "x.localhost", "127.1", "2130706433", "0x7f.1", "017700000001", "[::1]",
        "[::ffff:127.0.0.1]", "[::127.0.0.1]", "127.0.0.1.",
    ]) func literalsOfThisHostAreSeen(host: String) {
        #expect(Origin(scheme: .https, host: host).addressKind == .loopback)
    }

    /// A registry that is not on loopback, and a token service whose name resolves to loopback, such as this host's
    /// name.
    @Test func aNameThatLeadsToThisHostGetsNoPassword() async throws {
        let addresses = try System.enumerateDevices().compactMap { $0.address?.ipAddress }
        let outer = addresses.first { text in
            text.contains(".") && IPAddress(literal: text).map { $0.kind != .loopback && $0.kind != .linkLocal } == true
        }
        let name = ProcessInfo.processInfo.hostName
        let leads = try? SocketAddress.makeAddressResolvingHost(name, port: 1).ipAddress
        guard let outer, let leads, IPAddress(literal: leads)?.kind == .loopback else { return }

        let service = try await FaultyServer(host: leads) { _ in .json(#"{"token":"stolen"}"#) }
        let realm = "http://\(name):\(service.port)"
        let server = try await FaultyServer(host: outer) { request in
            request.path.hasSuffix("/moved")
                ? .status(.temporaryRedirect, ("Location", realm))
                : .status(.unauthorized, ("WWW-Authenticate", #"Bearer realm="\#(realm)/token",service="s""#))
        }
        for tag in ["1.0", "moved"] {
            let found = await reason {
                try await withClient(credentials: FixedCredentials(.password(user: "me", password: "pw"))) {
                    $0.insecureRegistries = [server.authority]
                } _: {
                    _ = try await $0.manifest(server.reference("team/app:\(tag)"))
                }
            }
            let place = "\(realm) (\(leads))"
            #expect(
                found
                    == (tag == "moved"
                        ? .refusedRedirect(.localAddress, to: place) : .refusedRealm(.localAddress, realm: place)))
        }
        #expect(service.requests.isEmpty)
        await service.stop()
        await server.stop()
    }

    /// A registry on this host may also have its token service here by name.
    @Test func aRegistryOnThisHostMayNameThisHost() async throws {
        let service = try await FaultyServer { _ in .json(#"{"token":"t"}"#) }
        let image = SampleImage()
        let server = try await FaultyServer { request in
            request.authorization == "Bearer t"
                ? image.reply(to: request)
                : .status(
                    .unauthorized,
                    ("WWW-Authenticate", #"Bearer realm="http://localhost:\#(service.port)/token",service="s""#))
        }
        try await withClient { client in
            _ = try await client.manifest(Reference(parsing: "localhost:\(server.port)/\(SampleImage.repository):1.0"))
        }
        #expect(service.requests.count == 1)
        await service.stop()
        await server.stop()
    }
}
