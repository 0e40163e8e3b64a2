internal import LinuxKernel

/// A command line while its secrets are masked, word by word. A word with blanks may be a command line itself, such as the
/// argument of `sh -c`, or a header such as `Authorization: Bearer …`.
struct MaskedLine {
    let mask: SecretMask
    /// The next word is a secret: it follows `--token`, or `Bearer`.
    private var hidesNext = false
    /// The next word may be a scheme, with the secret behind it.
    private var isAfterHeader = false
    /// The program whose options of one letter take a password.
    private var program: Program?

    init(mask: SecretMask) { self.mask = mask }

    private static let replacement = Array(SecretMask.replacement.utf8)

    mutating func word(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        if hidesNext {
            let isScheme =
                isAfterHeader && Self.schemes.contains { bytes.map(SecretMask.lowercase).elementsEqual($0.utf8) }
            isAfterHeader = false
            if isScheme { return Array(bytes) }
            hidesNext = false
            if !bytes.isEmpty, bytes.first != UInt8(ascii: "-") { return Self.replacement }
        }
        if Self.holds(bytes, "PRIVATE KEY-----") { return Self.replacement }
        guard let separator = bytes.firstIndex(where: Self.isSeparator) else { return plain(bytes) }
        // `PASSWORD=two words`, as one argument or in quotes.
        if Self.isBlank(bytes[separator]), let masked = settings(bytes[..<separator]) { return masked }
        return text(bytes)
    }

    // MARK: Words with blanks

    private func text(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        // `X-Api-Key: value`, `Cookie: a=b; c=d`
        if let colon = bytes.firstIndex(of: UInt8(ascii: ":")), colon + 1 < bytes.endIndex,
            hidesHeader(bytes[..<colon]),
            Self.isBlank(bytes[colon + 1])
        {
            return Array(bytes[...colon]) + [UInt8(ascii: " ")] + Self.replacement
        }
        var inner = MaskedLine(mask: mask)
        var result: [UInt8] = []
        var index = bytes.startIndex
        while index < bytes.endIndex {
            if Self.isSeparator(bytes[index]), !Self.isQuote(bytes[index]) {
                result.append(bytes[index])
                index += 1
                continue
            }
            let end = Self.endOfWord(bytes, from: index)
            let written = bytes[index..<end]
            let unquoted = Self.unquoted(written)
            let masked = inner.word(unquoted[...])
            if masked == unquoted {
                result += written
            } else {
                let quote = masked.contains(where: Self.isBlank) ? [UInt8(ascii: "'")] : []
                result += quote + masked + quote
            }
            index = end
        }
        return result
    }

    /// Of a word of a shell's, with all that its quotes hold.
    private static func endOfWord(_ bytes: ArraySlice<UInt8>, from start: Int) -> Int {
        var quote: UInt8?
        var index = start
        while index < bytes.endIndex {
            let byte = bytes[index]
            if let open = quote {
                if byte == open { quote = nil }
            } else if isQuote(byte) {
                quote = byte
            } else if isSeparator(byte) {
                return index
            }
            index += 1
        }
        return index
    }

    private static func unquoted(_ word: ArraySlice<UInt8>) -> [UInt8] {
        var quote: UInt8?
        return word.filter { byte in
            if quote == nil, isQuote(byte) {
                quote = byte
                return false
            }
            if byte == quote {
                quote = nil
                return false
            }
            return true
        }
    }

    // MARK: Words without blanks

    private mutating func plain(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        if let name = bytes.split(separator: UInt8(ascii: "/")).last, let known = Program(name) { program = known }
        if let masked = settings(bytes) { return masked }
        if bytes.first == UInt8(ascii: "-") {
            if let program, bytes.count > 1, bytes[bytes.startIndex + 1] == program.letter {
                self.program = nil
                if bytes.count > 2 { return Array(bytes.prefix(2)) + Self.replacement }
                hidesNext = program.takesNext
                return Array(bytes)
            }
            let name = bytes.drop { $0 == UInt8(ascii: "-") }
            let isUser =
                program?.letter == UInt8(ascii: "u") && ["user", "proxy-user"].contains { name.elementsEqual($0.utf8) }
            hidesNext = isUser || name.count > 1 && mask.hides(option: name)
            if hidesNext { return Array(bytes) }
        } else if bytes.map(SecretMask.lowercase).elementsEqual("bearer".utf8) {
            hidesNext = true
        } else if bytes.last == UInt8(ascii: ":"), hidesHeader(Self.nameAtEnd(bytes.dropLast())) {
            hidesNext = true
            isAfterHeader = true
        }
        return tokens(addresses(bytes))
    }

