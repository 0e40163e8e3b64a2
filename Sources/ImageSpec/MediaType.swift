/// The type of a document or a blob, without parameters.
///
/// https://github.com/opencontainers/image-spec/blob/main/media-types.md
package struct MediaType: RawRepresentable, Hashable, Sendable {
    package let rawValue: String

    /// Removes parameters (`; charset=utf-8`) and case, which have no meaning in these types (RFC 9110, section 8.3.1).
    package init(rawValue: String) {
        let type = rawValue.utf8.prefix { $0 != UInt8(ascii: ";") }
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let trimmed = type.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
        self.rawValue = String(
            decoding: trimmed.map { $0.isUppercaseLetter ? $0 | 0x20 : $0 }, as: UTF8.self)
    }

    private init(_ exact: StaticString) { rawValue = exact.description }

    package static let ociManifest = MediaType("application/vnd.oci.image.manifest.v1+json")
    package static let ociIndex = MediaType("application/vnd.oci.image.index.v1+json")
    package static let ociConfig = MediaType("application/vnd.oci.image.config.v1+json")
    package static let ociLayer = MediaType("application/vnd.oci.image.layer.v1.tar")
    package static let ociLayerGzip = MediaType("application/vnd.oci.image.layer.v1.tar+gzip")
    package static let ociLayerZstd = MediaType("application/vnd.oci.image.layer.v1.tar+zstd")
    package static let ociForeignLayer = MediaType("application/vnd.oci.image.layer.nondistributable.v1.tar")
    package static let ociForeignLayerGzip = MediaType("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    package static let ociForeignLayerZstd = MediaType("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd")
    package static let ociEmpty = MediaType("application/vnd.oci.empty.v1+json")

    package static let dockerManifest = MediaType("application/vnd.docker.distribution.manifest.v2+json")
    package static let dockerManifestList = MediaType("application/vnd.docker.distribution.manifest.list.v2+json")
    package static let dockerConfig = MediaType("application/vnd.docker.container.image.v1+json")
    package static let dockerLayer = MediaType("application/vnd.docker.image.rootfs.diff.tar")
    package static let dockerLayerGzip = MediaType("application/vnd.docker.image.rootfs.diff.tar.gzip")
    package static let dockerLayerZstd = MediaType("application/vnd.docker.image.rootfs.diff.tar.zstd")
    package static let dockerForeignLayerGzip = MediaType("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    package static let dockerSchema1 = MediaType("application/vnd.docker.distribution.manifest.v1+json")
    package static let dockerSchema1Signed = MediaType("application/vnd.docker.distribution.manifest.v1+prettyjws")

    /// The types that a manifest request accepts. Without them, a registry may return schema 1, as for old clients.
    package static let acceptedManifests: [MediaType] = [.ociManifest, .ociIndex, .dockerManifest, .dockerManifestList]

    package var isManifest: Bool { self == .ociManifest || self == .dockerManifest }
    package var isIndex: Bool { self == .ociIndex || self == .dockerManifestList }
    package var isSchema1: Bool { self == .dockerSchema1 || self == .dockerSchema1Signed }
    package var isConfig: Bool { self == .ociConfig || self == .dockerConfig }

    /// The compression that a layer's type declares; `nil` if this is not a layer type.
    package var layerCompression: LayerCompression? {
        switch self {
        case .ociLayer, .ociForeignLayer, .dockerLayer: LayerCompression.none
        case .ociLayerGzip, .ociForeignLayerGzip, .dockerLayerGzip, .dockerForeignLayerGzip: .gzip
        case .ociLayerZstd, .ociForeignLayerZstd, .dockerLayerZstd: .zstd
        default: nil
        }
    }
}

/// The declared compression of a layer. Readers detect the actual one, because registries contain layers with wrong
/// types.
package enum LayerCompression: String, Sendable {
    case none, gzip, zstd
}

extension MediaType: CustomStringConvertible {
    package var description: String { rawValue }
}

extension MediaType: Codable {
    package init(from decoder: any Decoder) throws {
        self.init(rawValue: try decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}
