/// Decompresses a layer blob with one of the three compressions of layer.md.
///
/// The blob's first bytes determine the compression, because registries contain gzip blobs with the media type of plain
/// ones and vice versa. The output is checked against the diffID in any case.
package final class Decompressor {
    private enum Codec {
        case undecided
        case plain
        case gzip(GzipInflater)
        case zstd(ZstdInflater)
    }

    private let source: any ChunkSource
    private let limits: UnpackLimits
    /// The part of the lent chunk that is not decoded yet. `head` contains the bytes before it.
    private var pending = UnsafeRawBufferPointer(start: nil, count: 0)
    private var behindHead = UnsafeRawBufferPointer(start: nil, count: 0)
    private let head = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
    private var isSourceAtEnd = false
    private var codec = Codec.undecided
    private var bytesIn: Int64 = 0
    private var bytesOut: Int64 = 0

    package init(_ source: any ChunkSource, limits: UnpackLimits = UnpackLimits()) {
        self.source = source
        self.limits = limits
    }

    deinit { head.deallocate() }

    /// The compression found in the first bytes; `plain` before the first read.
    package var compression: Compression {
        switch codec {
        case .undecided, .plain: .plain
        case .gzip: .gzip
        case .zstd: .zstd
        }
    }

    /// Fills the buffer unless the blob ends first. Returns the number of bytes.
    package func fill(_ buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// Reads at least one byte, and more if they are available without waiting. Returns 0 only at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        if case .undecided = codec { codec = try sniff() }
        let count: Int
        switch codec {
        case .undecided: return 0
        case .plain: count = try readPlain(into: buffer)
        case .gzip(let inflater):
            count = try decode(into: buffer) { (input, output, atEnd) throws(LayerError) in
                try inflater.decode(&input, into: output, isLastInput: atEnd)
            }
        case .zstd(let inflater):
            count = try decode(into: buffer) { (input, output, atEnd) throws(LayerError) in
                try inflater.decode(&input, into: output, isLastInput: atEnd)
            }
        }
        bytesOut += Int64(count)
        if bytesOut > limits.ratioFloor, bytesOut / max(bytesIn, 1) > limits.expansionRatio {
            throw LayerError(.limit(.expansionRatio, limit: limits.expansionRatio))
        }
        return count
    }

    /// Runs the codec until it has produced at least one byte or consumed its input.
    private func decode(
        into buffer: UnsafeMutableRawBufferPointer,
        _ step: (inout UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer, Bool) throws(LayerError) -> Int
    ) throws(LayerError) -> Int {
        while true {
            if pending.isEmpty, !isSourceAtEnd { try refill() }
            let made = try step(&pending, buffer, isSourceAtEnd)
            if made > 0 { return made }
            if pending.isEmpty, isSourceAtEnd { return 0 }
        }
    }

    private func refill() throws(LayerError) {
        if !behindHead.isEmpty {
            pending = behindHead
            behindHead = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        pending = try source.next()
        if pending.isEmpty { isSourceAtEnd = true }
        bytesIn += Int64(pending.count)
    }

    private func readPlain(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        if pending.isEmpty, !isSourceAtEnd { try refill() }
        let count = min(pending.count, buffer.count)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: pending[..<count]))
        pending = UnsafeRawBufferPointer(rebasing: pending[count...])
        return count
    }

    private func sniff() throws(LayerError) -> Codec {
        // Eight bytes suffice for each magic number below. A source may lend fewer at a time.
        try refill()
        if pending.count < head.count { try collectHead() }
        if starts([0x1F, 0x8B]) { return .gzip(GzipInflater()) }
        let isSkippable =
            pending.count >= 4 && pending[0] & 0xF0 == 0x50 && pending[1] == 0x2A && pending[2] == 0x4D
            && pending[3] == 0x18
        if isSkippable || starts([0x28, 0xB5, 0x2F, 0xFD]) {
            return .zstd(try ZstdInflater(largestWindow: limits.zstdWindowBytes))
        }
        // Report known unsupported compressions by name rather than as a bad checksum.
        if starts([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]) { throw LayerError(.unsupportedCompression("xz")) }
        if starts([0x42, 0x5A, 0x68]), pending.count > 3, (0x31...0x39).contains(pending[3]) {
            throw LayerError(.unsupportedCompression("bzip2"))
        }
        if starts([0x04, 0x22, 0x4D, 0x18]) { throw LayerError(.unsupportedCompression("lz4")) }
        return .plain
    }

    private func collectHead() throws(LayerError) {
        var filled = 0
        while !isSourceAtEnd {
            let count = min(head.count - filled, pending.count)
            UnsafeMutableRawBufferPointer(rebasing: head[filled...]).copyMemory(
                from: .init(rebasing: pending[..<count]))
            filled += count
            if filled == head.count {
                behindHead = UnsafeRawBufferPointer(rebasing: pending[count...])
                break
            }
            try refill()
        }
        pending = UnsafeRawBufferPointer(rebasing: head[..<filled])
    }

    private func starts(_ magic: [UInt8]) -> Bool { pending.starts(with: magic) }
}
