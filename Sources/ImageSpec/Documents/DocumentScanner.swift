/// Rejects JSON that parsers interpret differently, before it is decoded: repeated keys, keys that differ only in case,
/// and other encodings. Its limits also bound the memory that decoding needs.
///
/// Replaces invalid UTF-8 and lone surrogates by U+FFFD, as Go's encoding/json does, because old builders wrote Latin-1
/// into the history.
package struct DocumentScanner {
    /// Image documents have less than ten levels.
    package static let maximumDepth = 100
    /// A decoded value takes some hundred bytes.
    package static let maximumValues = 250_000

    private let bytes: [UInt8]
    private var position = 0
    private var values = 0
    /// The keys that lead to the current value.
    private var path: [String] = []
    /// The document up to `kept` with replacements; empty if nothing was replaced.
    private var repaired: [UInt8] = []
    private var kept = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Returns: The document to decode.
    package static func check(_ bytes: [UInt8], as shape: DocumentShape) throws(DocumentFault) -> [UInt8] {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { throw DocumentFault(.byteOrderMark) }
        // JSON starts with ASCII, so UTF-16 and UTF-32 have a byte order mark or a NUL in the first two bytes.
        if bytes.starts(with: [0xFE, 0xFF]) || bytes.starts(with: [0xFF, 0xFE]) || bytes.prefix(2).contains(0) {
            throw DocumentFault(.otherEncoding)
        }
        var scanner = DocumentScanner(bytes)
        scanner.skipBlanks()
        try scanner.value(shape, depth: 1)
        scanner.skipBlanks()
        guard scanner.position == bytes.count else { throw scanner.notJSON }
        guard scanner.kept > 0 else { return bytes }
        return scanner.repaired + bytes[scanner.kept...]
    }

    private func fault(_ reason: DocumentFault.Reason) -> DocumentFault {
        DocumentFault(path: path.joined(separator: "."), reason)
    }

    private var notJSON: DocumentFault { fault(.notJSON(offset: position)) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipBlanks() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) throws(DocumentFault) {
        guard next == byte else { throw notJSON }
        position += 1
    }

    private mutating func value(_ shape: DocumentShape, depth: Int) throws(DocumentFault) {
        values += 1
        if values > Self.maximumValues { throw fault(.tooManyValues(limit: Self.maximumValues)) }
        switch next {
        case UInt8(ascii: "{"):
            if depth > Self.maximumDepth { throw fault(.tooDeep(limit: Self.maximumDepth)) }
            try object(shape, depth: depth)
        case UInt8(ascii: "["):
            if depth > Self.maximumDepth { throw fault(.tooDeep(limit: Self.maximumDepth)) }
            try list(shape, depth: depth)
        case UInt8(ascii: "\""): _ = try string(keeping: false)
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        default: try number()
        }
    }

    private mutating func object(_ shape: DocumentShape, depth: Int) throws(DocumentFault) {
        position += 1
        skipBlanks()
        if next == UInt8(ascii: "}") { return position += 1 }
        var keys = DocumentKeys(shape)
        while true {
            guard next == UInt8(ascii: "\"") else { throw notJSON }
            let key = try string(keeping: true)
            if let reason = keys.add(key) { throw fault(reason) }
            skipBlanks()
            try take(UInt8(ascii: ":"))
            skipBlanks()
            let name = String(decoding: key, as: UTF8.self)
            var inner = DocumentShape.any
            switch shape {
            case .object(let known): inner = known[name] ?? .any
            case .entries(let value): inner = value
            default: break
            }
            path.append(name)
            try value(inner, depth: depth + 1)
            path.removeLast()
            skipBlanks()
            if next == UInt8(ascii: "}") { return position += 1 }
            try take(UInt8(ascii: ","))
            skipBlanks()
        }
    }

    private mutating func list(_ shape: DocumentShape, depth: Int) throws(DocumentFault) {
        position += 1
        skipBlanks()
        if next == UInt8(ascii: "]") { return position += 1 }
        var inner = DocumentShape.any
        if case .list(let element) = shape { inner = element }
        while true {
            try value(inner, depth: depth + 1)
            skipBlanks()
            if next == UInt8(ascii: "]") { return position += 1 }
            try take(UInt8(ascii: ","))
            skipBlanks()
        }
    }

    private mutating func word(_ word: StaticString) throws(DocumentFault) {
        for index in 0..<word.utf8CodeUnitCount { try take(word.utf8Start[index]) }
    }

    /// RFC 8259, section 6.
    private mutating func number() throws(DocumentFault) {
        if next == UInt8(ascii: "-") { position += 1 }
        if next == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if next == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
    }

    private mutating func digits() throws(DocumentFault) {
        guard next?.isDigit == true else { throw notJSON }
        while next?.isDigit == true { position += 1 }
    }
}

