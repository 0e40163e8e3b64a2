internal import LinuxKernel

/// What an image says besides its files, as it is kept in a squashfs file: in Enroot's own two files, `/etc/environment` and
/// the script `/etc/rc`, and word for word in `/etc/berth-image`, which Berth reads first.
///
/// Lines cannot hold a value with a newline, and a script has to be parsed, so the third file is what makes a saved container
/// run as the first one did. It counts only as long as the other two are as they were written together.
package struct SavedImage: Equatable, Sendable {
    package static let environmentPath = "etc/environment"
    package static let scriptPath = "etc/rc"
    package static let exactPath = "etc/berth-image"

    package var environment: [String] = []
    package var entrypoint: [String] = []
    package var command: [String] = []
    package var user = ""
    package var workingDirectory = ""

    package init(_ image: ContainerImage) {
        (environment, entrypoint, command) = (
            image.environment + image.defaults, image.entrypoint, image.command
        )
        (user, workingDirectory) = (image.user, image.workingDirectory)
    }

    // MARK: Writing

    /// The bytes of `/etc/environment`, but for values that a line cannot hold.
    package var environmentFile: [UInt8] {
        var bytes: [UInt8] = []
        for entry in environment where !entry.utf8.contains(0x0A) {
            bytes += entry.kernelBytes
            bytes.append(0x0A)
        }
        return bytes
    }

    /// The script `/etc/rc`, which Enroot starts with the command's words.
    package var script: [UInt8] {
        var text = Array("#! /bin/sh\n".utf8)
        if !workingDirectory.isEmpty {
            let place = Self.quoted([workingDirectory])
            text += Array("mkdir -p ".utf8) + place + Array(" 2> /dev/null\ncd ".utf8) + place
            text += Array(" && unset OLDPWD || exit 1\n".utf8)
        }
        let start = Self.quoted(entrypoint)
        let whole = Self.quoted(entrypoint.isEmpty && command.isEmpty ? ["/bin/sh"] : entrypoint + command)
        text += Array("\nif [ $# -gt 0 ]; then\n    exec ".utf8) + start
        text += Array("\(start.isEmpty ? "" : " ")\"$@\"\nelse\n    exec ".utf8) + whole + Array("\nfi\n".utf8)
        return text
    }

    private static let heading = Array("berth-saved-image 1\n".utf8)

    package var exactFile: [UInt8] {
        var bytes = Self.heading
        func add(_ name: String, _ value: String) {
            bytes += Array((name + "=").utf8) + value.kernelBytes.prefix { $0 != 0 }
            bytes.append(0)
        }
        add("sum", Self.sum(script, environmentFile))
        for entry in environment { add("env", entry) }
        for word in entrypoint { add("entrypoint", word) }
        for word in command { add("command", word) }
        add("user", user)
        add("workdir", workingDirectory)
        return bytes
    }

    /// Words of a POSIX shell: within single quotes only the quote itself has a meaning.
    private static func quoted(_ words: [String]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (index, word) in words.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: " ")) }
            bytes.append(UInt8(ascii: "'"))
            for byte in word.kernelBytes {
                if byte == UInt8(ascii: "'") { bytes += Array("'\\''".utf8) } else { bytes.append(byte) }
            }
            bytes.append(UInt8(ascii: "'"))
        }
        return bytes
    }

    /// FNV-1a: tells a change, not an intention.
    private static func sum(_ script: [UInt8], _ environment: [UInt8]) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in script { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash = (hash ^ 0x100) &* 0x100_0000_01b3
        for byte in environment { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }

    // MARK: Reading

    /// - Parameter exact: Empty where Berth has not written the file.
    package init(environment file: [UInt8], script: [UInt8], exact: [UInt8]) {
        if let saved = Self(exact: exact, sum: Self.sum(script, file)) {
            self = saved
            return
        }
        for line in file.split(separator: 0x0A) where line.contains(0x3D) && line.first != UInt8(ascii: "#") {
            environment.append(RawText.string(line))
        }
        var fallback: [String]?
        for statement in ShellStatement.all(in: script) {
            let words = statement.words.map { RawText.string($0[...]) }
            switch words.first {
            case "cd" where workingDirectory.isEmpty && words.count > 1: workingDirectory = words[1]
            case "exec" where statement.takesArguments: entrypoint = Array(words.dropFirst())
            case "exec": fallback = Array(words.dropFirst())
            default: break
            }
        }
        // Without words from the user Enroot starts the entrypoint with the image's own.
        if let fallback, fallback.starts(with: entrypoint) { command = Array(fallback.dropFirst(entrypoint.count)) }
        if command.first?.isEmpty ?? true, entrypoint.isEmpty { command = ["/bin/sh"] }
    }

    private init?(exact bytes: [UInt8], sum expected: String) {
        guard bytes.starts(with: Self.heading), bytes.last == 0 else { return nil }
        var found = ""
        for field in bytes.dropFirst(Self.heading.count).dropLast().split(
            separator: 0, omittingEmptySubsequences: false)
        {
            guard let equals = field.firstIndex(of: 0x3D) else { return nil }
            let value = RawText.string(field[(equals + 1)...])
            switch String(decoding: field[..<equals], as: UTF8.self) {
            case "sum": found = value
            case "env": environment.append(value)
            case "entrypoint": entrypoint.append(value)
            case "command": command.append(value)
            case "user": user = value
            case "workdir": workingDirectory = value
            default: break  // a later version's
            }
        }
        guard found == expected else { return nil }
    }
}

