internal import LinuxKernel

/// Which values a record of a run must not hold: by the names of variables and options, by the shape of known tokens, and by
/// the names that the site or the user lists with `mask =`. docs/reference/run-records.md has the rule.
package struct SecretMask: Sendable {
    /// What stands in a record for a value that is left out.
    package static let replacement = "(masked)"

    /// Names of variables, `*` for any characters at the end.
    private let names: [[UInt8]]

    package init(names: [String] = []) { self.names = names.map(\.kernelBytes) }

    /// Whether a variable of this name holds a secret: `WANDB_API_KEY`, `PGPASSWORD`, `AUTH_TOKEN_1`.
    package func hides(name: String) -> Bool { hides(variable: name.kernelBytes[...]) }

    /// Whether a value holds a token, a private key, an address with a password, or a command line with a secret.
    package func hides(value: String) -> Bool {
        let bytes = value.kernelBytes
        // A launch has a hundred variables, most of them without anything to look at.
        guard !names.isEmpty || SecretHints.areIn(bytes) else { return false }
        var line = MaskedLine(mask: self)
        return line.word(bytes[...]) != bytes
    }

    package func masked(name: String, value: String) -> String {
        !value.isEmpty && (hides(name: name) || hides(value: value)) ? Self.replacement : value
    }

    /// The words of a command line. What is no secret in a word stays.
    package func masked(words: [String]) -> [String] {
        var line = MaskedLine(mask: self)
        return words.map { RawText.string(line.word($0.kernelBytes[...])[...]) }
    }

    // MARK: Names

    /// A variable's: a secret's word may stand anywhere in it.
    func hides(variable name: ArraySlice<UInt8>) -> Bool {
        hides(name, anywhere: true)
    }

    /// An option's, without its dashes, or a setting's: the last word decides, so that `--token-bucket 5` is none. The names
    /// of variables are upper case.
    func hides(option name: ArraySlice<UInt8>) -> Bool {
        hides(name, anywhere: !name.contains { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) })
    }

    private func hides(_ name: ArraySlice<UInt8>, anywhere: Bool) -> Bool {
        if name.isEmpty { return false }
        if names.contains(where: { Self.matches(name, $0) }) { return true }
        guard SecretHints.holdsWord(name) else { return false }
        let parts = Self.parts(name)
        guard let last = parts.last, !Self.holds(Self.harmlessEnds, last) else { return false }
        if parts.count > 1, Self.holds(Self.ordinaryKinds, parts[parts.count - 2]) { return false }
        if Self.holds(Self.words, last) { return true }
        if Self.endings.contains(where: {
            last.count > $0.utf8.count && last.suffix($0.utf8.count).elementsEqual($0.utf8)
        }),
            !Self.holds(Self.harmlessWords, last)
        {
            return true
        }
        return anywhere && parts.contains { Self.holds(Self.words, $0) }
    }

    private static let words = [
        "password", "passwd", "passphrase", "pass", "pwd", "secret", "secrets", "token", "key", "apikey",
        "credential", "credentials", "auth", "authorization", "cookie", "cookies", "pat", "bearer",
    ]
    /// Of a word that is written together: `PGPASSWORD`, `authToken`.
    private static let endings = [
        "password", "passwd", "passphrase", "pass", "secret", "token", "apikey", "secretkey", "accesskey", "privatekey",
    ]
    private static let harmlessWords = ["bypass", "compass", "multipass"]
    /// `PASSWORD_FILE`, `SSH_AUTH_SOCK`, `TOKEN_LIMIT`: where it is, or how many.
    private static let harmlessEnds = [
        "file", "path", "dir", "sock", "size", "length", "len", "count", "limit", "type",
    ]
    /// In front of `token`, `key` and `pass`, by what programs do with texts and tables: `pad_token`, `sort-key`, `two-pass`;
    /// and `no-auth`.
    private static let ordinaryKinds = [
        "pad", "eos", "bos", "unk", "mask", "cls", "sep", "image", "stop", "start", "end", "max", "min", "per", "sort",
        "primary",
        "foreign", "group", "partition", "cache", "input", "output", "label", "text", "data", "one", "two", "single",
        "first",
        "second", "multi", "no",
    ]

    private static func holds(_ list: [String], _ part: ArraySlice<UInt8>) -> Bool {
        list.contains { part.elementsEqual($0.utf8) }
    }

    private static func matches(_ name: ArraySlice<UInt8>, _ pattern: [UInt8]) -> Bool {
        guard pattern.last == UInt8(ascii: "*") else { return name.elementsEqual(pattern) }
        return name.starts(with: pattern.dropLast())
    }

    /// What stands between `_`, `-` and `.`, in lower case.
    static func parts(_ name: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        let lower: [UInt8] = name.map(lowercase)
        return lower.split(whereSeparator: { (byte: UInt8) -> Bool in byte == 0x5F || byte == 0x2D || byte == 0x2E })
    }

    static func lowercase(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}
