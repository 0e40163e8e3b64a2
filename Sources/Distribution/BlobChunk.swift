internal import NIOCore

/// A part of a blob, in the network's buffer.
package final class BlobChunk: @unchecked Sendable {  // immutable except `whenGone`
    /// Valid while the chunk exists.
    package let bytes: UnsafeRawBufferPointer
    /// The memory that the chunk occupies, in bytes.
    package let footprint: Int
    private let storage: Unmanaged<AnyObject>
    /// Called when the last reference is released. Set it before sharing the chunk.
    package var whenGone: (@Sendable () -> Void)?

    init(_ buffer: ByteBuffer) {
        (bytes, storage) = buffer.withUnsafeReadableBytesWithStorageManagement { ($0, $1.retain()) }
        footprint = buffer.storageCapacity
    }

    deinit {
        storage.release()
        whenGone?()
    }
}
