internal import LinuxKernel

/// The absolute paths in the value of a variable: the whole value, the elements of a list, what stands behind an option
/// (`-I/opt/include`, `--require=/opt/hook.js`) or a scheme (`unix:///run/socket`). An address such as `http://host/path` has
/// none. Of a pattern such as `/data/*.tar` the directory in front of it is the path.
package enum VariablePaths {
    /// More than any list that people write; what is behind these is not looked at.
    private static let limit = 1024

    package static func paths(in value: String) -> [String] {
        var value = value
        return value.withUTF8 { text in
            let bytes = UnsafeRawBufferPointer(text)
            var result: [String] = []
            var position = 0
            while result.count < limit, var start = bytes.firstIndex(ofByte: slash, from: position) {
                guard begins(bytes, at: start) else {
                    position = start + 1
                    continue
                }
                if isScheme(bytes, endingAt: start) {
                    guard start + 2 < bytes.count, bytes[start + 2] == slash else {
                        position = endOfAddress(bytes, from: start)
                        continue
                    }
                    start += 2
                } else if isRemote(bytes, at: start) {
                    position = endOfAddress(bytes, from: start)
                    continue
                }
                let (end, literal) = path(bytes, from: start)
                if literal > start + 1 {
                    result.append(
                        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<literal]), as: UTF8.self))
                }
                position = max(end, start + 1)
            }
            return result
        }
    }

    private static let slash = UInt8(ascii: "/")

    /// Whether the slash is the first byte of a path, and not one within it.
    private static func begins(_ bytes: UnsafeRawBufferPointer, at start: Int) -> Bool {
        guard start > 0 else { return true }
        let before = bytes[start - 1]
        if before == UInt8(ascii: "[") || before == UInt8(ascii: "{") { return true }
        if isSeparator(before) { return true }
        // `-I/opt/include`
        return start > 1 && bytes[start - 2] == UInt8(ascii: "-") && isLetter(before)
            && (start == 2 || isSeparator(bytes[start - 3]))
    }

    /// `HOST:/PATH` of NFS, scp and rsync: a path on another machine. `FILE:/tmp/x` and lists such as `lib:/a:/b` are not.
    private static func isRemote(_ bytes: UnsafeRawBufferPointer, at start: Int) -> Bool {
        guard start > 1, bytes[start - 1] == UInt8(ascii: ":") else { return false }
        var position = start - 2
        var isHost = false
        while position >= 0, isLetter(bytes[position]) || isOfHost(bytes[position]) {
            isHost = isHost || !(0x41...0x5A).contains(bytes[position])
            position -= 1
        }
        guard isHost, position < start - 2, isLetter(bytes[position + 1]) || isDigit(bytes[position + 1]) else {
            return false
        }
        let isWord = position < 0 || [0x09, 0x0A, 0x20, 0x22, 0x27, 0x3D].contains(bytes[position])
        return isWord && !bytes[start..<endOfAddress(bytes, from: start)].contains(UInt8(ascii: ":"))
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    /// Besides letters: digits, `.`, `-`, `_` and `@`.
    private static func isOfHost(_ byte: UInt8) -> Bool {
        isDigit(byte) || byte == 0x2E || byte == 0x2D || byte == 0x5F || byte == 0x40
    }

    /// `SCHEME:` in front of two slashes.
    private static func isScheme(_ bytes: UnsafeRawBufferPointer, endingAt start: Int) -> Bool {
        guard start > 1, bytes[start - 1] == UInt8(ascii: ":"), start + 1 < bytes.count, bytes[start + 1] == slash
        else { return false }
        var position = start - 2
        while position >= 0, isLetter(bytes[position]) || isOfScheme(bytes[position]) { position -= 1 }
        return position < start - 2 && (position < 0 || bytes[position] != slash)
    }

    private static func endOfAddress(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        var position = start
        while position < bytes.count, ![0x20, 0x09, 0x0A, 0x22, 0x27, 0x2C, 0x3B].contains(bytes[position]) {
            position += 1
        }
        return position
    }

    /// Where a path ends, and where the part of it that is no pattern does.
    private static func path(_ bytes: UnsafeRawBufferPointer, from start: Int) -> (end: Int, literal: Int) {
        var position = start
        var lastSlash = start
        var literal: Int?
        while position < bytes.count {
            let byte = bytes[position]
            if byte == slash {
                lastSlash = position
            } else if byte == UInt8(ascii: "=") {
                // `/data/day=1` is a path, `/from=/to` are two.
                if position + 1 < bytes.count, bytes[position + 1] == slash { break }
            } else if isPattern(byte) {
                literal = literal ?? lastSlash
            } else if isSeparator(byte) || byte == UInt8(ascii: ")") || byte == UInt8(ascii: "}")
                || byte == UInt8(ascii: "]")
            {
                break
            }
            position += 1
        }
        return (position, literal ?? position)
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }

    /// Besides letters: digits, `+`, `-` and `.`.
    private static func isOfScheme(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || byte == 0x2B || byte == 0x2D || byte == 0x2E
    }

    private static func isPattern(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["), UInt8(ascii: "{"), UInt8(ascii: "$"),
            UInt8(ascii: "%"):
            true
        default: false
        }
    }

    private static func isSeparator(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x09, 0x0A, 0x0D, 0x20, UInt8(ascii: ":"), UInt8(ascii: ";"), UInt8(ascii: ","), UInt8(ascii: "="),
            UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "("), UInt8(ascii: "<"), UInt8(ascii: ">"),
            UInt8(ascii: "|"), UInt8(ascii: "&"):
            true
        default: false
        }
    }
}

