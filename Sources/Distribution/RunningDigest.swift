// Not the whole module: it has a `Digest` of its own.
internal import struct Crypto.SHA256
internal import struct Crypto.SHA512
package import ImageSpec
internal import Synchronization

/// Finds a blob's digest while it is transferred.
package protocol BlobDigest: Sendable {
    /// Takes the next bytes, which it may keep as long as it likes.
    func update(_ chunk: BlobChunk)

    /// The digest of all, which nothing follows.
    func finish() async -> Digest
}

/// The digest found by whoever brings the bytes.
final class DigestInBetween: BlobDigest {
    private let running: Mutex<RunningDigest>

    init(_ algorithm: Digest.Algorithm) { running = Mutex(RunningDigest(algorithm)) }

    func update(_ chunk: BlobChunk) { running.withLock { $0.update(chunk.bytes) } }

    func finish() async -> Digest { running.withLock { $0.finish() } }
}

/// A digest of bytes that come in parts.
enum RunningDigest: Sendable {
    case sha256(SHA256)
    case sha512(SHA512)

    init(_ algorithm: Digest.Algorithm) {
        self =
            switch algorithm {
            case .sha256: .sha256(SHA256())
            case .sha512: .sha512(SHA512())
            }
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        // Taken out and put back: with two owners of the state each call would copy it.
        switch consume self {
        case .sha256(var hash):
            hash.update(bufferPointer: bytes)
            self = .sha256(hash)
        case .sha512(var hash):
            hash.update(bufferPointer: bytes)
            self = .sha512(hash)
        }
    }

    func finish() -> Digest {
        let digest: Digest? =
            switch self {
            case .sha256(let hash): Digest(.sha256, bytes: Array(hash.finalize()))
            case .sha512(let hash): Digest(.sha512, bytes: Array(hash.finalize()))
            }
        guard let digest else { fatalError("a hash function returned another length than its own") }  // cannot happen
        return digest
    }
}

extension Digest {
    /// The digest of some bytes at hand.
    package init(hashing bytes: [UInt8], with algorithm: Algorithm) {
        var running = RunningDigest(algorithm)
        bytes.withUnsafeBytes { running.update($0) }
        self = running.finish()
    }
}
