internal import NIOCore

/// Reads a blob for upload: fills the buffer from an offset and returns the number of bytes, 0 at the end. May be
/// called several times for the same bytes. Blocks only as long as a disk does.
package typealias BlobReader =
    @Sendable (_ buffer: UnsafeMutableRawBufferPointer, _ offset: Int64) throws(BlobReadError) -> Int

/// A blob that could not be read, with the `errno`.
package struct BlobReadError: Error, Equatable, Sendable {
    package let errno: Int32
    package init(errno: Int32) { self.errno = errno }
}

/// A request body of known size, sent from its start on each attempt.
struct UploadBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let size: Int64
    let read: BlobReader
    private static let chunk = 1 << 18

    func makeAsyncIterator() -> Iterator { Iterator(body: self) }

    struct Iterator: AsyncIteratorProtocol {
        let body: UploadBody
        private var offset: Int64 = 0

        init(body: UploadBody) { self.body = body }

        mutating func next() async throws -> ByteBuffer? {
            let left = body.size - offset
            if left == 0 { return nil }
            var buffer = ByteBuffer()
            let count = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: UploadBody.chunk) { bytes in
                let wanted = Int(Swift.min(left, Int64(bytes.count)))
                return try body.read(UnsafeMutableRawBufferPointer(rebasing: bytes[..<wanted]), offset)
            }
            // The file is shorter than its descriptor; EIO is the closest errno.
            guard count > 0 else { throw BlobReadError(errno: 5) }
            offset += Int64(count)
            return buffer
        }
    }
}
