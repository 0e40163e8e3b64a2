internal import struct Crypto.SHA256
internal import struct Crypto.SHA512
internal import ImageSpec

/// A running digest with whichever algorithm the expected digest names (descriptor.md, "Registered algorithms").
enum ContentHasher {
    case sha256(SHA256)
    case sha512(SHA512)
    /// Where two at a time are faster.
    case pairedSHA256(PairedSHA256)

    /// - Parameter inPairs: Whether it is to be taken further together with another.
    init(_ algorithm: Digest.Algorithm, inPairs: Bool = false) {
        switch algorithm {
        case .sha256:
            self = inPairs ? .pairedSHA256(PairedSHA256()) : .sha256(SHA256())
        case .sha512: self = .sha512(SHA512())
        }
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        // Rebuilt in place: a copy of the state would be made on each write if the payload were bound and put back.
        switch consume self {
        case .sha256(var state):
            state.update(bufferPointer: bytes)
            self = .sha256(state)
        case .sha512(var state):
            state.update(bufferPointer: bytes)
            self = .sha512(state)
        case .pairedSHA256(let state):
            state.update(bytes)
            self = .pairedSHA256(state)
        }
    }

    func finish() -> Digest {
        let digest: Digest? =
            switch self {
            case .sha256(let state): Digest(.sha256, bytes: Array(state.finalize()))
            case .sha512(let state): Digest(.sha512, bytes: Array(state.finalize()))
            case .pairedSHA256(let state): Digest(.sha256, bytes: state.finish())
            }
        guard let digest else { preconditionFailure("a hash function returns as many bytes as its name says") }
        return digest
    }

    var goesInPairs: Bool { if case .pairedSHA256 = self { true } else { false } }

    func pair(with other: ContentHasher) -> (PairedSHA256, PairedSHA256)? {
        guard case .pairedSHA256(let one) = self, case .pairedSHA256(let two) = other else { return nil }
        return (one, two)
    }
}
