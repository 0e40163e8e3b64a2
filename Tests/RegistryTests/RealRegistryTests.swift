import Distribution
import Foundation
import Hashing
import ImageSpec
import Testing

/// Tests with an independent registry implementation.
@Suite(.enabled(if: DockerRegistry.isInstalled)) struct RealRegistryTests {
    static let image = SampleImage(layerSize: 5_000_000, seed: 7)

    static func with(
        user: (String, String, String)? = nil, _ body: (DockerRegistry) async throws -> Void
    ) async throws {
        let registry = try await DockerRegistry(user: user)
        defer { registry.stop() }
        try await registry.push(image)
        try await body(registry)
    }

    @Test func pullsWhatWasPushed() async throws {
        try await Self.with { registry in
            let other = SampleImage(layerSize: 10, platform: "arm64", seed: 9)
            try await registry.push(other, tag: "arm")
            let entries = [(Self.image, "amd64"), (other, "arm64")].map { image, architecture in
                SampleImage.descriptor(
                    .ociManifest, image.manifest, #","platform":{"os":"linux","architecture":"\#(architecture)"}"#)
            }
            let index = Array(
                #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex)","manifests":[\#(entries.joined(separator: ","))]}"#
                    .utf8)
            try await registry.push(index: index, tag: "multi")
            try await withClient { client in
                let reference = try Reference(parsing: "\(registry.authority)/\(SampleImage.repository):multi")
                let found = try await client.image(reference, for: .init(os: "linux", architecture: "amd64"))
                #expect(found.manifestDigest == Self.image.manifestDigest)
                #expect(found.digest == Digest(hashing: index, with: .sha256))
                #expect(try await client.head(reference).digest == found.digest)
                let layer = try #require(found.manifest.layers.first)
                let bytes = try await client.bytes(of: layer, in: reference, limit: 1 << 30)
                #expect(bytes == Self.image.layer)
                let pinned = reference.pinned(to: Self.image.manifestDigest)
                #expect(try await client.manifest(pinned).bytes == Self.image.manifest)
            }
        }
    }

    @Test func namesWhatIsNotThere() async throws {
        try await Self.with { registry in
            try await withClient { client in
                func reasonFor(_ rest: String) async throws -> RegistryError.Reason? {
                    let reference = try Reference(parsing: "\(registry.authority)/\(rest)")
                    return await reason { _ = try await client.manifest(reference) }
                }
                #expect(try await reasonFor("\(SampleImage.repository):2.0") == .manifestUnknown)
                let missing = try await reasonFor("nobody/nothing:1")
                #expect(missing == .manifestUnknown || missing == .nameUnknown)
            }
        }
    }

    @Test func askForAPassword() async throws {
        // bcrypt of "secret".
        let hash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
        try await Self.with(user: ("me", "secret", hash)) { registry in
            let reference = try Reference(parsing: "\(registry.authority)/\(SampleImage.repository):1.0")
            let right = FixedCredentials(.password(user: "me", password: "secret"))
            try await withClient(credentials: right) { client in
                let found = try await client.image(reference, for: Platform(parsing: "amd64"))
                #expect(found.manifest.layers.count == 1)
            }
            let wrong = FixedCredentials(.password(user: "me", password: "wrong"))
            guard
                case .unauthorized(.file("/test/auth.json")?, _)? = await reason({
                    try await withClient(credentials: wrong) { _ = try await $0.manifest(reference) }
                })
            else {
                Issue.record("a wrong password was not refused")
                return
            }
            guard
                case .unauthorized(nil, _)? = await reason({
                    try await withClient { _ = try await $0.manifest(reference) }
                })
            else {
                Issue.record("no password was not refused")
                return
            }
        }
    }
}
