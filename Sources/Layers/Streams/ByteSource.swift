package import LinuxKernel

/// Bytes pulled one buffer at a time, blocking; used by one thread only.
package protocol ByteSource: AnyObject {
    /// Fills the buffer from its start and returns how many bytes there are: at least one, and 0 only at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int
}

/// A descriptor's bytes from its current offset, or a range of a file that leaves the offset alone.
package final class DescriptorSource: ByteSource {
    private let descriptor: DescriptorBox
    private var range: Range<Int64>?

    package init(_ descriptor: DescriptorBox, range: Range<Int64>? = nil) {
        self.descriptor = descriptor
        self.range = range
    }

    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        do throws(SystemError) {
            guard let range else { return try descriptor.descriptor.read(into: buffer) }
            let wanted = Int(min(Int64(buffer.count), range.upperBound - range.lowerBound))
            if wanted == 0 { return 0 }
            let count = try descriptor.descriptor.read(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: range.lowerBound)
            self.range = range.lowerBound + Int64(count)..<range.upperBound
            return count
        } catch {
            throw LayerError(.system(error))
        }
    }
}

/// Bytes already in memory.
package final class BytesSource: ByteSource {
    private let bytes: [UInt8]
    private var position = 0
    private let stride: Int

    /// `stride` caps each read, so that a test may cut the stream anywhere.
    package init(_ bytes: [UInt8], stride: Int = .max) {
        self.bytes = bytes
        self.stride = stride
    }

    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        let count = min(buffer.count, bytes.count - position, stride)
        bytes.withUnsafeBytes {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
        }
        position += count
        return count
    }
}

extension ByteSource {
    /// Reads until the buffer is full or the source ends; returns how many bytes there are.
    package func fill(_ buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// Reads the rest for the sake of what checks it on the way.
    func drain() throws(LayerError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
        defer { buffer.deallocate() }
        while try read(into: buffer) > 0 {}
    }
}
