internal import NIOCore

/// Some of a blob's bytes, where the network put them.
package final class BlobChunk: @unchecked Sendable {  // but for `whenGone`, never written to
    /// Valid as long as the chunk lives.
    package let bytes: UnsafeRawBufferPointer
    /// What is kept in memory for them, in bytes.
    package let footprint: Int
    private let storage: Unmanaged<AnyObject>
    /// Told once nobody has the bytes any more. To be set by the first who has them.
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
