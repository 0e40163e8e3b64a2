@testable import Distribution
import Hashing
import ImageSpec
import NIOHTTP1

/// A sample image, and a registry's correct answers for it.
struct SampleImage: Sendable {
    let layer: [UInt8]
    let config: [UInt8]
    let manifest: [UInt8]

    static let repository = "team/app"

    init(layerSize: Int = 300_000, platform: String = "amd64", seed: UInt64 = 1) {
        var state = seed
        layer = (0..<layerSize).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 33)
        }
        (config, manifest) = Self.documents(of: layer, platform: platform)
    }

    /// An image of one layer that can be unpacked.
    init(layer: [UInt8], platform: String) {
        self.layer = layer
        (config, manifest) = Self.documents(of: layer, platform: platform)
    }

    private static func documents(of layer: [UInt8], platform: String) -> (config: [UInt8], manifest: [UInt8]) {
        let diffID = Digest(hashing: layer, with: .sha256)
        let config =
            Array(
                #"{"architecture":"\#(platform)","os":"linux","config":{"Env":["A=b"]},"#.utf8)
            + Array(#""rootfs":{"type":"layers","diff_ids":["\#(diffID)"]}}"#.utf8)
        let manifest = Array(
            #"""
            {"schemaVersion":2,"mediaType":"\#(MediaType.ociManifest)",
            "config":\#(Self.descriptor(.ociConfig, config)),"layers":[\#(Self.descriptor(.ociLayer, layer))]}
            """#.utf8)
        return (config, manifest)
    }

    var layerDescriptor: Descriptor {
        Descriptor(
            mediaType: .ociLayer, digest: Digest(hashing: layer, with: .sha256), size: Int64(layer.count))
    }

    var manifestDigest: Digest { Digest(hashing: manifest, with: .sha256) }

    static func descriptor(_ type: MediaType, _ bytes: [UInt8], _ more: String = "") -> String {
        #"{"mediaType":"\#(type)","digest":"\#(Digest(hashing: bytes, with: .sha256))","size":\#(bytes.count)\#(more)}"#
    }

    var manifestPath: String { "/v2/\(Self.repository)/manifests/1.0" }
    var blobPath: String { "/v2/\(Self.repository)/blobs/\(layerDescriptor.digest)" }

    /// The answers of a correct registry, including ranges.
    func reply(to request: FaultyServer.Request) -> FaultyServer.Reply {
        let name = "/v2/\(Self.repository)/"
        switch request.path {
        case manifestPath, "\(name)manifests/\(manifestDigest)":
            return .init(headers: [("Content-Type", MediaType.ociManifest.rawValue)], body: manifest)
        case blobPath: return Self.blob(layer, request)
        case "\(name)blobs/\(Digest(hashing: config, with: .sha256))": return Self.blob(config, request)
        default: return .status(.notFound)
        }
    }

    static func blob(_ bytes: [UInt8], _ request: FaultyServer.Request) -> FaultyServer.Reply {
        guard let range = request.headers.first(name: "Range"), let first = Int(range.dropFirst(6).dropLast()) else {
            return .init(headers: [("Content-Type", "application/octet-stream")], body: bytes)
        }
        return .init(
            status: .partialContent, headers: [("Content-Range", "bytes \(first)-\(bytes.count - 1)/\(bytes.count)")],
            body: Array(bytes[first...]))
    }
}

/// Runs a test with a client that does not wait between attempts.
func withClient<Value: Sendable>(
    credentials: any CredentialProvider = NoCredentials(),
    _ change: (inout RegistryConfiguration) -> Void = { _ in },
    _ body: (RegistryClient) async throws -> Value
) async throws -> Value {
    var configuration = RegistryConfiguration()
    configuration.retry.firstDelay = .milliseconds(1)
    configuration.retry.maximumDelay = .milliseconds(5)
    configuration.retry.attempts = 4
    configuration.retry.persistence = .zero
    configuration.certificateDirectories = []
    change(&configuration)
    let client = RegistryClient(configuration: configuration, credentials: credentials)
    do {
        let value = try await body(client)
        await client.shutdown()
        return value
    } catch {
        await client.shutdown()
        throw error
    }
}

extension RegistryClient {
    func layer(_ image: SampleImage, at server: FaultyServer) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await part in blob(image.layerDescriptor, in: try server.reference()) { bytes += part.bytes }
        return bytes
    }
}

extension FaultyServer {
    func reference(_ rest: String = "\(SampleImage.repository):1.0") throws -> Reference {
        try Reference(parsing: "\(authority)/\(rest)")
    }
}

/// The reason of the registry error that `work` throws; `nil` if it throws another error or none.
func reason(_ work: () async throws -> Void) async -> RegistryError.Reason? {
    do {
        try await work()
        return nil
    } catch {
        return (error as? RegistryError)?.reason
    }
}

struct FixedCredentials: CredentialProvider {
    var credential: Credential?
    /// Only for this registry; `nil` means all.
    var registry: String?

    init(_ secret: Credential.Secret, registry: String? = nil) {
        self.registry = registry
        credential = Credential(secret: secret, origin: .file("/test/auth.json"))
    }

    func credential(registry: String, repository: String, user: String?) async throws(CredentialError) -> Credential? {
        self.registry == nil || self.registry == registry ? credential : nil
    }
}
