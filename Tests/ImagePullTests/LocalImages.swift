import Distribution
import Foundation
import Hashing
import ImageSpec
import TestSupport

/// Writes images in the formats of other tools.
struct LocalImage {
    /// Uncompressed layers, lowest first.
    var layers: [[UInt8]]
    var platform = Platform.host
    var command = ["/bin/sh"]

    var config: [UInt8] {
        var execution = ImageConfig.Execution()
        execution.cmd = command
        let config = ImageConfig(
            platform: platform, config: execution,
            rootfs: .init(diffIDs: layers.map { Digest(hashing: $0, with: .sha256) }))
        return json(config)
    }

    func json(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array((try? encoder.encode(value)) ?? Data())  // plain values always encode
    }

    /// The blobs of a layout by path, and the manifest's descriptor.
    func blobs() -> (files: [String: [UInt8]], manifest: Descriptor) {
        var files: [String: [UInt8]] = [:]
        func add(_ bytes: [UInt8], _ type: MediaType) -> Descriptor {
            let digest = Digest(hashing: bytes, with: .sha256)
            files["blobs/sha256/\(digest.hex)"] = bytes
            return Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count))
        }
        let config = add(config, .ociConfig)
        let manifest = Manifest(config: config, layers: layers.map { add($0, .ociLayer) })
        let descriptor = add(json(manifest), .ociManifest)
        return (files, descriptor)
    }

    /// A layout whose index has these images with these tags.
    static func layout(_ images: [(tag: String?, image: LocalImage)], nested: Bool = false) -> [String: [UInt8]] {
        var files: [String: [UInt8]] = ["oci-layout": Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)]
        var entries: [Descriptor] = []
        for (tag, image) in images {
            var (blobs, manifest) = image.blobs()
            files.merge(blobs) { $1 }
            if let tag { manifest.annotations["org.opencontainers.image.ref.name"] = tag }
            manifest.platform = image.platform
            entries.append(manifest)
        }
        guard let first = images.first?.image else { return files }
        if nested {
            let bytes = first.json(ImageIndex(manifests: entries))
            let digest = Digest(hashing: bytes, with: .sha256)
            files["blobs/sha256/\(digest.hex)"] = bytes
            entries = [Descriptor(mediaType: .ociIndex, digest: digest, size: Int64(bytes.count))]
        }
        files["index.json"] = first.json(ImageIndex(manifests: entries))
        return files
    }

    static func tar(_ files: [(String, [UInt8])], links: [(name: String, target: String)] = []) -> [UInt8] {
        var writer = TarWriter()
        for (name, bytes) in files { writer.add(.init(name: Array(name.utf8), size: Int64(bytes.count)), bytes) }
        for link in links {
            writer.add(.init(name: Array(link.name.utf8), type: UInt8(ascii: "2"), link: Array(link.target.utf8)))
        }
        writer.end()
        return writer.bytes
    }
}
