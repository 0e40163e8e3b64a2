internal import LinuxKernel

/// Parses one 512-byte header in place: v7, ustar (POSIX 1003.1), GNU and star.
struct TarHeader {
    let bytes: UnsafeRawBufferPointer

    enum Format { case v7, ustar, gnu, star }

    struct Field {
        let name: String
        let range: Range<Int>
        static let mode = Field(name: "mode", range: 100..<108)
        static let user = Field(name: "uid", range: 108..<116)
        static let group = Field(name: "gid", range: 116..<124)
        static let size = Field(name: "size", range: 124..<136)
        static let modified = Field(name: "mtime", range: 136..<148)
        static let checksum = Field(name: "chksum", range: 148..<156)
        static let realSize = Field(name: "realsize", range: 483..<495)
    }

    var typeFlag: UInt8 { bytes[156] }

    var format: Format {
        let isUstar = starts(at: 257, "ustar\0")
        if isUstar { return starts(at: 508, "tar\0") ? .star : .ustar }
        return starts(at: 257, "ustar  \0") ? .gnu : .v7
    }

    private func starts(at offset: Int, _ text: StaticString) -> Bool {
        UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + text.utf8CodeUnitCount])
            .elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    var isZero: Bool { bytes.allSatisfy { $0 == 0 } }

    /// The sum of the header with blanks in the checksum field. Old writers sum signed bytes.
    func hasValidChecksum() -> Bool {
        guard let stored = try? number(.checksum) else { return false }  // unreadable: wrong
        var unsigned = 0
        var high = 0
        for byte in bytes {
            unsigned += Int(byte)
            high += Int(byte >> 7)
        }
        for byte in bytes[Field.checksum.range] {
            unsigned += 0x20 - Int(byte)
            high -= Int(byte >> 7)
        }
        return stored == Int64(unsigned) || stored == Int64(unsigned - 256 * high)
    }

    func number(_ field: Field) throws(LayerError) -> Int64 {
        guard let value = Self.number(bytes[field.range]) else { throw .archive(.number(field: field.name)) }
        return value
    }

    /// Octal with leading blanks or NULs, ended by a blank, a NUL or the end of the field; or GNU's base-256 with the
    /// top bit set. Returns `nil` for anything else.
    static func number(_ field: Slice<UnsafeRawBufferPointer>) -> Int64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            // Two's complement, big-endian; bit 6 of the first byte is the sign.
            var value: Int64 = first & 0x40 != 0 ? -1 : 0
            value = value << 6 | Int64(first & 0x3F)
            for byte in field.dropFirst() {
                let (shifted, overflow) = value.multipliedReportingOverflow(by: 256)
                if overflow { return nil }
                value = shifted | Int64(byte)
            }
            return value
        }
        var value: Int64 = 0
        var index = field.startIndex
        while index < field.endIndex, field[index] == 0x20 || field[index] == 0 { index += 1 }
        while index < field.endIndex, (0x30...0x37).contains(field[index]) {
            value = value << 3 | Int64(field[index] & 7)
            index += 1
        }
        // Ignore bytes after the first NUL, which some writers do not clear. Other readers stop there, too.
        while index < field.endIndex, field[index] != 0 {
            if field[index] != 0x20 { return nil }
            index += 1
        }
        return value
    }

    func appendName(to name: inout [UInt8]) {
        switch format {
        case .ustar: appendPrefix(345..<500, to: &name)
        case .star: appendPrefix(345..<476, to: &name)
        case .gnu: if hasMisplacedPrefix { appendPrefix(345..<500, to: &name) }
        case .v7: break
        }
        append(0..<100, to: &name)
    }

    func appendLinkName(to name: inout [UInt8]) { append(157..<257, to: &name) }

    private func appendPrefix(_ range: Range<Int>, to name: inout [UInt8]) {
        guard bytes[range.lowerBound] != 0 else { return }
        append(range, to: &name)
        name.append(0x2F)
    }

    private func append(_ range: Range<Int>, to name: inout [UInt8]) {
        let field = bytes[range]
        let end = field.firstIndex(of: 0) ?? range.upperBound
        name.append(contentsOf: bytes[range.lowerBound..<end])
    }

    /// Go before 1.8 wrote a ustar prefix with GNU's magic number, in place of the access and change time. Registries
    /// still have such layers. They are detected because these fields are not numbers and the prefix is plain ASCII.
    private var hasMisplacedPrefix: Bool {
        guard bytes[345] != 0, Self.number(bytes[345..<357]) == nil || Self.number(bytes[357..<369]) == nil else {
            return false
        }
        return bytes[345..<500].prefix { $0 != 0 }.allSatisfy { $0 < 0x80 }
    }

    /// `count` pairs of offset and length in an old GNU sparse header or an extension block.
    static func appendExtents(
        _ bytes: UnsafeRawBufferPointer, at start: Int, count: Int, to extents: inout [TarEntry.Extent]
    ) throws(LayerError) {
        for index in 0..<count {
            let at = start + index * 24
            if bytes[at] == 0 { return }
            guard let offset = number(bytes[at..<at + 12]), let length = number(bytes[at + 12..<at + 24]) else {
                throw .archive(.sparseMap)
            }
            extents.append(.init(offset: offset, count: length))
        }
    }
}
