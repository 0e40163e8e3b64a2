internal import Foundation

extension CredentialFiles {
    /// Enroot's `.credentials`: netrc lines, of which the first for the host (and user) counts.
    ///
    /// https://github.com/NVIDIA/enroot/blob/master/doc/cmd/import.md
    func enrootCredential(
        in data: Data, path: String, registry: String, user: String?
    ) async throws(CredentialError) -> Credential? {
        let lines = NetrcLine.parse(String(decoding: data, as: UTF8.self))
        // Enroot knows hosts without ports, and Docker Hub by the name of its token service.
        let host = Origin(scheme: .https, authority: registry)?.host ?? registry
        let names = registry == "docker.io" ? Self.spellings(of: registry) + ["auth.docker.io"] : [host]
        for line in lines where line.machine.map(names.contains) ?? true {
            guard let login = line.login, let password = line.password, user == nil || login == user else { continue }
            return Credential(
                secret: .password(user: login, password: try await expanded(password, path: path, line: line.number)),
                origin: .file(path))
        }
        return nil
    }

    /// Enroot lets a shell expand a password that starts with `$`. Here a variable is looked up, a command run only
    /// where that is allowed, and anything else (a password that begins with a dollar) taken as it is.
    private func expanded(_ password: String, path: String, line: Int) async throws(CredentialError) -> String {
        guard password.hasPrefix("$") else { return password }
        if password.hasPrefix("$("), password.hasSuffix(")") {
            guard allowsCommands else { throw .commandNotAllowed(file: path, line: line) }
            let result = await HelperProcess.run(
                "/bin/sh", ["-c", String(password.dropFirst(2).dropLast())],
                environment: HelperProcess.environment(from: environment), input: "", timeout: helperTimeout)
            guard case .ended(0, let output, _) = result else {
                if case .timedOut = result { throw .helperTimedOut("sh", file: path) }
                guard case .ended(let status, _, _) = result else {
                    throw .commandFailed(file: path, line: line, status: 127)
                }
                throw .commandFailed(file: path, line: line, status: status)
            }
            // As a shell's command substitution.
            return String(String(decoding: output, as: UTF8.self).reversed().drop { $0.isNewline }.reversed())
        }
        var name = password.dropFirst()
        if name.hasPrefix("{"), name.hasSuffix("}") { name = name.dropFirst().dropLast() }
        let isName =
            name.first.map { !$0.isNumber } ?? false
            && name.utf8.allSatisfy {
                $0 == UInt8(ascii: "_") || ($0 < 0x80 && Character(Unicode.Scalar($0)).isLetter)
                    || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
            }
        // NGC's literal, should somebody have written it on both sides.
        guard isName, name != "oauthtoken" else { return password }
        guard let value = environment[String(name)] else {
            throw .undefinedVariable(String(name), file: path, line: line)
        }
        return value
    }
}

/// One `machine` (or `default`) of a netrc file.
struct NetrcLine: Equatable {
    var number: Int
    /// Nil for `default`.
    var machine: String?
    var login: String?
    var password: String?

    static func parse(_ text: String) -> [NetrcLine] {
        var found: [NetrcLine] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var rest = line.drop { $0.isWhitespace }
            if rest.hasPrefix("#") { continue }
            while let key = word(&rest) {
                switch key {
                case "default": found.append(NetrcLine(number: index + 1))
                case "machine": found.append(NetrcLine(number: index + 1, machine: word(&rest)?.lowercased() ?? ""))
                case "login" where !found.isEmpty: found[found.count - 1].login = word(&rest)
                case "password" where !found.isEmpty:
                    // A command has blanks of its own, so it takes the rest of the line.
                    if rest.hasPrefix("$(") {
                        let end = rest.reversed().drop { $0.isWhitespace }.reversed()
                        found[found.count - 1].password = String(end)
                        rest = ""
                    } else {
                        found[found.count - 1].password = word(&rest)
                    }
                default: break
                }
            }
        }
        return found
    }

    /// As curl(1), which reads the file for Enroot, has it: a word in double quotes may hold blanks, and `\\"`, `\\\\`,
    /// `\\n`, `\\r` and `\\t`. One whose quotes do not end with the line is none.
    private static func quoted(_ rest: inout Substring) -> String? {
        var found = ""
        var left = rest.dropFirst()
        while let character = left.popFirst() {
            switch character {
            case "\"":
                rest = left.drop { $0.isWhitespace }
                return found
            case "\\":
                guard let escaped = left.popFirst() else { return nil }
                found.append(escaped == "n" ? "\n" : escaped == "r" ? "\r" : escaped == "t" ? "\t" : escaped)
            default: found.append(character)
            }
        }
        return nil
    }

    private static func word(_ rest: inout Substring) -> String? {
        if rest.hasPrefix("\""), let quoted = quoted(&rest) { return quoted }
        let word = rest.prefix { !$0.isWhitespace }
        rest = rest.dropFirst(word.count).drop { $0.isWhitespace }
        return word.isEmpty ? nil : String(word)
    }
}
