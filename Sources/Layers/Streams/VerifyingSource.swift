internal import Hashing
package import ImageSpec

/// Hands a blob through and fails at its end unless both size and digest are the descriptor's; what was read from
/// it may be believed only after it came to its end.
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

    /// `size` nil: unknown, as in a docker-archive whose manifest names no sizes. `progress` hears the bytes so far.
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
            // More than was promised: stop at once instead of reading an endless stream.
            if size >= 0, count > size { throw LayerError(.blobSize(expected: size, actual: count)) }
            hasher.update(chunk)
            progress?(count)
            return chunk
        }
        // The size first: it is cheaper to explain, and a digest over the wrong length means nothing.
        if size >= 0, count != size { throw LayerError(.blobSize(expected: size, actual: count)) }
        let actual = hasher.finish()
        if actual != expected { throw LayerError(.blobDigest(expected: expected, actual: actual)) }
        isVerified = true
        return chunk
    }
}
