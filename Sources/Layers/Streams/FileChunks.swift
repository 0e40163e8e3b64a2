internal import Hashing
package import ImageSpec
package import LinuxKernel

/// Lends a file or a range of it. Reads by offset, so that skipped bytes are not read.
package final class FileChunks: ChunkSource {
    private let file: DescriptorBox
    private let buffer: UnsafeMutableRawBufferPointer
    private var offset: Int64
    private let end: Int64

    package init(_ file: DescriptorBox, range: Range<Int64>? = nil, bytes: Int = 64 << 10) {
        self.file = file
        offset = range?.lowerBound ?? 0
        end = range?.upperBound ?? .max
        buffer = .allocate(byteCount: bytes, alignment: 4096)
    }

    deinit { buffer.deallocate() }

    package func next() throws(LayerError) -> UnsafeRawBufferPointer {
        let (file, offset) = (file, offset)
        let wanted = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(Int64(buffer.count), end - offset))])
        if wanted.isEmpty { return UnsafeRawBufferPointer(wanted) }
        let count = try mapError { () throws(SystemError) in try file.descriptor.read(into: wanted, at: offset) }
        self.offset += Int64(count)
        return UnsafeRawBufferPointer(rebasing: buffer[..<count])
    }

    package func skip(_ count: Int64) throws(LayerError) -> Bool {
        let file = file
        let size = try mapError { () throws(SystemError) in try file.descriptor.status().size }
        // Beyond the end: the next read reports that the archive is truncated.
        guard offset + count <= min(size, end) else { return false }
        offset += count
        return true
    }
}

/// The digest and length of the rest of a source.
package func contentDigest(
    of source: any ChunkSource, _ algorithm: Digest.Algorithm
) throws(LayerError) -> (digest: Digest, size: Int64) {
    var hasher = RunningDigest(algorithm)
    var size: Int64 = 0
    while true {
        let chunk = try source.next()
        if chunk.isEmpty { return (hasher.finish(), size) }
        hasher.update(chunk)
        size += Int64(chunk.count)
    }
}
