internal import FoundationEssentials
internal import Glibc
internal import ImageSpec

/// The files that people already have: containers' `auth.json`, Docker's `config.json`, Enroot's `.credentials`.
///
/// Order and meaning as in containers-auth.json(5); the first that knows the registry decides.
package struct CredentialFiles: CredentialProvider {
    enum Format: Sendable { case authFile, legacyDocker, enroot }

    let files: [(path: String, format: Format)]
    let environment: [String: String]
    let allowsCommands: Bool
    let helperTimeout: Duration

    /// - Parameters:
    ///   - accountHome: the home directory of the account, looked into after `HOME` where that is another.
    ///   - allowsCommands: whether a password that is Enroot's `$(command)` is run. Off unless the site or the
    ///     user says otherwise: a file that was copied from somewhere should not be able to start programs.
    ///   - isUsed: leaves files out; a file names programs to run, so the caller may have to check its owner.
    package init(
        environment: [String: String], accountHome: String? = nil, allowsCommands: Bool = false,
        helperTimeout: Duration = .seconds(30), isUsed: (String) -> Bool = { _ in true }
    ) {
        self.environment = environment
        self.allowsCommands = allowsCommands
        self.helperTimeout = helperTimeout

        var files: [(String, Format)] = []
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let home = value("HOME")
        let configuration = value("XDG_CONFIG_HOME") ?? home.map { "\($0)/.config" }
        if let path = value("REGISTRY_AUTH_FILE") { files.append((path, .authFile)) }
        if let path = value("XDG_RUNTIME_DIR") { files.append(("\(path)/containers/auth.json", .authFile)) }
        if let configuration { files.append(("\(configuration)/containers/auth.json", .authFile)) }
        if let path = value("DOCKER_CONFIG") ?? home.map({ "\($0)/.docker" }) {
            files.append(("\(path)/config.json", .authFile))
        }
        if let home { files.append(("\(home)/.dockercfg", .legacyDocker)) }
        if let path = value("ENROOT_CONFIG_PATH") ?? configuration.map({ "\($0)/enroot" }) {
            files.append(("\(path)/.credentials", .enroot))
        }
        if let accountHome, accountHome != home {
            files += [
                ("\(accountHome)/.config/containers/auth.json", .authFile),
                ("\(accountHome)/.docker/config.json", .authFile), ("\(accountHome)/.dockercfg", .legacyDocker),
                ("\(accountHome)/.config/enroot/.credentials", .enroot),
            ]
        }
        self.files = files.filter { isUsed($0.0) }
    }

    package func credential(
        registry: String, repository: String, user: String?
    ) async throws(CredentialError) -> Credential? {
        // A file that cannot be used does not hide the ones after it.
        var fault: CredentialError?
        for (path, format) in files {
            do throws(CredentialError) {
                guard let text = try Self.contents(of: path) else { continue }
                let found: Credential? =
                    switch format {
                    case .authFile, .legacyDocker:
                        try await credential(
                            in: text, path: path, isLegacy: format == .legacyDocker, registry: registry,
                            repository: repository, user: user)
                    case .enroot:
                        try await enrootCredential(in: text, path: path, registry: registry, user: user)
                    }
                if let found { return found }
            } catch {
                fault = fault ?? error
            }
        }
        if let fault { throw fault }
        return nil
    }

    /// Nil for a file that is not there or not this user's to read: root, say, in a home on a root-squashing server.
    private static func contents(of path: String) throws(CredentialError) -> Data? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            if [ENOENT, ENOTDIR, EACCES, ELOOP].contains(code) { return nil }
            throw .unreadable(file: path, errno: code)
        }
        defer { close(descriptor) }
        var data = Data()
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw .unreadable(file: path, errno: errno)
            }
            if count == 0 { return data }
            data.append(contentsOf: buffer[..<count])
            if data.count > 4 << 20 { throw .malformed(file: path, detail: "larger than 4 MiB") }
        }
    }

    private func credential(
        in data: Data, path: String, isLegacy: Bool, registry: String, repository: String, user: String?
    ) async throws(CredentialError) -> Credential? {
        // An empty file is what a full disk or `touch` leaves; Docker takes it for none, too.
        if data.allSatisfy({ [0x20, 0x09, 0x0a, 0x0d].contains($0) }) { return nil }
        do throws(DocumentFault) {
            _ = try DocumentScanner.check(Array(data), as: isLegacy ? .map : AuthFile.shape)
        } catch {
            // Where it is not JSON, words of the file could be secrets.
            if case .notJSON = error.reason { throw .malformed(file: path, detail: "not the JSON that was expected") }
            throw .malformed(file: path, detail: RegistryError.clean(error.description))
        }
        let file: AuthFile
        do {
            let decoder = JSONDecoder()
            file =
                isLegacy
                ? AuthFile(auths: try decoder.decode([String: AuthFile.LenientEntry].self, from: data))
                : try decoder.decode(AuthFile.self, from: data)
        } catch {
            // The decoder's own text could quote the file's content, so it is left out.
            throw .malformed(file: path, detail: "not the JSON that was expected")
        }
        let names = Self.spellings(of: registry)
        var fault: CredentialError?
        if let helper = file.helper(for: names), !helper.isEmpty {
            do throws(CredentialError) {
                let helper = CredentialHelper(
                    name: helper, file: path, environment: environment, timeout: helperTimeout)
                if let found = try await helper.get(registry: registry) { return found }
            } catch {
                fault = error
            }
        }
        // What the file itself holds for this very registry.
        if let found = try file.entry(for: names, repository: repository, user: user, path: path) { return found }
        if let fault { throw fault }
        return nil
    }

    /// Docker Hub goes by several names; everybody else by one.
    static func spellings(of registry: String) -> [String] {
        registry == Reference.dockerHub ? ["docker.io", "index.docker.io", "registry-1.docker.io"] : [registry]
    }
}
