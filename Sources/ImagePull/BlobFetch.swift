package import ImageSpec
internal import Layers
internal import LinuxKernel

/// Downloads and verifies an image's blobs without unpacking them: what `berth prefetch` passes on to other nodes.
package struct BlobFetch: Sendable {
    let origin: any ImageOrigin

    /// Stores the blobs in the cache of `origin`.
    package init(from origin: RegistryOrigin) { self.origin = origin }

    /// Returns the distinct layers of the image, base layer first.
    package func fetch(for platform: Platform) async throws(PullError) -> [Descriptor] {
        let image = try await origin.resolve(for: platform)
        var seen: Set<Digest> = []
        let layers = image.manifest.layers.filter { seen.insert($0.digest).inserted }
        for (index, layer) in layers.enumerated() {
            let origin = origin
            try await blocking { () throws(PullError) in
                do throws(PullError) {
                    try Self.readThrough(try origin.open(layer, nil), layer, index + 1, of: layers.count)
                } catch {
                    // The cached blob is damaged: download it from the registry.
                    guard error.isAboutContent, try origin.reopen(layer, nil) != nil else { throw error }
                    try Self.readThrough(try origin.open(layer, nil), layer, index + 1, of: layers.count)
                }
            }
            if Task.isCancelled { throw .cancelled }
        }
        return layers
    }

    private static func readThrough(
        _ source: any ChunkSource, _ layer: Descriptor, _ number: Int, of count: Int
    ) throws(PullError) {
        let verified = VerifyingSource(source, digest: layer.digest, size: layer.size)
        do throws(LayerError) { try verified.drain() } catch {
            throw ImagePuller.layerError(error, number, of: count, layer.digest)
        }
        (source as? CachedBlobSource)?.confirm()
    }
}
