internal import Hashing
package import ImageSpec
internal import Synchronization

/// Computes a blob's digest while the blob is transferred.
package protocol BlobDigest: Sendable {
    /// Adds the next bytes. The implementation may keep the chunk.
    func update(_ chunk: BlobChunk)

    /// The digest of all chunks. No update may follow.
    func finish() async -> Digest
}

/// Computes the digest on the thread that receives the bytes.
final class InlineDigest: BlobDigest {
    private let running: Mutex<RunningDigest>

    init(_ algorithm: Digest.Algorithm) { running = Mutex(RunningDigest(algorithm)) }

    func update(_ chunk: BlobChunk) { running.withLock { $0.update(chunk.bytes) } }

    func finish() async -> Digest { running.withLock { $0.finish() } }
}
