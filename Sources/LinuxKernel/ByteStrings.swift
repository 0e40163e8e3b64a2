/// Strings as the kernel and line formats take them: bytes.
///
/// The standard library compares and splits text by what people see. There `=` and a combining accent behind it are one
/// character that is no `=`, and the two spellings of an é are equal. In an environment, a path or a line of a file they
/// are neither. Here a character is a byte. What is declared hides the standard library's methods of the same names
/// wherever this module is imported; StructureTests holds every file that uses one to the import.
///
/// Keys of dictionaries and sets are still compared as text: use `kernelBytes` where a name may be anything.
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

    /// Any character, for it may come from input: `"rwm".contains(character)`.
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

    /// So many bytes. A character that is cut goes as a whole: the standard library would keep it, bytes to be dropped
    /// included.
    package func dropFirst(_ count: Int = 1) -> SubSequence {
        var start = utf8.index(startIndex, offsetBy: count, limitedBy: endIndex) ?? endIndex
        // A byte that continues a character: RFC 3629, section 3.
        while start < endIndex, utf8[start] & 0xC0 == 0x80 { start = utf8.index(after: start) }
        return self[start...]
    }

    /// Likewise.
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
        // Almost all are ASCII and lie in one piece.
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

/// An ASCII byte is its character. A byte of a longer one is what no separator is, nor a digit, a letter or a blank.
private func character(_ byte: UInt8) -> Character {
    byte < 0x80 ? Character(Unicode.Scalar(byte)) : "\u{FFFD}"
}

/// A separator is one ASCII character, written in the source.
private func byte(of separator: Character) -> UInt8 {
    guard let byte = asciiByte(of: separator) else {
        preconditionFailure("a separator that is not an ASCII character: \(separator)")
    }
    return byte
}

/// `nil` for `\r\n` too, which is one character of two bytes.
private func asciiByte(of character: Character) -> UInt8? {
    character.utf8.count == 1 ? character.utf8.first : nil
}
