/// An http or https URL. Only this parser is used, because the check of the origin and the connection must interpret a
/// text in the same way.
struct WebURL: Hashable, Sendable {
    let origin: Origin
    /// From the first `/`, including the query, without a fragment.
    let target: String

    init(origin: Origin, target: String) {
        self.origin = origin
        self.target = target
    }

    /// Parses an absolute URL. Rejects user information, backslashes, blanks and other bytes outside RFC 3986.
    init?(parsing text: String) {
        let bytes = text.utf8
        guard bytes.allSatisfy({ Self.isURLByte($0) }) else { return nil }
        let lower = text.prefix(8).lowercased()
        let scheme: Origin.Scheme
        if lower.hasPrefix("https://") {
            scheme = .https
        } else if lower.hasPrefix("http://") {
            scheme = .http
        } else {
            return nil
        }
        let rest = text.dropFirst(scheme.rawValue.count + 3)
        let end = rest.utf8.firstIndex { "/?#".utf8.contains($0) } ?? rest.endIndex
        guard let origin = Origin(scheme: scheme, authority: String(rest[..<end])) else { return nil }
        var target = String(rest[end...].prefix { $0 != "#" })
        if !target.hasPrefix("/") { target = "/" + target }
        self.init(origin: origin, target: target)
    }

    /// Resolves a `Location` header (RFC 3986, section 5.2). Escapes what servers send unescaped, such as blanks and
    /// UTF-8, as curl and browsers do. Rejects control characters and backslashes, which parsers interpret differently.
    func resolving(_ location: String) -> WebURL? {
        guard let escaped = Self.escaped(location) else { return nil }
        let reference = escaped.prefix { $0 != "#" }
        if reference.isEmpty { return self }
        let path = target.prefix { $0 != "?" }
        switch reference.first {
        case "/" where reference.hasPrefix("//"):
            return WebURL(parsing: "\(origin.scheme.rawValue):\(reference)")?.normalized
        case "/": return WebURL(origin: origin, target: String(reference)).normalized
        case "?": return WebURL(origin: origin, target: String(path + reference))
        default: break
        }
        if let colon = reference.firstIndex(where: { ":/?".contains($0) }), reference[colon] == ":" {
            return WebURL(parsing: String(reference))?.normalized
        }
        guard let slash = path.lastIndex(of: "/") else { return nil }
        return WebURL(origin: origin, target: String(path[...slash] + reference)).normalized
    }

    /// Removes the segments `.` and `..` (RFC 3986, section 5.2.4).
    private var normalized: WebURL {
        let path = target.prefix { $0 != "?" }
        var kept: [Substring] = []
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        for (index, segment) in segments.enumerated() {
            let isLast = index == segments.count - 1
            switch segment {
            case ".": if isLast { kept.append("") }
            case "..":
                _ = kept.popLast()
                if isLast { kept.append("") }
            default: kept.append(segment)
            }
        }
        return WebURL(origin: origin, target: "/" + kept.joined(separator: "/") + target[path.endIndex...])
    }

    /// Percent-encodes bytes that a URL must not contain; `nil` if the text is not allowed at all.
    private static func escaped(_ text: String) -> String? {
        let digits = Array("0123456789ABCDEF".utf8)
        func isDigit(_ byte: UInt8) -> Bool { digits.contains(byte) || digits.contains(byte & 0xdf) && byte > 0x40 }
        var bytes = Array(text.utf8)[...]
        while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
        while let first = bytes.first, first == 0x20 || first == 0x09 { bytes.removeFirst() }
        var result: [UInt8] = []
        for (index, byte) in zip(bytes.indices, bytes) {
            if byte < 0x20 || byte == 0x7f || byte == UInt8(ascii: "\\") { return nil }
            let isStrayPercent =
                byte == UInt8(ascii: "%")
                && !(index + 2 < bytes.endIndex && isDigit(bytes[index + 1]) && isDigit(bytes[index + 2]))
            if isURLByte(byte), !isStrayPercent {
                result.append(byte)
            } else {
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    var text: String { "\(origin)\(target)" }

    private static func isURLByte(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7f && !#"\"<>^`{|}"#.utf8.contains(byte)
    }
}
