/// One challenge of a `WWW-Authenticate` header.
///
/// https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
struct AuthenticationChallenge: Hashable, Sendable {
    /// Lowercase: `bearer`, `basic`.
    var scheme: String
    /// Names are lowercase. If a name occurs twice, the first value applies.
    var parameters: [String: String] = [:]

    /// Parses all challenges of all header lines. Commas separate both challenges and the parameters of one challenge,
    /// and quoted strings may contain commas. A syntax error ends its line, but not the others.
    static func parse(_ lines: [String]) -> [AuthenticationChallenge] {
        lines.flatMap { line in
            var reader = Reader(bytes: Array(line.utf8)[...])
            return reader.challenges()
        }
    }
}

private struct Reader {
    var bytes: ArraySlice<UInt8>

    mutating func challenges() -> [AuthenticationChallenge] {
        var found: [AuthenticationChallenge] = []
        while true {
            skip { $0 == UInt8(ascii: ",") || Self.isBlank($0) }
            guard let word = token() else { return found }
            let hadBlank = skip(Self.isBlank)
            if bytes.first == UInt8(ascii: "="), !found.isEmpty {
                // `name=value` belongs to the previous challenge.
                bytes.removeFirst()
                skip(Self.isBlank)
                guard let value = value() else { return found }
                found[found.count - 1].parameters.merge([word.lowercased(): value]) { first, _ in first }
                continue
            }
            found.append(AuthenticationChallenge(scheme: word.lowercased()))
            guard hadBlank || bytes.isEmpty || bytes.first == UInt8(ascii: ",") else { return found }
            skipToken68()
        }
    }

    /// Skips the opaque word of `Negotiate YII=…`, which is not the name of the next challenge.
    private mutating func skipToken68() {
        var rest = bytes
        while let byte = rest.first, Self.isToken(byte) || byte == UInt8(ascii: "/") { rest.removeFirst() }
        let afterWord = rest
        while rest.first == UInt8(ascii: "=") { rest.removeFirst() }
        while let byte = rest.first, Self.isBlank(byte) { rest.removeFirst() }
        // An equals sign followed by a value makes the word the name of a parameter.
        guard rest.isEmpty || rest.first == UInt8(ascii: ",") else { return }
        if afterWord.first == UInt8(ascii: "="), rest.isEmpty || rest.first == UInt8(ascii: ",") { bytes = rest }
        if afterWord.first != UInt8(ascii: "=") { bytes = rest }
    }

    @discardableResult
    private mutating func skip(_ matches: (UInt8) -> Bool) -> Bool {
        let count = bytes.prefix(while: matches).count
        bytes.removeFirst(count)
        return count > 0
    }

    private mutating func token() -> String? {
        let word = bytes.prefix(while: Self.isToken)
        guard !word.isEmpty else { return nil }
        bytes.removeFirst(word.count)
        return String(decoding: word, as: UTF8.self)
    }

    private mutating func value() -> String? {
        guard bytes.first == UInt8(ascii: "\"") else {
            // Some registries omit the quotes around URLs, so accept all bytes except separators.
            let word = bytes.prefix { $0 != UInt8(ascii: ",") && !Self.isBlank($0) }
            bytes.removeFirst(word.count)
            return word.isEmpty ? nil : String(decoding: word, as: UTF8.self)
        }
        bytes.removeFirst()
        var text: [UInt8] = []
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): if let escaped = bytes.popFirst() { text.append(escaped) }
            default: text.append(byte)
            }
        }
        return nil
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}