/// A simple command of a shell script: its words with the quotes taken away. Nothing is expanded; `"$@"` is noticed.
struct ShellStatement {
    var words: [[UInt8]] = []
    var takesArguments = false

    static func all(in script: [UInt8]) -> [ShellStatement] {
        var reader = ShellReader(script: script)
        reader.readAll()
        return reader.statements
    }
}

private struct ShellReader {
    let script: [UInt8]
    var position = 0
    var statements: [ShellStatement] = []
    private var current = ShellStatement()
    private var word: [UInt8]?

    init(script: [UInt8]) { self.script = script }

    mutating func readAll() {
        while position < script.count {
            let byte = script[position]
            position += 1
            switch byte {
            case UInt8(ascii: "'"): quote(until: UInt8(ascii: "'"))
            case UInt8(ascii: "\""): doubleQuote()
            case UInt8(ascii: "\\"):
                guard position < script.count else { break }
                // A backslash takes a newline away altogether.
                if script[position] != 0x0A { add(script[position]) }
                position += 1
            case UInt8(ascii: "$") where position < script.count && script[position] == UInt8(ascii: "'"):
                position += 1
                ansiQuote()
            case UInt8(ascii: " "), UInt8(ascii: "\t"): endWord()
            case UInt8(ascii: "#") where word == nil:
                while position < script.count, script[position] != 0x0A { position += 1 }
            case 0x0A, UInt8(ascii: ";"), UInt8(ascii: "&"), UInt8(ascii: "|"): endStatement()
            default: add(byte)
            }
        }
        endStatement()
    }

    /// In place: `word` may be as long as the script.
    private mutating func add(_ byte: UInt8) { if word?.append(byte) == nil { word = [byte] } }

    /// What has been read of the word, to be continued without a copy.
    private mutating func takeWord() -> [UInt8] {
        defer { word = nil }
        return word ?? []
    }

    private mutating func quote(until end: UInt8) {
        var bytes = takeWord()
        while position < script.count, script[position] != end {
            bytes.append(script[position])
            position += 1
        }
        position += 1
        word = bytes
    }

    private mutating func doubleQuote() {
        let isWhole = word == nil
        var bytes = takeWord()
        let start = position
        while position < script.count, script[position] != UInt8(ascii: "\"") {
            var byte = script[position]
            if byte == UInt8(ascii: "\\"), position + 1 < script.count {
                let next = script[position + 1]
                let isEscape = [UInt8(ascii: "$"), UInt8(ascii: "`"), UInt8(ascii: "\""), UInt8(ascii: "\\")].contains(
                    next)
                if isEscape {
                    byte = next
                    position += 1
                }
            }
            bytes.append(byte)
            position += 1
        }
        if script[start..<min(position, script.count)].elementsEqual("$@".utf8), isWhole {
            current.takesArguments = true
        } else {
            word = bytes
        }
        position += 1
    }

    /// `$'…'`, as bash writes words with control characters.
    private mutating func ansiQuote() {
        var bytes = takeWord()
        while position < script.count, script[position] != UInt8(ascii: "'") {
            var byte = script[position]
            position += 1
            if byte == UInt8(ascii: "\\"), position < script.count {
                let letter = script[position]
                position += 1
                switch letter {
                case UInt8(ascii: "n"): byte = 0x0A
                case UInt8(ascii: "t"): byte = 0x09
                case UInt8(ascii: "r"): byte = 0x0D
                case UInt8(ascii: "a"): byte = 0x07
                case UInt8(ascii: "b"): byte = 0x08
                case UInt8(ascii: "e"), UInt8(ascii: "E"): byte = 0x1B
                case UInt8(ascii: "f"): byte = 0x0C
                case UInt8(ascii: "v"): byte = 0x0B
                case UInt8(ascii: "0")...UInt8(ascii: "7"):
                    var value = UInt32(letter - 0x30)
                    var digits = 1
                    while digits < 3, position < script.count,
                        (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(script[position])
                    {
                        value = value * 8 + UInt32(script[position] - 0x30)
                        position += 1
                        digits += 1
                    }
                    byte = UInt8(truncatingIfNeeded: value)
                default: byte = letter
                }
            }
            bytes.append(byte)
        }
        position += 1
        word = bytes
    }

    private mutating func endWord() {
        guard let word else { return }
        self.word = nil
        // Words that only introduce the command that follows them.
        if current.words.isEmpty,
            ["then", "else", "do", "if", "fi", "!"].contains(String(decoding: word, as: UTF8.self))
        {
            return
        }
        current.words.append(word)
    }

    private mutating func endStatement() {
        endWord()
        if !current.words.isEmpty || current.takesArguments { statements.append(current) }
        current = ShellStatement()
    }
}
