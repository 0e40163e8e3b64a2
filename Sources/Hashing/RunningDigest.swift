// Import single types, because the module declares another `Digest`.
package import struct Crypto.SHA256
package import struct Crypto.SHA512
package import ImageSpec

/// The digest of bytes that arrive in parts, by a registered algorithm.
///
/// https://github.com/opencontainers/image-spec/blob/main/descriptor.md#registered-algorithms
package enum RunningDigest: Sendable {
    case sha256(SHA256)
    case sha512(SHA512)

    package init(_ algorithm: Digest.Algorithm) {
        self =
            switch algorithm {
            case .sha256: .sha256(SHA256())
            case .sha512: .sha512(SHA512())
            }
    }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        // Consume and rebuild: with a second reference to the hash function's state, each update would copy the state.
        switch consume self {
        case .sha256(var hash):
            hash.update(bufferPointer: bytes)
            self = .sha256(hash)
        case .sha512(var hash):
            hash.update(bufferPointer: bytes)
            self = .sha512(hash)
        }
    }

    package func finish() -> Digest {
        let digest: Digest? =
            switch self {
            case .sha256(let hash): Digest(.sha256, bytes: Array(hash.finalize()))
            case .sha512(let hash): Digest(.sha512, bytes: Array(hash.finalize()))
            }
        guard let digest else { preconditionFailure("a hash function returns as many bytes as its name says") }
        return digest
    }
}

extension Digest {
    /// The digest of bytes in memory.
    package init(hashing bytes: [UInt8], with algorithm: Algorithm) {
        var running = RunningDigest(algorithm)
        bytes.withUnsafeBytes { running.update($0) }
        self = running.finish()
    }
}
