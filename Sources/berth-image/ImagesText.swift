internal import LinuxKernel
internal import Store

/// What `berth images` prints: bytes all the way, as the lines may be many.
enum ImagesText {
    private typealias Bytes = UnsafeRawBufferPointer

    // MARK: The table

    private static let titles: [StaticString] = ["IMAGE", "DIGEST", "PLATFORM", "FILES", "SIZE"]
    private static let digestWidth = 12

    /// A line for each name. Two blanks between columns; the last is not padded.
    ///
    /// - Parameter now: Seconds since 1970.
    static func table(_ listings: [ImageListing], now: Int64, _ text: inout TextBytes) {
        var widths = titles.map(\.utf8CodeUnitCount)
        widths[1] = digestWidth
        for listing in listings {
            listing.forEach { bytes, image in
                image.forEachShownName(bytes) { widths[0] = max(widths[0], width(bytes[$0])) }
                widths[2] = max(widths[2], width(bytes[image.platform]))
                widths[3] = max(widths[3], image.entries.count)
                widths[4] = max(widths[4], TextBytes.width(ofBytes: number(bytes[image.size])))
            }
        }
        for (title, width) in zip(titles, widths) {
            text.add(title)
            text.addBlanks(width + 2 - title.utf8CodeUnitCount)
        }
        text.add("PULLED\n")
        for listing in listings {
            listing.forEach { bytes, image in
                let size = number(bytes[image.size])
                let sizeWidth = TextBytes.width(ofBytes: size)
                let age = max(0, now - number(bytes[image.created]))
                let digest = hex(bytes[image.digest]).prefix(digestWidth)
                let platformWidth = width(bytes[image.platform])
                image.forEachShownName(bytes) { name in
                    text.addLine(bytes[name])
                    text.addBlanks(widths[0] + 2 - width(bytes[name]))
                    text.add(digest)
                    text.addBlanks(2)
                    text.addLine(bytes[image.platform])
                    text.addBlanks(widths[2] + 2 - platformWidth)
                    text.add(bytes[image.entries])
                    text.addBlanks(widths[3] + 2 - image.entries.count)
                    text.addBytes(size)
                    text.addBlanks(widths[4] + 2 - sizeWidth)
                    text.addAge(seconds: age)
                    text.add(" ago\n")
                }
            }
        }
    }

    /// In characters, which are fewer than bytes where there are others than ASCII's.
    private static func width(_ text: Bytes.SubSequence) -> Int {
        var all: UInt8 = 0
        for byte in text { all |= byte }
        return all < 0x80 ? text.count : TerminalText.line(String(decoding: text, as: UTF8.self)).count
    }

    private static func hex(_ digest: Bytes.SubSequence) -> Bytes.SubSequence {
        digest.firstIndex(of: UInt8(ascii: ":")).map { digest[($0 + 1)...] } ?? digest
    }

    private static func number(_ text: Bytes.SubSequence) -> Int64 {
        var value: UInt64 = 0
        var isNegative = false
        for byte in text {
            if byte == UInt8(ascii: "-") { isNegative = true } else { value = value &* 10 &+ UInt64(byte &- 0x30) }
        }
        let clamped = Int64(clamping: value)
        return isNegative ? -clamped : clamped
    }

    // MARK: Names

    /// One for each image, or its digest.
    static func names(_ listings: [ImageListing], _ text: inout TextBytes) {
        for listing in listings {
            listing.forEach { bytes, image in
                text.addLine(bytes[image.names.isEmpty ? image.digest : image.firstName(bytes)])
                text.add("\n")
            }
        }
    }

    // MARK: JSON

    /// As `JSONText` would have it, with the keys in order.
    static func json(_ listings: [(store: String, images: ImageListing)], _ text: inout TextBytes) {
        text.add("[")
        var isFirst = true
        for (store, listing) in listings {
            let path = Array(store.utf8)
            listing.forEach { bytes, image in
                text.add(isFirst ? "\n  {\n    \"created\" : " : ",\n  {\n    \"created\" : ")
                isFirst = false
                text.add(bytes[image.created])
                text.add(",\n    \"digest\" : ")
                text.addString(bytes[image.digest])
                text.add(",\n    \"entries\" : ")
                text.add(bytes[image.entries])
                text.add(",\n    \"layers\" : ")
                text.add(bytes[image.layers])
                text.add(",\n    \"names\" : [")
                var isFirstName = true
                image.forEachName(bytes) {
                    text.add(isFirstName ? "\n      " : ",\n      ")
                    isFirstName = false
                    text.addString(bytes[$0])
                }
                text.add(isFirstName ? "\n\n    ],\n    \"platform\" : " : "\n    ],\n    \"platform\" : ")
                text.addString(bytes[image.platform])
                text.add(",\n    \"size\" : ")
                text.add(bytes[image.size])
                text.add(",\n    \"store\" : ")
                path.withUnsafeBytes { text.addString($0[...]) }
                text.add("\n  }")
            }
        }
        text.add(isFirst ? "\n\n]\n" : "\n]\n")
    }
}

extension TextBytes {
    /// Names of layouts and archives may hold anything.
    fileprivate mutating func addLine(_ text: UnsafeRawBufferPointer.SubSequence) {
        if text.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return add(text) }
        for byte in TerminalText.line(String(decoding: text, as: UTF8.self)).utf8 { add(byte: byte) }
    }

    /// In quotation marks, escaped as in RFC 8259, section 7. What is no UTF-8 is repaired.
    fileprivate mutating func addString(_ text: UnsafeRawBufferPointer.SubSequence) {
        add(byte: UInt8(ascii: "\""))
        if text.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            add(text)
        } else {
            for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
                if scalar.value > 0x7E, TerminalText.steers(scalar) {
                    for byte in TerminalText.jsonEscape(scalar).utf8 { add(byte: byte) }
                } else {
                    for byte in String(scalar).utf8 { addEscaped(byte) }
                }
            }
        }
        add(byte: UInt8(ascii: "\""))
    }

    private mutating func addEscaped(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): add("\\\"")
        case UInt8(ascii: "\\"): add("\\\\")
        case 0x08: add("\\b")
        case 0x09: add("\\t")
        case 0x0A: add("\\n")
        case 0x0C: add("\\f")
        case 0x0D: add("\\r")
        case 0..<0x20:
            let digits: StaticString = "0123456789abcdef"
            add("\\u00")
            add(byte: digits.utf8Start[Int(byte >> 4)])
            add(byte: digits.utf8Start[Int(byte & 15)])
        default: add(byte: byte)
        }
    }
}
