internal import FoundationEssentials
internal import LinuxKernel

enum JSONText {
    static func of(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Outside of its strings JSON is ASCII. The escapes mean the same to a machine and nothing to a terminal.
        var text = ""
        for scalar in String(decoding: try encoder.encode(value), as: UTF8.self).unicodeScalars {
            if scalar.value > 0x7E, TerminalText.steers(scalar) {
                text += TerminalText.jsonEscape(scalar)
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text + "\n"
    }

    /// On one line.
    static func line(_ value: some Encodable) throws -> String {
        try of(value).split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: " ")
    }
}
