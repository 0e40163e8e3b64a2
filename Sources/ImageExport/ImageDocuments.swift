internal import FoundationEssentials
internal import ImageSpec
internal import LinuxKernel

/// The manifest and configuration of an exported image.
struct ImageDocuments {
    struct Layer {
        let descriptor: Descriptor
        let diffID: Digest
        let comment: String
    }

    /// The image's own configuration with the exported layers.
    static func config(
        from original: JSONValue?, base: [Layer], added: Layer?, platform: Platform, created: String?
    ) -> [UInt8] {
        var document =
            original
            ?? .object([
                "os": .string(platform.os), "architecture": .string(platform.architecture), "config": .object([:]),
            ])
        if original == nil, let variant = platform.variant { document["variant"] = .string(variant) }
        let layers = base + (added.map { [$0] } ?? [])
        document["rootfs"] = .object([
            "type": .string("layers"), "diff_ids": .strings(layers.map(\.diffID.description)),
        ])
        // A valid history has one entry per layer. Drop a history of another length.
        var history = document["history"]?.array ?? []
        if history.count(where: { $0["empty_layer"] != .boolean(true) }) != base.count {
            history = base.map { entry($0, created) }
        }
        if let added { history.append(entry(added, created)) }
        document["history"] = .array(history)
        if let created { document["created"] = .string(created) }
        return document.encoded()
    }

    private static func entry(_ layer: Layer, _ created: String?) -> JSONValue {
        var entry = JSONValue.object(["created_by": .string("berth export"), "comment": .string(layer.comment)])
        entry["created"] = created.map { .string($0) }
        return entry
    }

    static func manifest(config: Descriptor, layers: [Layer]) -> [UInt8] {
        JSONValue.object([
            "schemaVersion": .integer(2), "mediaType": .string(MediaType.ociManifest.rawValue), "config": config.json,
            "layers": .array(layers.map(\.descriptor.json)),
        ]).encoded()
    }

    /// Formats as RFC 3339 in whole seconds.
    static func text(_ time: Timestamp) -> String {
        Date(timeIntervalSince1970: Double(time.seconds)).formatted(.iso8601)
    }
}

extension Descriptor {
    /// The same layer with OCI's media type instead of Docker's.
    var asOCILayer: Descriptor {
        let type: MediaType =
            switch mediaType {
            case .dockerLayer: .ociLayer
            case .dockerLayerGzip: .ociLayerGzip
            case .dockerLayerZstd: .ociLayerZstd
            case .dockerForeignLayerGzip: .ociForeignLayerGzip
            default: mediaType
            }
        return Descriptor(mediaType: type, digest: digest, size: size)
    }
}

extension ExportCompression {
    var mediaType: MediaType {
        switch self {
        case .gzip: .ociLayerGzip
        case .zstd: .ociLayerZstd
        case .none: .ociLayer
        }
    }
}