    /// `NAME=VALUE`, also behind an option, a question mark or another setting; `NAME:VALUE` of headers and JSON.
    private func settings(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte == UInt8(ascii: "=") || byte == UInt8(ascii: ":"), index + 1 < bytes.endIndex else { continue }
            let name = Self.nameAtEnd(bytes[..<index])
            if name.isEmpty { continue }
            let isSecret: Bool
            if byte == UInt8(ascii: "=") {
                isSecret = mask.hides(option: name)
            } else {
                let before: UInt8? = name.startIndex == bytes.startIndex ? nil : bytes[name.startIndex - 1]
                isSecret =
                    [nil, UInt8(ascii: "{"), UInt8(ascii: ",")].contains(before)
                    && bytes[index + 1] != UInt8(ascii: "/")
                    && hidesHeader(name)
            }
            if isSecret { return tokens(addresses(bytes[...index])) + Self.replacement }
        }
        return nil
    }

    /// Without dashes in front.
    private static func nameAtEnd(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let start = bytes.lastIndex { !isOfName($0) }.map { $0 + 1 } ?? bytes.startIndex
        return bytes[start...].drop { $0 == UInt8(ascii: "-") }
    }

    /// `scheme://user:password@host`, and `https://token@host`. The user of `ssh://git@host` is no secret.
    private func addresses(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = bytes
        while let start = Self.position(of: "://", in: rest) {
            let isWeb = ["http", "https"].contains {
                rest[..<start].map(SecretMask.lowercase).suffix($0.utf8.count).elementsEqual($0.utf8)
            }
            let authority = rest[(start + 3)...].prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
            result += rest[..<(start + 3)]
            rest = rest[(start + 3)...]
            guard let at = authority.lastIndex(of: UInt8(ascii: "@")) else { continue }
            let user = authority[..<at]
            let colon = user.firstIndex(of: UInt8(ascii: ":"))
            if colon.map({ $0 + 1 < at }) ?? (isWeb && !user.isEmpty) {
                result += Self.replacement
            } else {
                result += user
            }
            rest = rest[at...]
        }
        return result + rest
    }

    /// Tokens whose issuers document how they begin.
    private func tokens(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            guard Self.isOfToken(bytes[index]) else {
                result.append(bytes[index])
                index += 1
                continue
            }
            // A run of letters, digits and `_`, and in a token `-` and `.` too.
            let run = bytes[index...].prefix {
                Self.isOfToken($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            }
            if TokenShape.fits(run) {
                result += Self.replacement
                index = run.endIndex
                continue
            }
            while index < bytes.count, Self.isOfToken(bytes[index]) {
                result.append(bytes[index])
                index += 1
            }
        }
        return result
    }

    /// Of HTTP, and the members of a JSON document: a shorter list than that of options, as any text has colons.
    private func hidesHeader(_ name: ArraySlice<UInt8>) -> Bool {
        guard !name.isEmpty, name.allSatisfy(Self.isOfName), mask.hides(option: name) else { return false }
        let last = SecretMask.parts(name).last ?? []
        if !["key", "pass", "auth", "pat", "pwd"].contains(where: { last.elementsEqual($0.utf8) }) { return true }
        return name.map(SecretMask.lowercase).suffix(7).elementsEqual("api-key".utf8)
    }

    // MARK: Bytes

    /// RFC 9110, section 11.1: the words in front of what a header says.
    private static let schemes = ["bearer", "basic", "token", "digest"]

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    private static func isQuote(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") }
    private static func isSeparator(_ byte: UInt8) -> Bool {
        isBlank(byte) || isQuote(byte) || ";|&()<>`".utf8.contains(byte)
    }
    static func isOfToken(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F
    }
    private static func isOfName(_ byte: UInt8) -> Bool { isOfToken(byte) || byte == 0x2D || byte == 0x2E }

    private static func holds(_ bytes: ArraySlice<UInt8>, _ text: String) -> Bool {
        position(of: text, in: bytes) != nil
    }

    private static func position(of text: String, in bytes: ArraySlice<UInt8>) -> Int? {
        let wanted = Array(text.utf8)
        guard bytes.count >= wanted.count else { return nil }
        return (bytes.startIndex...(bytes.endIndex - wanted.count)).first {
            bytes[$0] == wanted[0] && bytes[$0...].starts(with: wanted)
        }
    }
}

