internal import Foundation
internal import ImageSpec
internal import LinuxKernel

/// The manifest and configuration of an exported image.
struct ImageDocuments {
    struct Layer {
        let descriptor: Descriptor
        let diffID: Digest
        let comment: String
    }

    /// The image's own configuration, all of it but what the layers are.
    static func config(
        from original: [String: Any]?, base: [Layer], added: Layer?, platform: Platform, created: String?
    ) -> [UInt8] {
        var document =
            original ?? [
                "os": platform.os, "architecture": platform.architecture, "config": [String: Any](),
            ]
        if original == nil, let variant = platform.variant { document["variant"] = variant }
        let layers = base + (added.map { [$0] } ?? [])
        document["rootfs"] = ["type": "layers", "diff_ids": layers.map(\.diffID.description)] as [String: Any]
        // A history must have an entry for each layer; one that has not, or of other layers, says nothing true.
        var history = document["history"] as? [[String: Any]] ?? []
        if history.count(where: { $0["empty_layer"] as? Bool != true }) != base.count {
            history = base.map { entry($0, created) }
        }
        if let added { history.append(entry(added, created)) }
        document["history"] = history
        if let created { document["created"] = created }
        return JSON.bytes(document)
    }

    private static func entry(_ layer: Layer, _ created: String?) -> [String: Any] {
        var entry: [String: Any] = ["created_by": "berth export", "comment": layer.comment]
        entry["created"] = created
        return entry
    }

    static func manifest(config: Descriptor, layers: [Layer]) -> [UInt8] {
        JSON.bytes([
            "schemaVersion": 2, "mediaType": MediaType.ociManifest.rawValue, "config": object(config),
            "layers": layers.map { object($0.descriptor) },
        ])
    }

    private static func object(_ descriptor: Descriptor) -> [String: Any] {
        [
            "mediaType": descriptor.mediaType.rawValue, "digest": descriptor.digest.description,
            "size": descriptor.size,
        ]
    }

    /// RFC 3339, in whole seconds.
    static func text(_ time: Timestamp) -> String {
        let formatter = ISO8601DateFormatter()
        return formatter.string(from: Date(timeIntervalSince1970: Double(time.seconds)))
    }
}

extension Descriptor {
    /// The same layer in a manifest of OCI's, which names Docker's types by its own.
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
