internal import LinuxKernel

/// The variables of a SIF file's image. Apptainer keeps them as a shell script of one statement for each:
/// `export NAME="${NAME:-"VALUE"}"`, which the user's own variable overrides, and `export PATH="VALUE"`.
///
/// Read, and never executed. A value in which a shell would expand something is unknown, so its variable is left out.
/// The text is the image's value with a shell's escapes, and then Go's, in which a newline is `\n`.
package struct ApptainerEnvironment: Equatable, Sendable {
    /// These replace the user's variables of the same name.
    package var fixed: [String] = []
    /// These hold where the user has no such variable.
    package var defaults: [String] = []

    package init(script: [UInt8]) {
        var position = 0
        while position < script.count {
            if let statement = Self.statement(script[position...]) {
                position = statement.end
                guard let value = statement.value else { continue }
                let entry = RawText.string((statement.name + [UInt8(ascii: "=")] + value)[...])
                if statement.isDefault { defaults.append(entry) } else { fixed.append(entry) }
            } else {
                position = (script[position...].firstIndex(of: 0x0A) ?? script.endIndex) + 1
            }
        }
    }

    private struct Statement {
        let name: [UInt8]
        /// `nil` where only a shell knows it.
        let value: [UInt8]?
        let isDefault: Bool
        let end: Int
    }

    /// The one that begins here; `nil` where it has neither form.
    private static func statement(_ text: ArraySlice<UInt8>) -> Statement? {
        var rest = text
        func take(_ word: some Collection<UInt8>) -> Bool {
            guard rest.starts(with: word) else { return false }
            rest = rest.dropFirst(word.count)
            return true
        }
        guard take("export ".utf8) else { return nil }
        let name = Array(rest.prefix(while: isOfName))
        guard let first = name.first, !(0x30...0x39).contains(first) else { return nil }
        rest = rest.dropFirst(name.count)
        guard take("=\"".utf8) else { return nil }
        let isDefault = take(Array("${".utf8) + name + Array(":-\"".utf8))
        let start = rest.startIndex
        while let byte = rest.first, byte != UInt8(ascii: "\"") {
            rest = rest.dropFirst(byte == UInt8(ascii: "\\") ? 2 : 1)
        }
        let quoted = text[start..<rest.startIndex]
        guard take(isDefault ? "\"}\"".utf8 : "\"".utf8) else { return nil }
        while let byte = rest.first, byte == UInt8(ascii: "\r") || byte == UInt8(ascii: " ") { rest = rest.dropFirst() }
        guard rest.isEmpty || rest.first == 0x0A else { return nil }
        return Statement(
            name: name, value: shellUnescaped(goUnescaped(quoted)), isDefault: isDefault, end: rest.startIndex + 1)
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// As strconv.Unquote of Go, but that it leaves escapes alone which it does not know: they are a shell's.
    private static func goUnescaped(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = text
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\"), let letter = rest.popFirst() else {
                result.append(byte)
                continue
            }
            switch letter {
            case UInt8(ascii: "a"): result.append(0x07)
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "v"): result.append(0x0B)
            case UInt8(ascii: "\\"), UInt8(ascii: "\""): result.append(letter)
            case UInt8(ascii: "x"), UInt8(ascii: "u"), UInt8(ascii: "U"):
                let count = letter == UInt8(ascii: "x") ? 2 : letter == UInt8(ascii: "u") ? 4 : 8
                let digits = rest.prefix(count)
                guard digits.count == count, let number = UInt32(String(decoding: digits, as: UTF8.self), radix: 16),
                    let scalar = Unicode.Scalar(number)
                else {
                    result += [byte, letter]
                    continue
                }
                rest = rest.dropFirst(count)
                if count == 2 { result.append(UInt8(number)) } else { result += Array(String(scalar).utf8) }
            default: result += [byte, letter]
            }
        }
        return result
    }

    /// Within double quotes: POSIX.1-2017, XCU 2.2.3. `nil` where a shell would expand something.
    private static func shellUnescaped(_ text: [UInt8]) -> [UInt8]? {
        let special = Array("$`\"\\".utf8)
        var result: [UInt8] = []
        var rest = text[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), let next = rest.first, special.contains(next) {
                result.append(next)
                rest = rest.dropFirst()
            } else if byte == UInt8(ascii: "$") || byte == UInt8(ascii: "`") {
                return nil
            } else {
                result.append(byte)
            }
        }
        return result
    }
}
