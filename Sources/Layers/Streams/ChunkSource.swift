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

/// Counts what goes through.
final class CountingChunks: ChunkSource {
    private let base: any ChunkSource
    private let limit: Int64
    private(set) var count: Int64 = 0
    private let progress: (@Sendable (Int64) -> Void)?

    init(_ base: any ChunkSource, limit: Int64, _ progress: (@Sendable (Int64) -> Void)?) {
        self.progress = progress
        self.base = base
        self.limit = limit
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        let chunk = try base.next()
        count += Int64(chunk.count)
        if count > limit { throw LayerError(.limit(.totalBytes, limit: limit)) }
        progress?(count)
        return chunk
    }

    /// The bytes behind the archive's end, which belong to the diffID, too.
    func drain() throws(LayerError) { while try !next().isEmpty {} }
}

/// The digest of all chunks, found by a thread of its own.
final class ChunkDigest: @unchecked Sendable {
    private let chunks: any ChunkSource
    private var hasher: ContentHasher
    /// To be asked for after the thread was joined; nil where the chunks ended in an error.
    private(set) var digest: Digest?

    init(_ chunks: any ChunkSource, _ algorithm: Digest.Algorithm) {
        self.chunks = chunks
        hasher = ContentHasher(algorithm)
    }

    func run() {
        // The error is everybody's, and told by whoever parses.
        while let chunk = try? chunks.next() {  // see above
            if chunk.isEmpty {
                digest = hasher.finish()
                return
            }
            hasher.update(chunk)
        }
    }
}
