internal import CISAL

/// Inflates gzip with ISA-L: any number of members (RFC 1952, section 2.2), and zero bytes after the last one, with
/// which some writers pad. Rejects other trailing bytes, because other readers might find another layer in them.
final class GzipInflater {
    private let state = UnsafeMutablePointer<inflate_state>.allocate(capacity: 1)
    /// Between members, the next byte must start a member or be padding.
    private var isBetweenMembers = false
    private var isPadding = false

    init() {
        isal_inflate_init(state)
        state.pointee.crc_flag = UInt32(ISAL_GZIP)
    }

    deinit { state.deallocate() }

    /// Decodes from `input` and advances it. Returns 0 if it needs more input or has finished.
    func decode(
        _ input: inout UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLastInput: Bool
    ) throws(LayerError) -> Int {
        if isBetweenMembers {
            if input.isEmpty { return 0 }
            if isPadding || input[0] == 0 {
                guard input.allSatisfy({ $0 == 0 }) else { throw LayerError(.corrupt(.gzip, code: Self.trailingBytes)) }
                isPadding = true
                input = UnsafeRawBufferPointer(rebasing: input[input.count...])
                return 0
            }
            // ISA-L checks the rest of the magic number, so a stray byte fails there.
            isal_inflate_reset(state)
            state.pointee.crc_flag = UInt32(ISAL_GZIP)
            isBetweenMembers = false
        }
        state.pointee.next_in = UnsafeMutablePointer(mutating: input.assumingMemoryBound(to: UInt8.self).baseAddress)
        state.pointee.avail_in = UInt32(input.count)
        state.pointee.next_out = output.assumingMemoryBound(to: UInt8.self).baseAddress
        state.pointee.avail_out = UInt32(min(output.count, 1 << 30))
        let room = state.pointee.avail_out
        let code = isal_inflate(state)
        let used = input.count - Int(state.pointee.avail_in)
        input = UnsafeRawBufferPointer(rebasing: input[used...])
        let made = Int(room - state.pointee.avail_out)
        if code < 0 { throw LayerError(.corrupt(.gzip, code: Int(code))) }
        if state.pointee.block_state == ISAL_BLOCK_FINISH {
            isBetweenMembers = true
        } else if made == 0, isLastInput, input.isEmpty {
            throw LayerError(.truncated(.gzip))
        }
        return made
    }

    /// Not a code of ISA-L.
    static let trailingBytes = -100
}
