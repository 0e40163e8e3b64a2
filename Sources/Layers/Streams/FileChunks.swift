package import ImageSpec
package import LinuxKernel

/// A file's bytes in chunks, read by offset, so that what is not wanted is not read at all.
package final class FileChunks: ChunkSource {
    private let file: DescriptorBox
    private let buffer: UnsafeMutableRawBufferPointer
    private var offset: Int64 = 0

    package init(_ file: DescriptorBox, bytes: Int = 64 << 10) {
        self.file = file
        buffer = .allocate(byteCount: bytes, alignment: 4096)
    }

    deinit { buffer.deallocate() }

    package func next() throws(LayerError) -> UnsafeRawBufferPointer {
        let (file, buffer, offset) = (file, buffer, offset)
        let count = try system { () throws(SystemError) in try file.descriptor.read(into: buffer, at: offset) }
        self.offset += Int64(count)
        return UnsafeRawBufferPointer(rebasing: buffer[..<count])
    }

    package func skip(_ count: Int64) throws(LayerError) -> Bool {
        let file = file
        let size = try system { () throws(SystemError) in try file.descriptor.status().size }
        // Past the end: reading on will tell that the archive is cut short.
        guard offset + count <= size else { return false }
        offset += count
        return true
    }
}

/// The digest and length of all that is left in a source.
package func contentDigest(
    of source: any ByteSource, _ algorithm: Digest.Algorithm
) throws(LayerError) -> (digest: Digest, size: Int64) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
    defer { buffer.deallocate() }
    var hasher = ContentHasher(algorithm)
    var size: Int64 = 0
    while true {
        let count = try source.read(into: buffer)
        if count == 0 { return (hasher.finish(), size) }
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        size += Int64(count)
    }
}
