/// An image manifest of OCI or Docker (version 2, schema 2): a configuration and the layers, base layer first.
///
/// https://github.com/opencontainers/image-spec/blob/main/manifest.md
package struct Manifest: Hashable, Sendable {
    package var schemaVersion: Int
    package var mediaType: MediaType?
    package var artifactType: String?
    package var config: Descriptor
    package var layers: [Descriptor]
    package var annotations: [String: String]

    package init(
        mediaType: MediaType? = .ociManifest, artifactType: String? = nil, config: Descriptor, layers: [Descriptor],
        annotations: [String: String] = [:]
    ) {
        self.schemaVersion = 2
        self.mediaType = mediaType
        self.artifactType = artifactType
        self.config = config
        self.layers = layers
        self.annotations = annotations
    }
}

extension Manifest: Codable {
    private enum Key: String, CodingKey {
        case schemaVersion, mediaType, artifactType, config, layers, annotations
        case manifests, fsLayers
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        // A document that is both a manifest and an index would be two images with one digest (CVE-2021-41190).
        for key in [Key.manifests, .fsLayers] where container.contains(key) {
            throw DecodingError.dataCorruptedError(
                forKey: key, in: container, debugDescription: "a manifest that is also something else")
        }
        schemaVersion = try container.decodeIfPresent(Int.self, forKey: .schemaVersion) ?? 2
        mediaType = try container.decodeIfPresent(MediaType.self, forKey: .mediaType)
        artifactType = try container.decodeIfPresent(String.self, forKey: .artifactType)
        config = try container.decode(Descriptor.self, forKey: .config)
        layers = try container.decodeIfPresent([Descriptor].self, forKey: .layers) ?? []
        annotations = try container.decodeIfPresent([String: String].self, forKey: .annotations) ?? [:]
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(schemaVersion, forKey: .schemaVersion)
        try container.encodeIfPresent(mediaType, forKey: .mediaType)
        try container.encodeIfPresent(artifactType, forKey: .artifactType)
        try container.encode(config, forKey: .config)
        try container.encode(layers, forKey: .layers)
        if !annotations.isEmpty { try container.encode(annotations, forKey: .annotations) }
    }
}