/// A variable of the host that the command does not get, and the path in it that does not exist inside.
package struct DroppedVariable: Equatable, Sendable {
    package let name: String
    package let path: String
}

extension ProcessPlan {
    /// Leaves out those of the host's variables that name a path which does not exist inside: a search path, a certificate
    /// or a start-up file of the host's breaks programs of the image. What Slurm says of the job stays: it describes the job,
    /// and is no setting of a program.
    ///
    /// - Parameter exists: Whether something has this path inside the container.
    package mutating func dropVariables(exists: (String) -> Bool) {
        var kept = 0
        for (index, entry) in environment.enumerated() {
            let isOfHost = index < environmentSources.count && environmentSources[index] == VariableSource.host.rawValue
            if isOfHost, let missing = Self.missing(entry, exists) {
                // Where a shell was and what it ran last: every shell sets these, and no user asks for them.
                if missing.name != "_", missing.name != "OLDPWD" { dropped.append(missing) }
                guard let ofImage = hiddenDefaults.first(where: { $0.hasPrefix(missing.name + "=") }) else { continue }
                environment[kept] = ofImage
                environmentSources[kept] = VariableSource.image.rawValue
                kept += 1
                continue
            }
            environment[kept] = entry
            if index < environmentSources.count { environmentSources[kept] = environmentSources[index] }
            kept += 1
        }
        environment.removeLast(environment.count - kept)
        environmentSources.removeLast(max(0, environmentSources.count - kept))
    }

    private static func missing(_ entry: String, _ exists: (String) -> Bool) -> DroppedVariable? {
        // Berth's own pass with --slurm only: steps that are started from inside are to find the same store on the node.
        guard !entry.hasPrefix("SLURM"), !entry.hasPrefix("BERTH_"), let equals = entry.utf8.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        let value = entry[entry.utf8.index(after: equals)...]
        guard value.utf8.contains(UInt8(ascii: "/")) else { return nil }
        let whole = String(value)
        let paths = VariablePaths.paths(in: whole)
        guard let path = paths.first(where: { !exists($0) }) else { return nil }
        // One path with a blank or a comma in it.
        if paths != [whole], whole.utf8.first == UInt8(ascii: "/"), exists(whole) { return nil }
        return DroppedVariable(name: String(entry[..<equals]), path: path)
    }

    /// For `--verbose`; `nil` where everything has passed.
    package func noteOfDroppedVariables(option: String) -> String? {
        if dropped.isEmpty { return nil }
        return "not passed, as their paths do not exist in the container: "
            + dropped.map { "\($0.name) (\($0.path))" }.joined(separator: ", ") + "; \(option) passes one all the same"
    }
}
