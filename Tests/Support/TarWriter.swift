/// Builds archives byte by byte, including invalid ones.
package struct TarWriter {
    package var bytes: [UInt8] = []

    package init() {}

    package struct Header {
        package var name: [UInt8] = []
        package var mode: Int64 = 0o644
        package var user: Int64 = 0
        package var group: Int64 = 0
        package var size: Int64 = 0
        package var modified: Int64 = 1_700_000_000
        package var type: UInt8 = UInt8(ascii: "0")
        package var link: [UInt8] = []
        package var magic = "ustar\u{0}00"
        package var prefix: [UInt8] = []
        /// Bytes written over the finished header before its checksum is computed.
        package var patches: [(at: Int, bytes: [UInt8])] = []
        package var hasWrongChecksum = false
        package var hasSignedChecksum = false

        package init(
            name: [UInt8] = [], mode: Int64 = 0o644, user: Int64 = 0, group: Int64 = 0, size: Int64 = 0,
            modified: Int64 = 1_700_000_000, type: UInt8 = UInt8(ascii: "0"), link: [UInt8] = [],
            magic: String = "ustar\u{0}00", prefix: [UInt8] = [], patches: [(at: Int, bytes: [UInt8])] = [],
            hasWrongChecksum: Bool = false, hasSignedChecksum: Bool = false
        ) {
            self.name = name
            self.mode = mode
            self.user = user
            self.group = group
            self.size = size
            self.modified = modified
            self.type = type
            self.link = link
            self.magic = magic
            self.prefix = prefix
            self.patches = patches
            self.hasWrongChecksum = hasWrongChecksum
            self.hasSignedChecksum = hasSignedChecksum
        }
    }

    package static func octal(_ value: Int64, _ width: Int) -> [UInt8] {
        let digits = String(value, radix: 8)
        return Array(String(repeating: "0", count: max(0, width - 1 - digits.count)).utf8) + Array(digits.utf8) + [0]
    }

    package static func base256(_ value: Int64, _ width: Int) -> [UInt8] {
        var result = [UInt8](repeating: value < 0 ? 0xFF : 0, count: width)
        for index in 0..<min(8, width) {
            result[width - 1 - index] = UInt8(truncatingIfNeeded: value >> (8 * Int64(index)))
        }
        result[0] |= 0x80
        return result
    }

    package static func number(_ value: Int64, _ width: Int) -> [UInt8] {
        value < 0 || value >= 1 << (3 * Int64(width - 1)) ? base256(value, width) : octal(value, width)
    }

    package static func block(_ header: Header) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ at: Int, _ bytes: [UInt8], _ width: Int) {
            for (index, byte) in bytes.prefix(width).enumerated() { block[at + index] = byte }
        }
        put(0, header.name, 100)
        put(100, number(header.mode, 8), 8)
        put(108, number(header.user, 8), 8)
        put(116, number(header.group, 8), 8)
        put(124, number(header.size, 12), 12)
        put(136, number(header.modified, 12), 12)
        block[156] = header.type
        put(157, header.link, 100)
        put(257, Array(header.magic.utf8), 8)
        put(345, header.prefix, 155)
        for patch in header.patches { put(patch.at, patch.bytes, patch.bytes.count) }
        for index in 148..<156 { block[index] = 0x20 }
        var sum = block.reduce(0) { $0 + (header.hasSignedChecksum ? Int64(Int8(bitPattern: $1)) : Int64($1)) }
        if header.hasWrongChecksum { sum += 1 }
        put(148, Array(octal(sum, 7)) + [0x20], 8)
        return block
    }

    package mutating func add(_ header: Header, _ data: [UInt8] = []) {
        bytes += Self.block(header)
        pad(data)
    }

    package mutating func pad(_ data: [UInt8]) {
        bytes += data
        bytes += [UInt8](repeating: 0, count: (512 - data.count % 512) % 512)
    }

    package mutating func pax(_ records: [(String, [UInt8])], type: Character = "x") {
        var data: [UInt8] = []
        for (key, value) in records { data += Self.record(key, value) }
        add(Header(name: Array("pax".utf8), size: Int64(data.count), type: type.asciiValue ?? 0), data)
    }

    package static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = [0x20] + Array(key.utf8) + [0x3D] + value + [0x0A]
        var length = rest.count
        while String(length).utf8.count + rest.count != length { length = String(length).utf8.count + rest.count }
        return Array(String(length).utf8) + rest
    }

    package mutating func end() { bytes += [UInt8](repeating: 0, count: 1024) }
}
