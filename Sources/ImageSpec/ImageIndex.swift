/// An image index or Docker manifest list: one image for several platforms.
///
/// https://github.com/opencontainers/image-spec/blob/main/image-index.md
package struct ImageIndex: Hashable, Sendable {
    /// The maximum nesting of indexes. Builders use at most two levels.
    package static let maximumDepth = 4
    /// The maximum number of entries fetched for one platform search, over all nested indexes.
    package static let maximumLookups = 64

    package var schemaVersion: Int
    package var mediaType: MediaType?
    package var manifests: [Descriptor]
    package var annotations: [String: String]

    package init(
        mediaType: MediaType? = .ociIndex, manifests: [Descriptor], annotations: [String: String] = [:]
    ) {
        self.schemaVersion = 2
        self.mediaType = mediaType
        self.manifests = manifests
        self.annotations = annotations
    }
}

extension ImageIndex {
    /// The entries to try for a platform, best first. The caller must search entries that are indexes themselves.
    ///
    /// The closest variant comes first; equal entries keep their order. Entries without a platform come last, because
    /// their configuration must be fetched. Skips attestations and unknown media types.
    package func candidates(for platform: Platform) -> [Descriptor] {
        var ranked: [(distance: Int, entry: Descriptor)] = []
        for entry in manifests where Self.isImage(entry) {
            if let offered = entry.platform {
                if let distance = platform.distance(to: offered) { ranked.append((distance, entry)) }
            } else {
                ranked.append((Int.max, entry))
            }
        }
        // Sorting is stable, so equal entries keep the order of the index.
        return ranked.sorted { $0.distance < $1.distance }.map(\.entry)
    }

    /// The first manifest for a platform. Fetches nested indexes with `load`.
    ///
    /// - Parameter fits: Whether the configuration of an entry without a platform matches.
    package func select<Failure: Error>(
        for platform: Platform, load: (Descriptor) throws(Failure) -> ImageIndex,
        fits: (Descriptor) throws(Failure) -> Bool
    ) throws(Failure) -> Descriptor? {
        var lookups = 0
        return try select(for: platform, depth: 1, &lookups, load, fits)
    }

    private func select<Failure: Error>(
        for platform: Platform, depth: Int, _ lookups: inout Int,
        _ load: (Descriptor) throws(Failure) -> ImageIndex, _ fits: (Descriptor) throws(Failure) -> Bool
    ) throws(Failure) -> Descriptor? {
        for candidate in candidates(for: platform) {
            if candidate.mediaType.isManifest, candidate.platform != nil { return candidate }
            lookups += 1
            guard lookups <= Self.maximumLookups else { return nil }
            if candidate.mediaType.isManifest {
                if try fits(candidate) { return candidate }
            } else if depth < Self.maximumDepth {
                let nested = try load(candidate)
                let found = try nested.select(for: platform, depth: depth + 1, &lookups, load, fits)
                if let found { return found }
            }
        }
        return nil
    }

    /// The platforms in the index, for error messages.
    package var platforms: [Platform] {
        var seen: Set<Platform> = []
        return manifests.filter(Self.isImage).compactMap(\.platform).filter { seen.insert($0).inserted }
    }

    private static func isImage(_ entry: Descriptor) -> Bool {
        guard entry.mediaType.isManifest || entry.mediaType.isIndex else { return false }
        // BuildKit's attestations: https://docs.docker.com/build/metadata/attestations/attestation-storage/
        if entry.annotations["vnd.docker.reference.type"] != nil { return false }
        return entry.platform.map { $0.os != "unknown" && $0.architecture != "unknown" } ?? true
    }
}

extension ImageIndex: Codable {
    private enum Key: String, CodingKey {
        case schemaVersion, mediaType, manifests, annotations
        case config, layers, fsLayers
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        // See `Manifest`: a document must not be both (CVE-2021-41190).
        for key in [Key.config, .layers, .fsLayers] where container.contains(key) {
            throw DecodingError.dataCorruptedError(
                forKey: key, in: container, debugDescription: "an index that is also something else")
        }
        schemaVersion = try container.decodeIfPresent(Int.self, forKey: .schemaVersion) ?? 2
        mediaType = try container.decodeIfPresent(MediaType.self, forKey: .mediaType)
        manifests = try container.decodeIfPresent([Entry].self, forKey: .manifests)?.compactMap(\.descriptor) ?? []
        annotations = try container.decodeIfPresent([String: String].self, forKey: .annotations) ?? [:]
    }

    /// Skips an entry with an unknown digest algorithm, like one with an unknown media type, because Berth could not
    /// verify it. The other entries remain usable.
    private struct Entry: Decodable {
        let descriptor: Descriptor?

        init(from decoder: any Decoder) throws {
            do {
                descriptor = try Descriptor(from: decoder)
            } catch DecodingError.dataCorrupted(let context) {
                guard case .unsupportedAlgorithm? = (context.underlyingError as? DigestError)?.reason else {
                    throw DecodingError.dataCorrupted(context)
                }
                descriptor = nil
            }
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(schemaVersion, forKey: .schemaVersion)
        try container.encodeIfPresent(mediaType, forKey: .mediaType)
        try container.encode(manifests, forKey: .manifests)
        if !annotations.isEmpty { try container.encode(annotations, forKey: .annotations) }
    }
}
