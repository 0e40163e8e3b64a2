package import ImageSpec

/// What a pull is doing, for whoever shows it. Events come from several threads, often; nobody should draw each.
package enum PullEvent: Sendable {
    /// Another process is pulling the same image into the same store: this one waits for it.
    case waiting
    /// The manifest is known. `layers` lowest first.
    case resolved(digest: Digest, layers: [LayerState])
    /// Bytes of a layer's blob that have arrived, counted from its start.
    case downloaded(layer: Int, bytes: Int64)
    /// Bytes of its uncompressed archive that have been applied.
    case unpacked(layer: Int, bytes: Int64)
    case finished(layer: Int)
    /// The layers are being joined; the reason is given where they have to be flattened.
    case composing(flattenedBecause: String?)

    package struct LayerState: Sendable, Equatable {
        package let digest: Digest
        /// Of the blob, in bytes.
        package let size: Int64
        /// Unpacked in the store already.
        package let isPresent: Bool
    }
}

/// What came of a pull.
package struct PulledImage: Sendable, Equatable {
    /// Of the index or manifest that the name stood for.
    package let digest: Digest
    package let manifestDigest: Digest
    package let layers: Int
    /// Bytes downloaded in this pull; 0 where everything was there.
    package let downloadedBytes: Int64
    /// Bytes of files unpacked in this pull.
    package let unpackedBytes: Int64
    package let wasPresent: Bool
}
