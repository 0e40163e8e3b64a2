package import ImageSpec

/// Hands a blob through and fails at its end unless both size and digest are the descriptor's; what was read from
/// it may be believed only after it returned 0.
///
/// https://github.com/opencontainers/image-spec/blob/main/descriptor.md#verification
package final class VerifyingSource: ByteSource {
    private let base: any ByteSource
    private let expected: Digest
    private let size: Int64
    private var hasher: ContentHasher
    private var count: Int64 = 0
    private var isVerified = false
    private let progress: (@Sendable (Int64) -> Void)?

    /// `size` nil: unknown, as in a docker-archive whose manifest names no sizes. `progress` hears the bytes so far.
    package init(
        _ base: any ByteSource, digest: Digest, size: Int64?, progress: (@Sendable (Int64) -> Void)? = nil
    ) {
        self.base = base
        self.expected = digest
        self.size = size ?? -1
        self.hasher = ContentHasher(digest.algorithm)
        self.progress = progress
    }

    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        if isVerified { return 0 }
        let got = try base.read(into: buffer)
        if got > 0 {
            count += Int64(got)
            // More than was promised: stop at once instead of reading an endless stream.
            if size >= 0, count > size { throw LayerError(.blobSize(expected: size, actual: count)) }
            hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
            progress?(count)
            return got
        }
        // The size first: it is cheaper to explain, and a digest over the wrong length means nothing.
        if size >= 0, count != size { throw LayerError(.blobSize(expected: size, actual: count)) }
        let actual = hasher.finish()
        if actual != expected { throw LayerError(.blobDigest(expected: expected, actual: actual)) }
        isVerified = true
        return 0
    }
}
