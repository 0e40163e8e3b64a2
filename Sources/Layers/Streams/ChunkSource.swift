/// Lends bytes in large chunks, so that they can be decompressed, parsed and written in place. Used by one thread only.
package protocol ChunkSource: AnyObject {
    /// The next chunk, valid until the next call. Empty only at the end.
    func next() throws(LayerError) -> UnsafeRawBufferPointer

    /// Skips bytes that `next` would return. Returns false if they can only be read.
    func skip(_ count: Int64) throws(LayerError) -> Bool
}

extension ChunkSource {
    package func skip(_ count: Int64) throws(LayerError) -> Bool { false }

    /// Reads the rest, so that a verifying source checks it.
    package func drain() throws(LayerError) { while try !next().isEmpty {} }
}

/// Lends bytes in memory.
package final class BytesSource: ChunkSource {
    private let bytes: UnsafeMutableRawBufferPointer
    private var position = 0
    private let stride: Int

    /// `stride` limits the chunk size, so that a test can split the stream anywhere.
    package init(_ bytes: [UInt8], stride: Int = .max) {
        self.bytes = .allocate(byteCount: bytes.count, alignment: 16)
        self.bytes.copyBytes(from: bytes)
        self.stride = stride
    }

    deinit { bytes.deallocate() }

    package func next() throws(LayerError) -> UnsafeRawBufferPointer {
        let count = min(bytes.count - position, stride)
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }
}

/// Counts the bytes that pass through.
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
}
