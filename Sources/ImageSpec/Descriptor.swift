/// Describes a blob by its type, size and digest.
///
/// https://github.com/opencontainers/image-spec/blob/main/descriptor.md
package struct Descriptor: Hashable, Sendable {
    package var mediaType: MediaType
    package var digest: Digest
    /// Length in bytes; never negative.
    package var size: Int64
    package var annotations: [String: String]
    /// Used only in an index.
    package var platform: Platform?
    package var artifactType: String?
    /// The content itself in base64. It must be verified like fetched bytes.
    package var data: String?

    package init(
        mediaType: MediaType, digest: Digest, size: Int64, annotations: [String: String] = [:],
        platform: Platform? = nil, artifactType: String? = nil, data: String? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.annotations = annotations
        self.platform = platform
        self.artifactType = artifactType
        self.data = data
    }
}

extension Descriptor: Codable {
    // `urls` is omitted on purpose: Berth fetches from registries only, so a layer cannot make it send a token
    // elsewhere.
    private enum Key: String, CodingKey { case mediaType, digest, size, annotations, platform, artifactType, data }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        mediaType = try container.decodeIfPresent(MediaType.self, forKey: .mediaType) ?? MediaType(rawValue: "")
        digest = try container.decode(Digest.self, forKey: .digest)
        size = try container.decode(Int64.self, forKey: .size)
        guard size >= 0 else {
            throw DecodingError.dataCorruptedError(forKey: .size, in: container, debugDescription: "negative size")
        }
        annotations = try container.decodeIfPresent([String: String].self, forKey: .annotations) ?? [:]
        // An incomplete platform counts as none, and the configuration decides.
        platform = try container.decodeIfPresent(Platform.self, forKey: .platform).flatMap { platform in
            platform.os.isEmpty || platform.architecture.isEmpty ? nil : platform
        }
        artifactType = try container.decodeIfPresent(String.self, forKey: .artifactType)
        data = try container.decodeIfPresent(String.self, forKey: .data)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(mediaType, forKey: .mediaType)
        try container.encode(digest, forKey: .digest)
        try container.encode(size, forKey: .size)
        if !annotations.isEmpty { try container.encode(annotations, forKey: .annotations) }
        try container.encodeIfPresent(platform, forKey: .platform)
        try container.encodeIfPresent(artifactType, forKey: .artifactType)
        try container.encodeIfPresent(data, forKey: .data)
    }
}
