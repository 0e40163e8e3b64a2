internal import CZstd

/// Decodes zstd: any number of frames, including skippable ones (RFC 8878, section 3), up to the maximum window.
final class ZstdInflater {
    private let context: OpaquePointer
    /// The input size that the library suggests; 0 exactly between frames.
    private var hint = 0
    /// The memory taken from `WindowBudget`.
    private var room = 0
    private let largestWindow: Int64

    init(largestWindow: Int64) throws(LayerError) {
        guard let context = ZSTD_createDCtx() else { throw LayerError(.corrupt(.zstd, code: -1)) }
        self.context = context
        self.largestWindow = largestWindow
        // The library's limit is a power of two from 1 KiB to 2 GiB.
        let log: Int32 = (10..<31).first { Int64(1) << Int64($0) >= largestWindow } ?? 31
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, log)
    }

    deinit {
        ZSTD_freeDCtx(context)
        if room > 0 { WindowBudget.shared.giveBack(room) }
    }

    private func makeRoom(for frame: UnsafeRawBufferPointer) throws(LayerError) {
        guard let window = WindowBudget.window(of: frame) else { return }
        // Check before waiting for or allocating that much memory.
        if window > largestWindow { throw LayerError(.limit(.zstdWindowBytes, limit: largestWindow)) }
        let wanted = window + WindowBudget.besides
        guard wanted > room else { return }
        if room > 0 { WindowBudget.shared.giveBack(room) }
        WindowBudget.shared.take(wanted)
        room = wanted
    }

    /// Decodes from `input` and advances it. Returns 0 if it needs more input or has finished.
    func decode(
        _ input: inout UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLastInput: Bool
    ) throws(LayerError) -> Int {
        // At a frame boundary without input: the call would expect another frame header.
        if input.isEmpty, hint == 0 { return 0 }
        if hint == 0 { try makeRoom(for: input) }
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let code = ZSTD_decompressStream(context, &target, &source)
        if ZSTD_isError(code) != 0 {
            // The frame header arrived in pieces, or the window exceeds the library's maximum.
            if ZSTD_getErrorCode(code) == ZSTD_error_frameParameter_windowTooLarge {
                throw LayerError(.limit(.zstdWindowBytes, limit: min(largestWindow, 2 << 30)))
            }
            throw LayerError(.corrupt(.zstd, code: Int(ZSTD_getErrorCode(code).rawValue)))
        }
        hint = code
        input = UnsafeRawBufferPointer(rebasing: input[source.pos...])
        if target.pos == 0, isLastInput, input.isEmpty, hint != 0 {
            throw LayerError(.truncated(.zstd))
        }
        return target.pos
    }
}
