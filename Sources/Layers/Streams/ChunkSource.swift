internal import ImageSpec

/// Bytes lent one large stretch at a time, so that they can be parsed and written where they lie.
package protocol ChunkSource: AnyObject {
    /// The next stretch, valid until the next call; empty only at the end.
    func next() throws(LayerError) -> UnsafeRawBufferPointer

    /// Passes over that many of the bytes that `next` would give; false where they can only be read.
    func skip(_ count: Int64) throws(LayerError) -> Bool
}

extension ChunkSource {
    package func skip(_ count: Int64) throws(LayerError) -> Bool { false }
}

/// Chunks read from a byte source by the calling thread itself.
package final class SourceChunks: ChunkSource {
    private let source: any ByteSource
    private let buffer: UnsafeMutableRawBufferPointer

    package init(_ source: any ByteSource, bytes: Int = 1 << 20) {
        self.source = source
        buffer = .allocate(byteCount: bytes, alignment: 4096)
    }

    deinit { buffer.deallocate() }

    package func next() throws(LayerError) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: buffer[..<(try source.fill(buffer))])
    }
}

/// Hashes and counts what goes through, for the diffID.
final class HashingChunks: ChunkSource {
    private let base: any ChunkSource
    private var hasher: ContentHasher
    private let limit: Int64
    private(set) var count: Int64 = 0
    private let progress: (@Sendable (Int64) -> Void)?

    init(
        _ base: any ChunkSource, algorithm: Digest.Algorithm, limit: Int64, _ progress: (@Sendable (Int64) -> Void)?
    ) {
        self.progress = progress
        self.base = base
        self.hasher = ContentHasher(algorithm)
        self.limit = limit
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        let chunk = try base.next()
        count += Int64(chunk.count)
        if count > limit { throw LayerError(.limit(.totalBytes, limit: limit)) }
        hasher.update(chunk)
        progress?(count)
        return chunk
    }

    /// The digest of everything, the bytes behind the archive's end included, which belong to the diffID too.
    func finish() throws(LayerError) -> Digest {
        while try !next().isEmpty {}
        return hasher.finish()
    }
}
