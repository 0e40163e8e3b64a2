internal import Hashing
internal import ImageSpec
internal import LinuxKernel

/// Writes a layer to a file: hashes, compresses, hashes again and writes it in one pass. The fixed chunk size makes the
/// same archive always yield the same blob.
final class BlobWriter {
    struct Written {
        let diffID: Digest
        let digest: Digest
        /// The size of the blob in bytes.
        let size: Int64
    }

    private let file: DescriptorBox
    private let packer: any Packer
    private let cancellation: Cancellation
    private let nameWriteError: (SystemError) -> ExportError
    private var plain = RunningDigest(.sha256)
    private var packed = RunningDigest(.sha256)
    private var size: Int64 = 0
    private let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    private var filled = 0

    /// Writes at the file's current offset.
    init(
        _ file: DescriptorBox, _ compression: ExportCompression, _ cancellation: Cancellation,
        nameWriteError: @escaping (SystemError) -> ExportError
    ) throws(ExportError) {
        self.file = file
        packer = try makePacker(compression)
        self.cancellation = cancellation
        self.nameWriteError = nameWriteError
    }

    deinit { piece.deallocate() }

    func write(_ bytes: UnsafeRawBufferPointer) throws(ExportError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, piece.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: piece[filled...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<count]))
            filled += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if filled == piece.count { try flush(isLast: false) }
        }
    }

    func write(_ bytes: [UInt8]) throws(ExportError) {
        let outcome: Result<Void, ExportError> = bytes.withUnsafeBytes { buffer in
            do throws(ExportError) { return .success(try write(buffer)) } catch { return .failure(error) }
        }
        try outcome.get()
    }

    func finish() throws(ExportError) -> Written {
        try flush(isLast: true)
        return Written(diffID: plain.finish(), digest: packed.finish(), size: size)
    }

    private func flush(isLast: Bool) throws(ExportError) {
        try cancellation.check()
        let bytes = UnsafeRawBufferPointer(rebasing: piece[..<filled])
        plain.update(bytes)
        try packer.pack(bytes, isLast: isLast) { (part) throws(ExportError) in
            packed.update(part)
            size += Int64(part.count)
            do throws(SystemError) { try file.descriptor.writeAll(part) } catch { throw nameWriteError(error) }
        }
        filled = 0
    }
}
