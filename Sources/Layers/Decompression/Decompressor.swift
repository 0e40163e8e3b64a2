/// Uncompressed bytes from a layer blob, whichever of the three packings layer.md names it has.
///
/// The packing is told by the blob's first bytes and not by its media type: registries hold gzip blobs labelled as
/// plain and the reverse, and what is delivered is checked against the diffID in any case.
package final class Decompressor: ByteSource {
    private enum Codec {
        case undecided
        case plain
        case gzip(GzipInflater)
        case zstd(ZstdInflater)
    }

    private let source: any ByteSource
    private let limits: UnpackLimits
    private let input: UnsafeMutableRawBufferPointer
    private var pending = UnsafeRawBufferPointer(start: nil, count: 0)
    private var isSourceAtEnd = false
    private var codec = Codec.undecided
    private var bytesIn: Int64 = 0
    private var bytesOut: Int64 = 0

    package init(_ source: any ByteSource, limits: UnpackLimits = UnpackLimits(), inputBytes: Int = 512 << 10) {
        self.source = source
        self.limits = limits
        input = .allocate(byteCount: inputBytes, alignment: 4096)
    }

    deinit { input.deallocate() }

    /// What the first bytes told; `plain` before the first read.
    package var compression: Compression {
        switch codec {
        case .undecided, .plain: .plain
        case .gzip: .gzip
        case .zstd: .zstd
        }
    }

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

    /// Runs the codec until it has made at least one byte or has come to the end of its input.
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
        let count = try source.read(into: input)
        if count == 0 { isSourceAtEnd = true }
        bytesIn += Int64(count)
        pending = UnsafeRawBufferPointer(rebasing: input[..<count])
    }

    private func readPlain(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        if pending.isEmpty {
            // Straight from the source into the caller's buffer: no copy on the way.
            let count = try source.read(into: buffer)
            bytesIn += Int64(count)
            return count
        }
        let count = min(pending.count, buffer.count)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: pending[..<count]))
        pending = UnsafeRawBufferPointer(rebasing: pending[count...])
        return count
    }

    private func sniff() throws(LayerError) -> Codec {
        // Eight bytes are enough for every magic below; a source may hand over fewer at a time.
        var filled = 0
        while filled < 8 {
            let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: input[filled...]))
            if count == 0 { isSourceAtEnd = true; break }
            filled += count
        }
        bytesIn = Int64(filled)
        pending = UnsafeRawBufferPointer(rebasing: input[..<filled])
        if starts([0x1F, 0x8B]) { return .gzip(GzipInflater()) }
        let isSkippable =
            pending.count >= 4 && pending[0] & 0xF0 == 0x50 && pending[1] == 0x2A && pending[2] == 0x4D
            && pending[3] == 0x18
        if isSkippable || starts([0x28, 0xB5, 0x2F, 0xFD]) {
            return .zstd(try ZstdInflater(largestWindow: limits.zstdWindowBytes))
        }
        // Known, and refused by name: nobody should have to guess from "bad checksum".
        if starts([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]) { throw LayerError(.unsupportedCompression("xz")) }
        if starts([0x42, 0x5A, 0x68]), pending.count > 3, (0x31...0x39).contains(pending[3]) {
            throw LayerError(.unsupportedCompression("bzip2"))
        }
        if starts([0x04, 0x22, 0x4D, 0x18]) { throw LayerError(.unsupportedCompression("lz4")) }
        return .plain
    }

    private func starts(_ magic: [UInt8]) -> Bool { pending.starts(with: magic) }
}
