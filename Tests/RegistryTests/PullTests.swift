import Distribution
import Foundation
import Hashing
import ImageSpec
import NIOHTTP1
import Testing

/// Manifests and blobs from a server without authentication: valid ones pass, and errors name what is wrong.
@Suite struct PullTests {
    static let image = SampleImage()

    @Test func anImageAndItsLayer() async throws {
        try await FaultyServer.with(Self.image.reply) { server in
            try await withClient { client in
                let found = try await client.image(
                    try server.reference(), for: .init(os: "linux", architecture: "amd64"))
                #expect(found.manifestDigest == Self.image.manifestDigest)
                #expect(found.digest == Self.image.manifestDigest)
                #expect(found.config.config.env == ["A=b"])
                #expect(try await client.layer(Self.image, at: server) == Self.image.layer)
            }
            let accept = server.requests.first?.headers["Accept"] ?? []
            try #require(accept.count == 1)
            #expect(MediaType.acceptedManifests.allSatisfy { accept[0].contains($0.rawValue) })
            #expect(server.requests.allSatisfy { $0.authorization == nil })
        }
    }

    @Test func anIndexLeadsToThePlatform() async throws {
        let arm = SampleImage(platform: "arm64", seed: 2)
        let entries = [(Self.image, "amd64"), (arm, "arm64")].map { image, architecture in
            SampleImage.descriptor(
                .ociManifest, image.manifest, #","platform":{"os":"linux","architecture":"\#(architecture)"}"#)
        }
        let index = #"{"schemaVersion":2,"manifests":[\#(entries.joined(separator: ","))]}"#
        try await FaultyServer.with { request in
            if request.path.hasSuffix("manifests/multi") {
                return .json(index, type: "application/vnd.oci.image.index.v1+json; charset=utf-8")
            }
            let reply = arm.reply(to: request)
            return reply.status == .ok ? reply : Self.image.reply(to: request)
        } _: { server in
            try await withClient { client in
                let reference = try server.reference("team/app:multi")
                let found = try await client.image(reference, for: Platform(parsing: "linux/arm64/v8"))
                #expect(found.manifestDigest == arm.manifestDigest)
                #expect(found.digest != found.manifestDigest)
                let none = await reason { _ = try await client.image(reference, for: Platform(parsing: "linux/s390x")) }
                #expect(
                    none
                        == .noMatchingPlatform(
                            wanted: .init(os: "linux", architecture: "s390x"),
                            offered: [
                                .init(os: "linux", architecture: "amd64"), .init(os: "linux", architecture: "arm64"),
                            ]))
            }
        }
    }

