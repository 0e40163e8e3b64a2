/// String operations on bytes, as the kernel and line-based formats define them.
///
/// The standard library compares and splits text by grapheme cluster. To it, `=` followed by a combining accent is one
/// character and not a `=`, and two encodings of é are equal. Neither is right for an environment, a path or a line of
/// a file, so a character is a byte here. These declarations hide the standard library's methods of the same names in
/// every file that imports this module; StructureTests requires the import in each file that uses one.
///
/// Dictionary and set keys still compare as text. Use `kernelBytes` for keys that come from input.
extension StringProtocol {
    package func hasPrefix(_ prefix: some StringProtocol) -> Bool { utf8.starts(with: prefix.utf8) }

    package func hasSuffix(_ suffix: some StringProtocol) -> Bool {
        let (own, length) = (utf8.count, suffix.utf8.count)
        return own >= length && utf8.dropFirst(own - length).elementsEqual(suffix.utf8)
    }

    package func firstIndex(of character: Character) -> Index? {
        if let byte = asciiByte(of: character) { return utf8.firstIndex(of: byte) }
        return utf8.indices.first { utf8[$0...].starts(with: character.utf8) }
    }

    package func lastIndex(of character: Character) -> Index? {
        utf8.indices.reversed().first { utf8[$0...].starts(with: character.utf8) }
    }

    /// Accepts any character, because it may come from input: `"rwm".contains(character)`.
    package func contains(_ character: Character) -> Bool { firstIndex(of: character) != nil }

    package func split(
        separator: Character, maxSplits: Int = .max, omittingEmptySubsequences: Bool = true
    ) -> [SubSequence] {
        utf8.split(
            separator: byte(of: separator), maxSplits: maxSplits, omittingEmptySubsequences: omittingEmptySubsequences
        ).map { self[$0.startIndex..<$0.endIndex] }
    }

    package func split(
        maxSplits: Int = .max, omittingEmptySubsequences: Bool = true, whereSeparator isSeparator: (Character) -> Bool
    ) -> [SubSequence] {
        utf8.split(maxSplits: maxSplits, omittingEmptySubsequences: omittingEmptySubsequences) {
            isSeparator(character($0))
        }.map { self[$0.startIndex..<$0.endIndex] }
    }

    package var first: Character? { utf8.first.map(character) }

    package var last: Character? { utf8.dropFirst(Swift.max(0, utf8.count - 1)).first.map(character) }

    /// Drops the first `count` bytes. If they end inside a character, drops the rest of it, too; the standard library
    /// would round to the character's start.
    package func dropFirst(_ count: Int = 1) -> SubSequence {
        var start = utf8.index(startIndex, offsetBy: count, limitedBy: endIndex) ?? endIndex
        // A continuation byte: RFC 3629, section 3.
        while start < endIndex, utf8[start] & 0xC0 == 0x80 { start = utf8.index(after: start) }
        return self[start...]
    }

    /// Drops the last `count` bytes, rounded as in `dropFirst`.
    package func dropLast(_ count: Int = 1) -> SubSequence {
        self[..<utf8.index(startIndex, offsetBy: Swift.max(0, utf8.count - count))]
    }

    package func prefix(while holds: (Character) -> Bool) -> SubSequence {
        self[..<(utf8.firstIndex { !holds(character($0)) } ?? endIndex)]
    }

    package func drop(while holds: (Character) -> Bool) -> SubSequence {
        self[(utf8.firstIndex { !holds(character($0)) } ?? endIndex)...]
    }
}

extension String {
    package func hasPrefix(_ prefix: String) -> Bool {
        // Fast path: most strings are contiguous ASCII.
        utf8.starts(with: prefix.utf8)
    }

    package func hasSuffix(_ suffix: String) -> Bool {
        let (own, length) = (utf8.count, suffix.utf8.count)
        return own >= length && utf8.suffix(length).elementsEqual(suffix.utf8)
    }

    package static func == (one: String, other: String) -> Bool { one.utf8.elementsEqual(other.utf8) }

    package static func != (one: String, other: String) -> Bool { !one.utf8.elementsEqual(other.utf8) }
}

extension Substring {
    package static func == (one: Substring, other: Substring) -> Bool { one.utf8.elementsEqual(other.utf8) }

    package static func != (one: Substring, other: Substring) -> Bool { !one.utf8.elementsEqual(other.utf8) }
}

/// Converts an ASCII byte to its character. Other bytes become U+FFFD, which is no separator, digit, letter or space.
private func character(_ byte: UInt8) -> Character {
    byte < 0x80 ? Character(Unicode.Scalar(byte)) : "\u{FFFD}"
}

/// Separators are single ASCII characters written in the source.
private func byte(of separator: Character) -> UInt8 {
    guard let byte = asciiByte(of: separator) else {
        preconditionFailure("a separator that is not an ASCII character: \(separator)")
    }
    return byte
}

/// Also returns `nil` for `\r\n`, which is one character of two bytes.
private func asciiByte(of character: Character) -> UInt8? {
    character.utf8.count == 1 ? character.utf8.first : nil
}