// MARK: strings

extension DocumentScanner {
    /// Reads a string. Returns its unescaped content, or an empty array unless `keeping`.
    private mutating func string(keeping: Bool) throws(DocumentFault) -> [UInt8] {
        position += 1
        var content: [UInt8] = []
        var copied = position
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                if keeping { content += bytes[copied..<position] }
                position += 1
                return content
            case UInt8(ascii: "\\"):
                if keeping { content += bytes[copied..<position] }
                let escaped = try escape()
                if keeping { content += escaped }
                copied = position
            case 0..<0x20: throw notJSON
            case 0..<0x80: position += 1
            default:
                let count = Self.sequenceLength(bytes[position...].prefix(4))
                if count > 0 {
                    position += count
                } else {
                    if keeping { content += bytes[copied..<position] + Self.replacement }
                    replace(1, with: Self.replacement)
                    copied = position
                }
            }
        }
        throw notJSON
    }

    /// Decodes an escape to UTF-8.
    private mutating func escape() throws(DocumentFault) -> [UInt8] {
        let begin = position
        position += 1
        guard let letter = next else { throw notJSON }
        position += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [letter]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): break
        default:
            position = begin
            throw notJSON
        }
        let unit = try hexadecimal()
        if let scalar = Unicode.Scalar(unit) { return Array(String(scalar).utf8) }
        if unit < 0xDC00, let low = try trailing(),
            let scalar = Unicode.Scalar(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        {
            return Array(String(scalar).utf8)
        }
        position = begin
        replace(6, with: Array("\\ufffd".utf8))
        return Self.replacement
    }

    /// Reads the second half of a surrogate pair, if present.
    private mutating func trailing() throws(DocumentFault) -> UInt32? {
        let begin = position
        guard bytes[position...].starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "u")]) else { return nil }
        position += 2
        let unit = try hexadecimal()
        if 0xDC00...0xDFFF ~= unit { return unit }
        position = begin
        return nil
    }

    private mutating func hexadecimal() throws(DocumentFault) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next else { throw notJSON }
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
            default: throw notJSON
            }
            position += 1
        }
        return value
    }

    private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

    /// Replaces the next bytes in the output.
    private mutating func replace(_ count: Int, with text: [UInt8]) {
        repaired += bytes[kept..<position]
        repaired += text
        position += count
        kept = position
    }

    /// The length of a UTF-8 sequence; 0 if it is invalid: RFC 3629, section 4.
    private static func sequenceLength(_ bytes: ArraySlice<UInt8>) -> Int {
        let first = bytes[bytes.startIndex]
        let (count, least, most): (Int, UInt8, UInt8) =
            switch first {
            case 0xC2...0xDF: (2, 0x80, 0xBF)
            case 0xE0: (3, 0xA0, 0xBF)
            case 0xED: (3, 0x80, 0x9F)
            case 0xE1...0xEF: (3, 0x80, 0xBF)
            case 0xF0: (4, 0x90, 0xBF)
            case 0xF1...0xF3: (4, 0x80, 0xBF)
            case 0xF4: (4, 0x80, 0x8F)
            default: (0, 0, 0)
            }
        guard count > 0, bytes.count >= count, least...most ~= bytes[bytes.startIndex + 1] else { return 0 }
        return bytes.prefix(count).dropFirst(2).allSatisfy { $0 & 0xC0 == 0x80 } ? count : 0
    }
}
