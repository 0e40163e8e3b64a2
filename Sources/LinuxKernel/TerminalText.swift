/// Text that comes from images, registries, file names or variables, on its way to a terminal.
///
/// Everything that Berth prints for people goes through here, a line at a time. Nothing of it may steer the terminal,
/// turn the direction of the text around it, or begin a line of its own.
package enum TerminalText {
    /// The line with U+FFFD in place of what is not printable.
    package static func line(_ text: String) -> String {
        guard !isPlain(text) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { steers($0) ? "\u{FFFD}" : $0 }))
    }

    /// The line with escapes in place of what is not printable, such as `\n`, `\x1b` and `\u202e`: where the exact words
    /// matter to the reader.
    package static func escaped(_ text: String) -> String {
        guard !isPlain(text) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            if steers(scalar) { result += escape(scalar) } else { result.unicodeScalars.append(scalar) }
        }
        return result
    }

    /// As Bash's `$'…'` reads it.
    package static func escape(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        default: break
        }
        // A byte that is no text: see `RawText`.
        if scalar.value >= 0x10FF80 { return "\\x" + hexadecimal(scalar.value - 0x10FF00, digits: 2) }
        if scalar.value < 0x80 { return "\\x" + hexadecimal(scalar.value, digits: 2) }
        return scalar.value > 0xFFFF
            ? "\\U" + hexadecimal(scalar.value, digits: 8) : "\\u" + hexadecimal(scalar.value, digits: 4)
    }

    /// The escape that JSON has for it, RFC 8259, section 7.
    package static func jsonEscape(_ scalar: Unicode.Scalar) -> String {
        String(scalar).utf16.map { "\\u" + hexadecimal(UInt32($0), digits: 4) }.joined()
    }

    /// Whether a character does something else than to be seen.
    package static func steers(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // C0, DEL and C1; line and paragraph separators; the marks, embeddings, overrides and isolates of the
        // bidirectional algorithm; the old format characters; tags; bytes of an argument that are no text.
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
