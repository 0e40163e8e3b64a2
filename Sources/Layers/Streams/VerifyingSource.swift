internal import Hashing
package import ImageSpec

/// Passes a blob through and fails at its end if the size or digest differs from the descriptor. Its content is
/// verified only after the end has been reached.
///
/// https://github.com/opencontainers/image-spec/blob/main/descriptor.md#verification
package final class VerifyingSource: ChunkSource {
    private let base: any ChunkSource
    private let expected: Digest
    private let size: Int64
    private var hasher: RunningDigest
    private var count: Int64 = 0
    private var isVerified = false
    private let progress: (@Sendable (Int64) -> Void)?

    /// `size` is `nil` if unknown, as in a docker-archive without sizes. `progress` gets the number of bytes so far.
    package init(
        _ base: any ChunkSource, digest: Digest, size: Int64?, progress: (@Sendable (Int64) -> Void)? = nil
    ) {
        self.base = base
        self.expected = digest
        self.size = size ?? -1
        self.hasher = RunningDigest(digest.algorithm)
        self.progress = progress
    }

    package func next() throws(LayerError) -> UnsafeRawBufferPointer {
        if isVerified { return UnsafeRawBufferPointer(start: nil, count: 0) }
        let chunk = try base.next()
        if !chunk.isEmpty {
            count += Int64(chunk.count)
            // Stop at once rather than read an endless stream.
            if size >= 0, count > size { throw LayerError(.blobSize(expected: size, actual: count)) }
            hasher.update(chunk)
            progress?(count)
            return chunk
        }
        // Check the size first: it is easier to explain, and the digest of the wrong length means nothing.
        if size >= 0, count != size { throw LayerError(.blobSize(expected: size, actual: count)) }
        let actual = hasher.finish()
        if actual != expected { throw LayerError(.blobDigest(expected: expected, actual: actual)) }
        isVerified = true
        return chunk
    }
}
