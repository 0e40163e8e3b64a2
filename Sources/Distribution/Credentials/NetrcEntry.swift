/// A `machine` or `default` entry of a netrc file, with the syntax of curl(1), which reads the file for Enroot.
///
/// https://everything.curl.dev/usingcurl/netrc.html
struct NetrcEntry: Equatable {
    /// The line of `machine`.
    var number: Int
    /// `nil` for `default`.
    var machine: String?
    var login: String?
    var password: String?
    /// Whether a comment is in place of the password.
    var isCutByComment = false

    /// Lines end with LF or CRLF. Blanks separate words; keywords ignore case. A word that starts with `#` ends its
    /// line. `macdef` extends to the next empty line.
    static func parse(_ bytes: [UInt8]) -> [NetrcEntry] {
        var found: [NetrcEntry] = []
        var isMacro = false
        // The keyword that the next word belongs to. The word may be on a later line.
        var pending: String?
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            var words = NetrcWords(rest: line)
            if isMacro {
                isMacro = !words.isAtEnd
                continue
            }
            while !isMacro, let word = words.next(isPassword: pending == "password") {
                switch pending ?? word.lowercased() {
                case "machine" where pending != nil:
                    found.append(NetrcEntry(number: index + 1, machine: word.lowercased()))
                case "login" where pending != nil: found[found.count - 1].login = word
                case "password" where pending != nil: found[found.count - 1].password = word
                case "account" where pending != nil: break
                case "default": found.append(NetrcEntry(number: index + 1))
                case "machine", "account":
                    pending = word.lowercased()
                    continue
                case "login" where !found.isEmpty, "password" where !found.isEmpty:
                    pending = word.lowercased()
                    continue
                case "macdef": isMacro = true
                default: break
                }
                pending = nil
            }
            if words.isComment, pending == "password" { found[found.count - 1].isCutByComment = true }
        }
        return found
    }
}

/// The words of a line of a netrc file.
private struct NetrcWords {
    var rest: ArraySlice<UInt8>
    private(set) var isComment = false

    init(rest: ArraySlice<UInt8>) { self.rest = rest }

    /// Whether only blanks are left.
    var isAtEnd: Bool { rest.allSatisfy(Self.isBlank) }

    mutating func next(isPassword: Bool) -> String? {
        rest = rest.drop(while: Self.isBlank)
        guard let first = rest.first else { return nil }
        if first == UInt8(ascii: "#") {
            isComment = true
            rest = []
            return nil
        }
        if first == UInt8(ascii: "\""), let quoted = quoted() { return quoted }
        let count = (isPassword ? commandLength() : nil) ?? rest.prefix { !Self.isBlank($0) }.count
        defer { rest = rest.dropFirst(count) }
        return String(decoding: rest.prefix(count), as: UTF8.self)
    }

    /// A word in double quotes may contain blanks, and `\"`, `\\`, `\n`, `\r` and `\t`. Returns `nil` if the quotes do
    /// not end on the same line.
    private mutating func quoted() -> String? {
        var found: [UInt8] = []
        var left = rest.dropFirst()
        while let byte = left.popFirst() {
            switch byte {
            case UInt8(ascii: "\""):
                rest = left
                return String(decoding: found, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let escaped = left.popFirst() else { return nil }
                switch escaped {
                case UInt8(ascii: "n"): found.append(0x0a)
                case UInt8(ascii: "r"): found.append(0x0d)
                case UInt8(ascii: "t"): found.append(0x09)
                default: found.append(escaped)
                }
            default: found.append(byte)
            }
        }
        return nil
    }

    /// Enroot's `$(command)` may contain blanks and ends with the matching parenthesis. Quotes and backslashes work as
    /// in a shell.
    private func commandLength() -> Int? {
        guard rest.starts(with: Array("$(".utf8)) else { return nil }
        var depth = 0
        var quote: UInt8?
        var isEscaped = false
        for (index, byte) in zip(rest.indices, rest) {
            if isEscaped {
                isEscaped = false
                continue
            }
            switch (byte, quote) {
            case (UInt8(ascii: "'"), UInt8(ascii: "'")?), (UInt8(ascii: "\""), UInt8(ascii: "\"")?): quote = nil
            case (_, UInt8(ascii: "'")?): break
            case (UInt8(ascii: "\\"), _): isEscaped = true
            case (UInt8(ascii: "'"), nil), (UInt8(ascii: "\""), nil): quote = byte
            case (UInt8(ascii: "("), nil): depth += 1
            case (UInt8(ascii: ")"), nil):
                depth -= 1
                if depth == 0 { return index - rest.startIndex + 1 }
            default: break
            }
        }
        return nil
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || 0x09...0x0d ~= byte }
}
