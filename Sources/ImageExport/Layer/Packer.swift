internal import CISAL
internal import CZstd

/// The compression of exported layers.
package enum ExportCompression: String, Sendable, CaseIterable { case gzip, zstd, none }

/// Compresses a stream of bytes.
protocol Packer: AnyObject {
    /// Compresses `input` and passes on the available output; with `isLast`, all of it.
    func pack(
        _ input: UnsafeRawBufferPointer, isLast: Bool,
        _ emit: (UnsafeRawBufferPointer) throws(ExportError) -> Void
    ) throws(ExportError)
}

func makePacker(_ compression: ExportCompression) throws(ExportError) -> any Packer {
    switch compression {
    case .gzip: GzipPacker()
    case .zstd: try ZstdPacker()
    case .none: PlainPacker()
    }
}

private let room = 1 << 18

private final class PlainPacker: Packer {
    func pack(
        _ input: UnsafeRawBufferPointer, isLast: Bool,
        _ emit: (UnsafeRawBufferPointer) throws(ExportError) -> Void
    ) throws(ExportError) {
        if !input.isEmpty { try emit(input) }
    }
}

/// ISA-L's deflate at level 1: faster than a disk, and a few per cent larger than zlib's default level.
private final class GzipPacker: Packer {
    private let stream = UnsafeMutablePointer<isal_zstream>.allocate(capacity: 1)
    private let levelBuffer = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(berth_isal_level1_buffer_size))
    private let output = UnsafeMutablePointer<UInt8>.allocate(capacity: room)

    init() {
        // The gzip header has no time, so that equal input yields equal output.
        isal_deflate_init(stream)
        stream.pointee.level = 1
        stream.pointee.level_buf = levelBuffer
        stream.pointee.level_buf_size = berth_isal_level1_buffer_size
        stream.pointee.gzip_flag = UInt16(IGZIP_GZIP)
        stream.pointee.flush = UInt16(NO_FLUSH)
    }

    deinit {
        stream.deallocate()
        levelBuffer.deallocate()
        output.deallocate()
    }

    func pack(
        _ input: UnsafeRawBufferPointer, isLast: Bool,
        _ emit: (UnsafeRawBufferPointer) throws(ExportError) -> Void
    ) throws(ExportError) {
        stream.pointee.next_in = UnsafeMutablePointer(mutating: input.assumingMemoryBound(to: UInt8.self).baseAddress)
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.end_of_stream = isLast ? 1 : 0
        while true {
            stream.pointee.next_out = output
            stream.pointee.avail_out = UInt32(room)
            let code = isal_deflate(stream)
            guard code == COMP_OK else { throw .compression(code: Int(code)) }
            let made = room - Int(stream.pointee.avail_out)
            if made > 0 { try emit(UnsafeRawBufferPointer(start: output, count: made)) }
            if isLast ? berth_isal_has_ended(stream) != 0 : stream.pointee.avail_in == 0 && made < room { return }
        }
    }
}

private final class ZstdPacker: Packer {
    private let context: OpaquePointer
    private let output = UnsafeMutablePointer<UInt8>.allocate(capacity: room)

    init() throws(ExportError) {
        guard let context = ZSTD_createCCtx() else { throw .compression(code: -1) }
        self.context = context
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 3)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
    }

    deinit {
        ZSTD_freeCCtx(context)
        output.deallocate()
    }

    func pack(
        _ input: UnsafeRawBufferPointer, isLast: Bool,
        _ emit: (UnsafeRawBufferPointer) throws(ExportError) -> Void
    ) throws(ExportError) {
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        while true {
            var target = ZSTD_outBuffer(dst: output, size: room, pos: 0)
            let left = ZSTD_compressStream2(context, &target, &source, isLast ? ZSTD_e_end : ZSTD_e_continue)
            guard ZSTD_isError(left) == 0 else { throw .compression(code: Int(ZSTD_getErrorCode(left).rawValue)) }
            if target.pos > 0 { try emit(UnsafeRawBufferPointer(start: output, count: target.pos)) }
            if isLast ? left == 0 : source.pos == source.size { return }
        }
    }
}
