internal import LinuxKernel

/// Encodes the header of a tar entry as POSIX 1003.1 ustar, with a PAX extended header for values that do not fit.
struct TarEntryHeader {
    enum Kind: UInt8 {
        case regular = 0x30
        case hardLink = 0x31
        case symlink = 0x32
        case directory = 0x35
        case fifo = 0x36
    }

    var kind: Kind
    /// Relative to the root; a directory's path has no trailing slash.
    var path: [UInt8]
    var linkTarget: [UInt8] = []
    var permissions: UInt32 = 0o644
    var userID: UInt32 = 0
    var groupID: UInt32 = 0
    var size: Int64 = 0
    var modified = Timestamp(seconds: 0)
    /// Set for a header whose length must not depend on the size.
    var alwaysRecordsSize = false
    /// Sorted by name.
    var extendedAttributes: [(name: [UInt8], value: [UInt8])] = []

    static let block = 512

    /// The number of zeros that fill up the last block.
    static func padding(after size: Int64) -> Int { Int((512 - size % 512) % 512) }

    func append(to bytes: inout [UInt8]) {
        let name = kind == .directory ? path + [UInt8(ascii: "/")] : path
        var records: [UInt8] = []
        let texts = [name, linkTarget]
        // PAX values are UTF-8 unless this record says otherwise.
        if texts.contains(where: { !Self.isASCII($0) && !Self.isUTF8($0) }) {
            Self.record("hdrcharset", Array("BINARY".utf8), &records)
        }
        if Self.needsRecord(name) { Self.record("path", name, &records) }
        if Self.needsRecord(linkTarget) { Self.record("linkpath", linkTarget, &records) }
        if size > Self.largestSize || alwaysRecordsSize { Self.record("size", Self.digits(size), &records) }
        if userID > Self.largestID { Self.record("uid", Self.digits(Int64(userID)), &records) }
        if groupID > Self.largestID { Self.record("gid", Self.digits(Int64(groupID)), &records) }
        if modified.nanoseconds != 0 || modified.seconds < 0 || modified.seconds > Self.largestSize {
            Self.record("mtime", Self.time(modified), &records)
        }
        for attribute in extendedAttributes {
            Self.record(Array("SCHILY.xattr.".utf8) + attribute.name, attribute.value, &records)
        }
        if !records.isEmpty {
            // Its own name has no meaning, so it is constant.
            Self.appendBlock(
                type: UInt8(ascii: "x"), name: Array("PaxHeaders.0/x".utf8), linkTarget: [], permissions: 0o644,
                userID: 0, groupID: 0, size: Int64(records.count), modified: 0, to: &bytes)
            bytes += records
            bytes += [UInt8](repeating: 0, count: Self.padding(after: Int64(records.count)))
        }
        Self.appendBlock(
            type: kind.rawValue, name: name, linkTarget: linkTarget, permissions: permissions,
            userID: min(userID, Self.largestID), groupID: min(groupID, Self.largestID),
            size: min(size, Self.largestSize), modified: min(max(modified.seconds, 0), Self.largestSize), to: &bytes)
    }

    /// Two blocks of zeros.
    static let end = [UInt8](repeating: 0, count: 1024)

    /// Eleven octal digits, and seven.
    private static let largestSize: Int64 = 0o777_7777_7777
    private static let largestID: UInt32 = 0o777_7777

    private static func needsRecord(_ text: [UInt8]) -> Bool { text.count > 100 || !isASCII(text) }
    private static func isASCII(_ text: [UInt8]) -> Bool { text.allSatisfy { $0 < 0x80 } }
    private static func isUTF8(_ text: [UInt8]) -> Bool { String(validating: text, as: UTF8.self) != nil }
    private static func digits(_ value: Int64) -> [UInt8] { Array(String(value).utf8) }

    /// Seconds with a fraction without trailing zeros. The fraction of a negative time counts towards zero.
    static func time(_ time: Timestamp) -> [UInt8] {
        var (seconds, nanoseconds) = (time.seconds, Int64(time.nanoseconds))
        let isNegative = seconds < 0
        if isNegative, nanoseconds > 0 {
            seconds += 1
            nanoseconds = 1_000_000_000 - nanoseconds
        }
        var text = isNegative ? "-\(-seconds)" : "\(seconds)"
        if nanoseconds > 0 {
            let fraction = String(nanoseconds)
            text += "." + String(repeating: "0", count: 9 - fraction.count) + fraction
            while text.last == "0" { text.removeLast() }
        }
        return Array(text.utf8)
    }

    private static func record(_ key: String, _ value: [UInt8], _ records: inout [UInt8]) {
        record(Array(key.utf8), value, &records)
    }

    /// `length SP key = value LF`. The length includes itself.
    private static func record(_ key: [UInt8], _ value: [UInt8], _ records: inout [UInt8]) {
        let rest = key.count + value.count + 3
        var length = rest + 1
        while rest + String(length).utf8.count != length { length = rest + String(length).utf8.count }
        records += digits(Int64(length))
        records.append(0x20)
        records += key
        records.append(0x3D)
        records += value
        records.append(0x0A)
    }

    private static func appendBlock(
        type: UInt8, name: [UInt8], linkTarget: [UInt8], permissions: UInt32, userID: UInt32, groupID: UInt32,
        size: Int64, modified: Int64, to bytes: inout [UInt8]
    ) {
        let start = bytes.count
        bytes += [UInt8](repeating: 0, count: block)
        func put(_ text: some Sequence<UInt8>, at offset: Int) {
            var position = start + offset
            for byte in text {
                bytes[position] = byte
                position += 1
            }
        }
        func octal(_ value: Int64, digits: Int) -> [UInt8] {
            let text = String(value, radix: 8)
            return Array((String(repeating: "0", count: max(0, digits - text.utf8.count)) + text).utf8)
        }
        // Truncate values that a record replaces. Readers without PAX support see at least the beginning.
        put(name.prefix(100).map { $0 < 0x80 ? $0 : UInt8(ascii: "_") }, at: 0)
        put(octal(Int64(permissions & 0o7777), digits: 7), at: 100)
        put(octal(Int64(userID), digits: 7), at: 108)
        put(octal(Int64(groupID), digits: 7), at: 116)
        put(octal(size, digits: 11), at: 124)
        put(octal(modified, digits: 11), at: 136)
        put(repeatElement(0x20, count: 8), at: 148)
        put(CollectionOfOne(type), at: 156)
        put(linkTarget.prefix(100).map { $0 < 0x80 ? $0 : UInt8(ascii: "_") }, at: 157)
        put("ustar\u{0}00".utf8, at: 257)
        let sum = bytes[start...].reduce(0) { $0 + Int64($1) }
        put(octal(sum, digits: 6) + [0, 0x20], at: 148)
    }
}
