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
    static func table(_ listings: [ImageListing], now: Int64) -> [UInt8] {
        var widths = titles.map(\.utf8CodeUnitCount)
        widths[1] = digestWidth
        var sizes = TextBytes()
        var ends: [Int] = []
        var rows = 1
        for listing in listings {
            listing.forEach { bytes, image in
                if image.names.isEmpty {
                    widths[0] = max(widths[0], width(bytes[image.name]))
                    rows += 1
                } else {
                    image.forEachName(bytes) {
                        widths[0] = max(widths[0], width(bytes[$0]))
                        rows += 1
                    }
                }
                widths[2] = max(widths[2], width(bytes[image.platform]))
                widths[3] = max(widths[3], image.entries.count)
                let start = sizes.bytes.count
                sizes.addBytes(number(bytes[image.size]))
                ends.append(sizes.bytes.count)
                widths[4] = max(widths[4], sizes.bytes.count - start)
            }
        }
        var text = TextBytes()
        text.reserve((rows + 1) * (widths.reduce(0, +) + 2 * widths.count + 16))
        for (title, width) in zip(titles, widths) {
            text.add(title)
            text.addBlanks(width + 2 - title.utf8CodeUnitCount)
        }
        text.add("PULLED\n")
        var (index, start) = (0, 0)
        for listing in listings {
            listing.forEach { bytes, image in
                let size = start..<ends[index]
                (index, start) = (index + 1, size.upperBound)
                let age = max(0, now - number(bytes[image.created]))
                func add(_ name: Range<Int>) {
                    text.add(bytes[name])
                    text.addBlanks(widths[0] + 2 - width(bytes[name]))
                    text.add(hex(bytes[image.digest]).prefix(digestWidth))
                    text.addBlanks(2)
                    text.add(bytes[image.platform])
                    text.addBlanks(widths[2] + 2 - width(bytes[image.platform]))
                    text.add(bytes[image.entries])
                    text.addBlanks(widths[3] + 2 - image.entries.count)
                    sizes.bytes.withUnsafeBytes { text.add($0[size]) }
                    text.addBlanks(widths[4] + 2 - size.count)
                    text.addAge(seconds: age)
                    text.add(" ago\n")
                }
                // An image of which only the digest was ever asked for is shown by the name it was pulled under.
                if image.names.isEmpty { add(image.name) } else { image.forEachName(bytes, add) }
            }
        }
        return text.bytes
    }

    /// In characters, which are fewer than bytes where there are others than ASCII's.
    private static func width(_ text: Bytes.SubSequence) -> Int {
        var all: UInt8 = 0
        for byte in text { all |= byte }
        return all < 0x80 ? text.count : String(decoding: text, as: UTF8.self).count
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
    static func names(_ listings: [ImageListing]) -> [UInt8] {
        var text = TextBytes()
        for listing in listings {
            listing.forEach { bytes, image in
                if image.names.isEmpty {
                    text.add(bytes[image.digest])
                } else {
                    text.add(bytes[image.names].prefix { $0 != 0 })
                }
                text.add("\n")
            }
        }
        return text.bytes
    }

    // MARK: JSON

    /// As `JSONText` would have it, with the keys in order.
    static func json(_ listings: [(store: String, images: ImageListing)]) -> [UInt8] {
        var text = TextBytes()
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
        return text.bytes
    }
}

extension TextBytes {
    /// In quotation marks, escaped as in RFC 8259, section 7. What is no UTF-8 is repaired.
    fileprivate mutating func addString(_ text: UnsafeRawBufferPointer.SubSequence) {
        add(byte: UInt8(ascii: "\""))
        if text.allSatisfy({ $0 >= 0x20 && $0 < 0x80 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            add(text)
        } else {
            for byte in String(decoding: text, as: UTF8.self).utf8 { addEscaped(byte) }
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
