/// A first look at a value, without copies: whether a rule of `SecretMask` can apply at all.
enum SecretHints {
    /// A part of a secret's word, `://` of an address, a program that takes a password, or a token.
    static func areIn(_ bytes: [UInt8]) -> Bool {
        var previous: UInt8 = 0
        for index in bytes.indices {
            let byte = bytes[index]
            if byte == UInt8(ascii: "@"), index > 0 { return true }
            if isBeginning(at: index, bytes[...]),
                isAny(of: words, at: index, bytes[...]) || isAny(of: others, at: index, bytes[...])
            {
                return true
            }
            if MaskedLine.isOfToken(byte), !MaskedLine.isOfToken(previous), isToken(at: index, bytes) { return true }
            previous = byte
        }
        return false
    }

    static func holdsWord(_ name: ArraySlice<UInt8>) -> Bool {
        name.indices.contains { isBeginning(at: $0, name) && isAny(of: words, at: $0, name) }
    }

    private static func isToken(at index: Int, _ bytes: [UInt8]) -> Bool {
        guard isFirstOfToken(bytes[index]), bytes.count - index >= 16 else { return false }
        return TokenShape.fits(bytes[index...].prefix { MaskedLine.isOfToken($0) || $0 == 0x2D || $0 == 0x2E })
    }

    private static func isFirstOfToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "g"), UInt8(ascii: "h"), UInt8(ascii: "n"), UInt8(ascii: "d"), UInt8(ascii: "p"), UInt8(ascii: "w"),
            UInt8(ascii: "x"), UInt8(ascii: "s"), UInt8(ascii: "r"), UInt8(ascii: "y"), UInt8(ascii: "e"), UInt8(ascii: "A"),
            UInt8(ascii: "S"):
            true
        default: false
        }
    }

    /// In lower case; what `isWhole` must not go on as a word: `KEYBOARD`, `pattern`, `author`.
    private static let words: [(text: [UInt8], isWhole: Bool)] =
        ["pass", "pwd", "secret", "token", "credential", "cookie", "authoriz", "bearer"].map { (Array($0.utf8), false) }
        + ["key", "pat", "auth"].map { (Array($0.utf8), true) }
    private static let others: [(text: [UInt8], isWhole: Bool)] =
        ["login", "curl", "mysql", "mariadb", "redis-cli", "private key"].map { (Array($0.utf8), false) }

    /// Of one of the words, by its first two letters: most places of a value end here.
    private static func isBeginning(at index: Int, _ bytes: ArraySlice<UInt8>) -> Bool {
        guard index + 1 < bytes.endIndex else { return false }
        switch (bytes[index] | 0x20, bytes[index + 1] | 0x20) {
        case (0x70, 0x61), (0x70, 0x77), (0x70, 0x72), (0x73, 0x65), (0x74, 0x6F), (0x63, 0x72), (0x63, 0x6F), (0x63, 0x75),
            (0x61, 0x75), (0x62, 0x65), (0x6B, 0x65), (0x6C, 0x6F), (0x6D, 0x79), (0x6D, 0x61), (0x72, 0x65):
            // pa pw pr se to cr co cu au be ke lo my ma re
            return true
        default: return false
        }
    }

    private static func isAny(of list: [(text: [UInt8], isWhole: Bool)], at index: Int, _ bytes: ArraySlice<UInt8>) -> Bool {
        let first = bytes[index] | 0x20
        for word in list where word.text[0] == first {
            var end = index + word.text.count
            guard end <= bytes.endIndex else { continue }
            var offset = 1
            while offset < word.text.count, bytes[index + offset] | 0x20 == word.text[offset] { offset += 1 }
            if offset < word.text.count { continue }
            if !word.isWhole { return true }
            if end < bytes.endIndex, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(bytes[end] | 0x20) { end = -1 }
            if end >= 0 { return true }
        }
        return false
    }
}
