/// Makes text from images, registries, file names or variables safe for a terminal.
///
/// All output for people passes through here line by line, so that it can neither control the terminal, nor reverse the
/// text direction, nor start a new line.
package enum TerminalText {
    /// The line with U+FFFD in place of control characters.
    package static func line(_ text: String) -> String {
        guard !isPlain(text) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { steers($0) ? "\u{FFFD}" : $0 }))
    }

    /// The line with escapes such as `\n`, `\x1b` and `\u202e` in place of control characters, for text that must be
    /// exact.
    package static func escaped(_ text: String) -> String {
        guard !isPlain(text) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            if steers(scalar) { result += escape(scalar) } else { result.unicodeScalars.append(scalar) }
        }
        return result
    }

    /// The escape that Bash's `$'…'` accepts.
    package static func escape(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        default: break
        }
        // A byte that is not UTF-8: see `RawText`.
        if scalar.value >= 0x10FF80 { return "\\x" + hexadecimal(scalar.value - 0x10FF00, digits: 2) }
        if scalar.value < 0x80 { return "\\x" + hexadecimal(scalar.value, digits: 2) }
        return scalar.value > 0xFFFF
            ? "\\U" + hexadecimal(scalar.value, digits: 8) : "\\u" + hexadecimal(scalar.value, digits: 4)
    }

    /// The escape of JSON: RFC 8259, section 7.
    package static func jsonEscape(_ scalar: Unicode.Scalar) -> String {
        String(scalar).utf16.map { "\\u" + hexadecimal(UInt32($0), digits: 4) }.joined()
    }

    /// Whether a character is a control character rather than a visible one.
    package static func steers(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // C0, DEL and C1; line and paragraph separators; the marks, embeddings, overrides and isolates of the
        // bidirectional algorithm; deprecated format characters; tags; encoded bytes that are not UTF-8.
        case 0..<0x20, 0x7F...0x9F, 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x206F, 0xFFF9...0xFFFB,
            0xE0000...0xE007F, 0x10FF80...0x10FFFF:
            true
        default: false
        }
    }

    private static func isPlain(_ text: String) -> Bool { text.utf8.allSatisfy { 0x20 <= $0 && $0 < 0x7F } }

    private static func hexadecimal(_ value: UInt32, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}