/// A program that takes a password by an option of one letter.
private struct Program {
    let letter: UInt8
    /// Or only in the same word.
    let takesNext: Bool

    init?(_ name: ArraySlice<UInt8>) {
        guard let known = Self.all.first(where: { name.elementsEqual($0.name.utf8) }) else { return nil }
        (letter, takesNext) = (known.letter, known.takesNext)
    }

    private static let all: [(name: String, letter: UInt8, takesNext: Bool)] = [
        ("sshpass", UInt8(ascii: "p"), true), ("login", UInt8(ascii: "p"), true), ("curl", UInt8(ascii: "u"), true),
        ("redis-cli", UInt8(ascii: "a"), true), ("mysql", UInt8(ascii: "p"), false),
        ("mysqldump", UInt8(ascii: "p"), false),
        ("mysqladmin", UInt8(ascii: "p"), false), ("mariadb", UInt8(ascii: "p"), false),
    ]
}

/// How the tokens of an issuer begin, and how long one is at least.
struct TokenShape {
    private let prefix: [UInt8]
    private let length: Int
    /// What a word of a language would not have: `sk-learn-tools` is none.
    private var needsDigitAndUpper = false
    /// Upper-case letters and digits, and no more of them.
    private var isUpperOnly = false
    /// `header.payload.signature`
    private var needsDot = false

    private init(
        _ prefix: String, _ length: Int, needsDigitAndUpper: Bool = false, isUpperOnly: Bool = false, needsDot: Bool = false
    ) {
        (self.prefix, self.length) = (Array(prefix.utf8), length)
        (self.needsDigitAndUpper, self.isUpperOnly, self.needsDot) = (needsDigitAndUpper, isUpperOnly, needsDot)
    }

    /// Whether a run of letters, digits, `_`, `-` and `.` is a token.
    static func fits(_ run: ArraySlice<UInt8>) -> Bool {
        guard run.count >= 16, let first = run.first else { return false }
        return all.contains { $0.prefix[0] == first && $0.matches(run) }
    }

    private func matches(_ run: ArraySlice<UInt8>) -> Bool {
        guard run.count >= length, run.starts(with: prefix) else { return false }
        if isUpperOnly {
            return run.count == length && run.allSatisfy { (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) }
        }
        if needsDot, !run.contains(UInt8(ascii: ".")) { return false }
        return !needsDigitAndUpper
            || run.contains { (0x30...0x39).contains($0) }
                && run.dropFirst(prefix.count).contains { (0x41...0x5A).contains($0) }
    }

    private static let all: [TokenShape] =
        [
            "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "hf_", "nvapi-", "npm_", "dckr_pat_", "dckr_oat_",
            "pypi-AgE",
            "wandb_v1_", "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xapp-", "sk_live_", "rk_live_", "gsk_", "r8_",
            "hvs.", "dop_v1_",
            "ya29.", "AIza", "ATATT3",
        ].map { TokenShape($0, 20) }
        + ["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-"].map { TokenShape($0, 16) }
        + ["sk-", "SG."].map { TokenShape($0, 20, needsDigitAndUpper: true) }
        + ["AKIA", "ASIA"].map { TokenShape($0, 20, isUpperOnly: true) }
        + [TokenShape("eyJ", 40, needsDot: true)]
}