    /// Without an index, only the configuration has the platform.
    @Test func aSingleManifestForAnotherProcessorIsRefused() async throws {
        try await FaultyServer.with(Self.image.reply) { server in
            let found = await reason {
                try await withClient { _ = try await $0.image(server.reference(), for: Platform(parsing: "arm64")) }
            }
            #expect(
                found
                    == .noMatchingPlatform(
                        wanted: .init(os: "linux", architecture: "arm64"),
                        offered: [.init(os: "linux", architecture: "amd64")]))
        }
    }

    static func manifestReason(
        _ reply: FaultyServer.Reply, digest: Digest? = nil
    ) async throws -> RegistryError.Reason? {
        try await FaultyServer.with({ _ in reply }) { server in
            await reason {
                try await withClient { client in
                    let reference = try server.reference()
                    _ = try await client.manifest(digest.map(reference.pinned(to:)) ?? reference)
                }
            }
        }
    }

    static func manifest(type: String? = MediaType.ociManifest.rawValue, _ text: String) -> FaultyServer.Reply {
        .init(headers: type.map { [("Content-Type", $0)] } ?? [], body: Array(text.utf8))
    }

    @Test func wrongManifestsAreNamed() async throws {
        let empty = #"{"schemaVersion":2,"manifests":[]}"#
        let oci = MediaType.ociManifest, index = MediaType.ociIndex
        #expect(
            try await Self.manifestReason(Self.manifest(type: MediaType.dockerSchema1Signed.rawValue, "{}")) == .schema1
        )
        #expect(
            try await Self.manifestReason(Self.manifest(type: "application/json", #"{"schemaVersion":1}"#)) == .schema1)
        #expect(
            try await Self.manifestReason(Self.manifest(#"{"mediaType":"\#(index)"}"#))
                == .mediaTypeMismatch(header: oci, body: index))
        #expect(
            try await Self.manifestReason(Self.manifest(type: "text/plain", "{}"))
                == .unsupportedMediaType(MediaType(rawValue: "text/plain")))
        #expect(try await Self.manifestReason(Self.manifest(type: "text/html", "{}")) == .notARegistry)
        #expect(
            try await Self.manifestReason(Self.manifest("<html>"))
                == .malformed(.manifest, detail: "it is not valid JSON at byte 0"))
        #expect(
            try await Self.manifestReason(Self.manifest(#"{"schemaVersion":2,"layers":[],"layers":[]}"#))
                == .malformed(
                    .manifest, detail: "the key \"layers\" occurs twice, so its meaning depends on the reader"))
        #expect(
            try await Self.manifestReason(Self.manifest(#"{"schemaVersion":2,"layers":[],"Layers":[]}"#))
                == .malformed(
                    .manifest,
                    detail:
                        "the key \"Layers\" differs from \"layers\" only in case, so its meaning depends on the reader")
        )
        #expect(
            try await Self.manifestReason(Self.manifest("\u{FEFF}" + empty))
                == .malformed(.manifest, detail: "it begins with a byte order mark, which JSON must not have"))
        #expect(
            try await Self.manifestReason(Self.manifest(type: nil, empty))
                == .malformed(.manifest, detail: "no media type"))
        #expect(try await Self.manifestReason(.status(.notFound)) == .manifestUnknown)
        #expect(
            try await Self.manifestReason(
                .init(status: .notFound, body: Array(#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#.utf8))) == .nameUnknown)
        #expect(
            try await Self.manifestReason(
                .init(status: .forbidden, body: Array(#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"}]}"#.utf8))
            )
                == .denied(nil, message: "no [31m"))
        if case .malformed(.manifest, _)? = try await Self.manifestReason(
            Self.manifest(#"{"config":{},"layers":[],"manifests":[]}"#))
        {
        } else {
            Issue.record("both a manifest and an index")
        }
    }

    @Test func digestsOfManifestsAreVerified() async throws {
        let wanted = Digest(hashing: [1], with: .sha512)
        let body = #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex)","manifests":[]}"#
        let found = Digest(hashing: Array(body.utf8), with: .sha512)
        #expect(
            try await Self.manifestReason(Self.manifest(type: nil, body), digest: wanted)
                == .digestMismatch(expected: wanted, found: found))
        #expect(try await Self.manifestReason(Self.manifest(type: nil, body), digest: found) == nil)

        var reply = Self.manifest(type: nil, body)
        reply.headers.append(("Docker-Content-Digest", wanted.description))
        #expect(try await Self.manifestReason(reply) == .digestMismatch(expected: wanted, found: found))
    }

    @Test func aHugeManifestIsNotRead() async throws {
        let limit: Int64 = 4 << 20
        let claimed = FaultyServer.Reply(body: [], claimedLength: Int(limit) + 1, stalls: true)
        #expect(try await Self.manifestReason(claimed) == .tooLarge(limit: limit))
        let sent = FaultyServer.Reply(body: [UInt8](repeating: 0x20, count: Int(limit) + 1))
        #expect(try await Self.manifestReason(sent) == .tooLarge(limit: limit))
    }

    @Test func somethingElseThanAnImageIsNamed() async throws {
        let helm = "application/vnd.cncf.helm.config.v1+json"
        let manifest = #"""
            {"schemaVersion":2,"mediaType":"\#(MediaType.ociManifest)","layers":[],
            "config":\#(SampleImage.descriptor(MediaType(rawValue: helm), []))}
            """#
        try await FaultyServer.with({ _ in Self.manifest(manifest) }) { server in
            let found = await reason {
                try await withClient { _ = try await $0.image(server.reference(), for: .host) }
            }
            #expect(found == .unsupportedMediaType(MediaType(rawValue: helm)))
        }
    }

    @Test func headTellsWithoutABody() async throws {
        try await FaultyServer.with { _ in
            .init(headers: [
                ("Content-Type", MediaType.ociIndex.rawValue),
                ("Docker-Content-Digest", Self.image.manifestDigest.description),
                ("Warning", #"299 - "read only tomorrow""#),
            ])
        } _: { server in
            try await withClient { client in
                let head = try await client.head(server.reference())
                _ = try await client.head(server.reference())
                #expect(head.digest == Self.image.manifestDigest)
                #expect(head.mediaType == .ociIndex)
                #expect(client.warnings == ["read only tomorrow"])
            }
            #expect(server.requests.allSatisfy { $0.method == .HEAD })
        }
    }
}
