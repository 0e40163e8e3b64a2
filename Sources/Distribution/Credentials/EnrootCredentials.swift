internal import FoundationEssentials

extension CredentialFiles {
    /// Enroot's `.credentials`: netrc lines, of which the first one for the host (and user) applies.
    ///
    /// https://github.com/NVIDIA/enroot/blob/master/doc/cmd/import.md
    func enrootCredential(
        in data: Data, path: String, registry: String, user: String?
    ) async throws(CredentialError) -> Credential? {
        let lines = NetrcEntry.parse(Array(data))
        // Enroot uses hosts without ports, and the name of the token service for Docker Hub.
        let host = Origin(scheme: .https, authority: registry)?.host ?? registry
        let names = registry == "docker.io" ? Self.spellings(of: registry) + ["auth.docker.io"] : [host]
        for line in lines where line.machine.map(names.contains) ?? true {
            guard let login = line.login, user == nil || login == user else { continue }
            guard let password = line.password else {
                if line.isCutByComment {
                    throw .malformed(
                        file: path,
                        detail: "line \(line.number) has no password: # begins a comment unless it is in double quotes")
                }
                continue
            }
            return Credential(
                secret: .password(user: login, password: try await expanded(password, path: path, line: line.number)),
                origin: .file(path))
        }
        return nil
    }

    /// Enroot lets a shell expand a password that starts with `$`. This looks a variable up, runs a command only if
    /// that is allowed, and uses other passwords unchanged, although they start with a dollar sign.
    private func expanded(_ password: String, path: String, line: Int) async throws(CredentialError) -> String {
        guard password.utf8.first == UInt8(ascii: "$") else { return password }
        if password.utf8.starts(with: "$(".utf8), password.utf8.last == UInt8(ascii: ")") {
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
            // Strip line ends, as a shell's command substitution does. A header cannot contain a carriage return.
            var bytes = output[...]
            while let last = bytes.last, last == 0x0a || last == 0x0d { bytes.removeLast() }
            return String(decoding: bytes, as: UTF8.self)
        }
        var name = password.dropFirst()
        if name.hasPrefix("{"), name.hasSuffix("}") { name = name.dropFirst().dropLast() }
        let isName =
            name.first.map { !$0.isNumber } ?? false
            && name.utf8.allSatisfy {
                $0 == UInt8(ascii: "_") || ($0 < 0x80 && Character(Unicode.Scalar($0)).isLetter)
                    || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
            }
        // NGC's user name, if it was written as the password, too.
        guard isName, name != "oauthtoken" else { return password }
        guard let value = environment[String(name)] else {
            throw .undefinedVariable(String(name), file: path, line: line)
        }
        return value
    }
}
