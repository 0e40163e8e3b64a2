package import ImageSpec

/// Progress of a pull. Events are frequent and come from several threads, so the receiver should not draw each one.
package enum PullEvent: Sendable {
    /// Another process pulls the same image into the same store, and this one waits for it.
    case waiting
    /// The manifest is known. `layers` are in order, lowest first.
    case resolved(digest: Digest, layers: [LayerState])
    /// The number of bytes of a layer's blob that have arrived.
    case downloaded(layer: Int, bytes: Int64)
    /// The number of uncompressed bytes that have been applied.
    case unpacked(layer: Int, bytes: Int64)
    case finished(layer: Int)
    /// The layers are being composed; `flattenedBecause` is the reason if they must be flattened.
    case composing(flattenedBecause: String?)

    package struct LayerState: Sendable, Equatable {
        package let digest: Digest
        /// The size of the blob, in bytes.
        package let size: Int64
        /// Whether the store already has the layer.
        package let isPresent: Bool
    }
}

/// The result of a pull.
package struct PulledImage: Sendable, Equatable {
    /// The digest of the index or manifest that the name refers to.
    package let digest: Digest
    package let manifestDigest: Digest
    package let layers: Int
    /// The number of bytes downloaded; 0 if everything was present.
    package let downloadedBytes: Int64
    /// The size of the files unpacked.
    package let unpackedBytes: Int64
    package let wasPresent: Bool
}
