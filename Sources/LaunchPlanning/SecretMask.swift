internal import LinuxKernel

/// Which values a record of a run must not hold: by the names of variables and options, by the shape of known tokens, and by
/// the names that the site or the user lists with `mask =`. docs/reference/run-records.md has the rule.
package struct SecretMask: Sendable {
    /// What stands in a record for a value that is left out.
    package static let replacement = "(masked)"

    /// Names of variables, `*` for any characters at the end.
    private let names: [String]

    package init(names: [String] = []) { self.names = names }

    /// Whether a variable or an option of this name holds a secret: `WANDB_API_KEY`, `db-password`, `AUTH_TOKEN`.
    package func hides(name: String) -> Bool {
        if names.contains(where: { Self.matches(name, $0) }) { return true }
        let separators: [UInt8] = [UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: ".")]
        for part in name.utf8.map(Self.lowercase).split(whereSeparator: separators.contains) {
            if Self.words.contains(where: { part.elementsEqual($0.utf8) }) { return true }
        }
        return false
    }

    /// Whether a value looks like a token, a private key, or an address with a password in it.
    package func hides(value: String) -> Bool {
        let bytes = value.kernelBytes
        for shape in Self.shapes where bytes.count >= shape.length && bytes.starts(with: shape.prefix.utf8) {
            return true
        }
        return Self.holds(bytes, "PRIVATE KEY-----") || Self.hasPassword(bytes)
    }

    package func masked(name: String, value: String) -> String {
        !value.isEmpty && (hides(name: name) || hides(value: value)) ? Self.replacement : value
    }

    /// The words of a command line: `--token=VALUE`, `--token VALUE`, `NAME=VALUE` with a name that hides its value, and
    /// words that look like tokens.
    package func masked(words: [String]) -> [String] {
        var result: [String] = []
        var hidesNext = false
        for word in words {
            let bytes = word.kernelBytes
            let isOption = bytes.first == UInt8(ascii: "-")
            if hidesNext, !isOption {
                result.append(Self.replacement)
                hidesNext = false
                continue
            }
            hidesNext = false
            if let equals = bytes.firstIndex(of: UInt8(ascii: "=")) {
                // `-e=NAME=VALUE`, `--env=NAME=VALUE`: the name is what stands before the last but one.
                let rest = RawText.string(bytes[(equals + 1)...])
                let name = RawText.string(bytes[..<equals])
                if hides(name: name) || hides(value: rest) {
                    result.append(name + "=" + Self.replacement)
                } else if isOption, rest.utf8.contains(UInt8(ascii: "=")) {
                    result.append(name + "=" + masked(words: [rest])[0])
                } else {
                    result.append(word)
                }
            } else if hides(value: word) {
                result.append(Self.replacement)
            } else {
                hidesNext = isOption && bytes.starts(with: "--".utf8) && hides(name: word)
                result.append(word)
            }
        }
        return result
    }

    private static let words = [
        "password", "passwd", "passphrase", "pass", "pwd", "secret", "secrets", "token", "key", "apikey",
        "credential", "credentials", "auth", "authorization", "cookie", "cookies", "pat", "bearer",
    ]

    /// Beginnings of tokens whose issuers document them, and how long one is at least.
    private static let shapes: [(prefix: String, length: Int)] = [
        ("ghp_", 20), ("gho_", 20), ("ghu_", 20), ("ghs_", 20), ("ghr_", 20), ("github_pat_", 20), ("glpat-", 16),
        ("hf_", 20), ("sk-", 20), ("nvapi-", 20), ("AKIA", 20), ("ASIA", 20), ("xoxb-", 20), ("xoxp-", 20), ("eyJ", 40),
        ("dckr_pat_", 20), ("pypi-", 20), ("wandb_v1_", 20),
    ]

    /// `scheme://user:password@host`.
    private static func hasPassword(_ bytes: [UInt8]) -> Bool {
        guard let start = position(of: "://", in: bytes) else { return false }
        let authority = bytes[(start + 3)...].prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: " ") }
        guard let at = authority.lastIndex(of: UInt8(ascii: "@")),
            let colon = authority[..<at].firstIndex(of: UInt8(ascii: ":"))
        else { return false }
        return at > colon + 1
    }

    private static func holds(_ bytes: [UInt8], _ text: String) -> Bool { position(of: text, in: bytes) != nil }

    private static func position(of text: String, in bytes: [UInt8]) -> Int? {
        let wanted = Array(text.utf8)
        guard bytes.count >= wanted.count else { return nil }
        return (0...(bytes.count - wanted.count)).first { bytes[$0...].starts(with: wanted) }
    }

    private static func matches(_ name: String, _ pattern: String) -> Bool {
        guard pattern.utf8.last == UInt8(ascii: "*") else { return name.utf8.elementsEqual(pattern.utf8) }
        return name.utf8.starts(with: pattern.utf8.dropLast())
    }

    private static func lowercase(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}
