@testable import Distribution
import Foundation
import Hashing
import ImageSpec
import NIOCore
import NIOHTTP1
import Testing

/// Servers that keep sending data and never finish.
@Suite(.serialized) struct TimeLimitTests {
    static let image = SampleImage(layerSize: 200_000)

    /// The error of `work`, which must end within seconds.
    static func reasonSoon(
        _ server: RawServer, change: @escaping (inout RegistryConfiguration) -> Void = { _ in },
        _ work: (RegistryClient, Reference) async throws -> Void
    ) async throws -> RegistryError.Reason? {
        let start = ContinuousClock.now
        let reference = try Reference(parsing: "\(server.authority)/team/app:1.0")
        let found = await reason {
            try await withClient {
                $0.insecureRegistries = [server.authority]
                $0.answerLimit = .seconds(1)
                $0.headTimeout = .milliseconds(400)
                change(&$0)
            } _: {
                try await work($0, reference)
            }
        }
        #expect(ContinuousClock.now - start < .seconds(60))
        return found
    }

    static let endless: [(String, [RawServer.Step])] = [
        ("continue", [.repeating("HTTP/1.1 100 Continue\r\n\r\n", every: .milliseconds(10))]),
        ("hints", [.repeating("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", every: .milliseconds(10))]),
        ("headers", [.send("HTTP/1.1 200 OK\r\n"), .repeating("X-Header: x\r\n", every: .milliseconds(1))]),
        ("one header", [.send("HTTP/1.1 200 OK\r\nX-Header: "), .repeating("xxxxxxxx", every: .milliseconds(1))]),
    ]

    @Test(arguments: endless.indices) func headsWithoutEndAreGivenUp(index: Int) async throws {
        let steps = Self.endless[index].1
        try await RawServer.with { _ in
            steps
        } _: { server in
            let manifest = try await Self.reasonSoon(server) { _ = try await $0.manifest($1) }
            // Which limit is reached first depends on the machine, and the TLS attempt before it may be reported
            // instead. `reasonSoon` checks that the request ends at all.
            #expect(manifest != nil, "\(Self.endless[index].0)")
            let head = try await Self.reasonSoon(server) { _ = try await $0.head($1) }
            #expect(head != nil, "\(Self.endless[index].0)")
        }
    }

    @Test func headersAreNotKeptWithoutLimit() async throws {
        let flood = "X-Header: " + String(repeating: "x", count: 60_000) + "\r\n"
        try await RawServer.with { _ in
            [.send("HTTP/1.1 200 OK\r\n"), .repeating(flood, every: .milliseconds(5))]
        } _: { server in
            let found = try await Self.reasonSoon(server) { _ = try await $0.manifest($1) }
            #expect(found != nil)
        }
    }

    /// A slow disk must not look like an unresponsive server.
    @Test func aSlowReaderGetsEverything() async throws {
        let image = SampleImage(layerSize: 20_000_000, seed: 3)
        try await FaultyServer.with(image.reply) { server in
            try await withClient {
                $0.readTimeout = .seconds(3)
            } _: { client in
                var bytes: [UInt8] = []
                for try await part in client.blob(image.layerDescriptor, in: try server.reference()) {
                    if bytes.count < 3_000_000, bytes.count + part.bytes.count >= 3_000_000 {
                        try await Task.sleep(for: .seconds(7))
                    }
                    bytes += part.bytes
                }
                #expect(bytes == image.layer)
            }
        }
    }

    /// A registry without TLS is contacted over TLS first. On a slow machine, that attempt alone may use up the time.
    static func isTimeLimit(_ reason: RegistryError.Reason?) -> Bool {
        reason == .tooSlow(limit: .seconds(1)) || reason == .unreachable(.timedOut)
    }

    static let slowBody: [RawServer.Step] = [
        .send("HTTP/1.1 200 OK\r\nContent-Type: \(MediaType.ociManifest)\r\nContent-Length: 100000\r\n\r\n"),
        .repeating(" ", every: .milliseconds(50)),
    ]

    @Test func aManifestByteByByteIsGivenUp() async throws {
        try await RawServer.with { _ in
            Self.slowBody
        } _: { server in
            let found = try await Self.reasonSoon(server) { _ = try await $0.manifest($1) }
            #expect(Self.isTimeLimit(found), "\(found as Any)")
        }
    }

