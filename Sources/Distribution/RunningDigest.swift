// Not the whole module: it has a `Digest` of its own.
internal import struct Crypto.SHA256
internal import struct Crypto.SHA512
package import ImageSpec

/// A digest of bytes that come in parts.
struct RunningDigest: Sendable {
    private enum State: Sendable {
        case sha256(SHA256)
        case sha512(SHA512)
    }

    private var state: State

    init(_ algorithm: Digest.Algorithm) {
        state =
            switch algorithm {
            case .sha256: .sha256(SHA256())
            case .sha512: .sha512(SHA512())
            }
    }

    mutating func update(_ bytes: [UInt8]) {
        switch state {
        case .sha256(var hash):
            hash.update(data: bytes)
            state = .sha256(hash)
        case .sha512(var hash):
            hash.update(data: bytes)
            state = .sha512(hash)
        }
    }

    func finish() -> Digest {
        let digest: Digest? =
            switch state {
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
        running.update(bytes)
        self = running.finish()
    }
}