    @Test func aConfigurationByteByByteIsGivenUp() async throws {
        try await RawServer.with { _ in
            Self.slowBody
        } _: { server in
            let blob = Descriptor(
                mediaType: .ociConfig, digest: Digest(hashing: [1], with: .sha256), size: 100_000)
            let found = try await Self.reasonSoon(server) { _ = try await $0.bytes(of: blob, in: $1, limit: 1 << 20) }
            #expect(Self.isTimeLimit(found), "\(found as Any)")
        }
    }

    @Test func anIndexThatLeadsOnAndOnIsGivenUp() async throws {
        let inner = SampleImage.descriptor(.ociIndex, Array("{}".utf8))
        let index =
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex)","manifests":["#
            + Array(repeating: inner, count: 200).joined(separator: ",") + "]}"
        try await FaultyServer.with { request in
            request.path.hasSuffix("/1.0")
                ? .json(index, type: MediaType.ociIndex.rawValue)
                : .status(.serviceUnavailable, ("Retry-After", "1"))
        } _: { server in
            let start = ContinuousClock.now
            let found = await reason {
                try await withClient {
                    $0.resolutionLimit = .seconds(2)
                } _: {
                    _ = try await $0.image(server.reference(), for: Platform(parsing: "amd64"))
                }
            }
            #expect(found != nil)
            #expect(ContinuousClock.now - start < .seconds(60))
        }
    }

    @Test func aTokenByteByByteIsGivenUp() async throws {
        try await RawServer.with { _ in
            Self.slowBody
        } _: { service in
            let challenge = #"Bearer realm="http://\#(service.authority)/token",service="s""#
            try await FaultyServer.with { _ in
                .status(.unauthorized, ("WWW-Authenticate", challenge))
            } _: { server in
                let start = ContinuousClock.now
                let found = await reason {
                    try await withClient {
                        $0.answerLimit = .seconds(1)
                    } _: {
                        _ = try await $0.manifest(server.reference())
                    }
                }
                #expect(Self.isTimeLimit(found), "\(found as Any)")
                #expect(ContinuousClock.now - start < .seconds(60))
            }
        }
    }

    @Test func aBodyThatIsNotWantedIsNotWaitedFor() async throws {
        try await RawServer.with { request in
            request.contains("/manifests/")
                ? [
                    .send("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 50000\r\n\r\n"),
                    .repeating("x", every: .milliseconds(100)),
                ] : [.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")]
        } _: { server in
            let found = try await Self.reasonSoon(server, change: Self.patientButForTheRate) {
                _ = try await $0.manifest($1)
            }
            #expect(found == .manifestUnknown)
        }
    }

    static func patientButForTheRate(_ configuration: inout RegistryConfiguration) {
        configuration.rateWindow = .milliseconds(500)
        configuration.headTimeout = .seconds(50)
        configuration.answerLimit = .seconds(50)
    }

    @Test func aBlobBelowTheLeastRateIsGivenUp() async throws {
        let layer = Self.image.layerDescriptor
        try await RawServer.with { _ in
            [
                .send("HTTP/1.1 200 OK\r\nContent-Length: \(layer.size)\r\n\r\n"),
                .repeating("x", every: .milliseconds(20)),
            ]
        } _: { server in
            let found = try await Self.reasonSoon(server, change: Self.patientButForTheRate) {
                for try await _ in $0.blob(layer, in: $1) {}
            }
            #expect(found == .slowTransfer(least: 1000))
            #expect(server.requests == 2)
        }
    }

    /// The server must not be blamed for a slow disk: see also `BlobTests.aSlowReaderGetsEverything`.
    @Test func theRateIsOfTheTimeThatWasWaited() {
        var configuration = RegistryConfiguration()
        configuration.rateWindow = .seconds(30)
        var window = RateWindow()
        func add(_ count: Int) -> Bool { window.add(count, waited: .seconds(1), configuration) }
        let slow = (0..<30).map { _ in add(1) }
        #expect(slow == Array(repeating: true, count: 29) + [false])
        let fast = (0..<30).map { _ in add(1000) }
        #expect(fast == Array(repeating: true, count: 30))
    }
}
