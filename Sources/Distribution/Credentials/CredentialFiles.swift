internal import FoundationEssentials
internal import Glibc
internal import ImageSpec

/// Reads existing credential files: containers' `auth.json`, Docker's `config.json`, Enroot's `.credentials`.
///
/// Order and meaning are those of containers-auth.json(5). The first file with an entry for the registry decides.
package struct CredentialFiles: CredentialProvider {
    enum Format: Sendable { case authFile, legacyDocker, enroot }

    let files: [(path: String, format: Format)]
    let environment: [String: String]
    let allowsCommands: Bool
    let helperTimeout: Duration

    /// - Parameters:
    ///   - accountHome: The home directory of the account, searched after `HOME` if it differs.
    ///   - allowsCommands: Whether to run Enroot's `$(command)` as a password. Off by default, because a copied file
    ///     must not be able to start programs.
    ///   - isUsed: Excludes files. The caller may have to check a file's owner, because it can name programs to run.
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
        // Continue with the next file if one is unusable.
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

    /// Returns `nil` if the file is missing or not readable by this user, such as root in a root-squashed home
    /// directory.
    private static func contents(of path: String) throws(CredentialError) -> Data? {
        // Do not wait for the writer of a FIFO.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else {
            let code = errno
            if [ENOENT, ENOTDIR, EACCES, ELOOP].contains(code) { return nil }
            throw .unreadable(file: path, errno: code)
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .unreadable(file: path, errno: errno) }
        if status.st_mode & S_IFMT == S_IFIFO {
            // A pipe of the caller, as of `REGISTRY_AUTH_FILE=<(command)`, has a writer.
            guard path.hasPrefix("/dev/fd/") || path.hasPrefix("/proc/") else {
                throw .malformed(file: path, detail: "a FIFO, expected a regular file")
            }
            guard fcntl(descriptor, F_SETFL, O_RDONLY) == 0 else { throw .unreadable(file: path, errno: errno) }
        }
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
        // An empty file is the result of a full disk or `touch`. Docker ignores it, too.
        if data.allSatisfy({ [0x20, 0x09, 0x0a, 0x0d].contains($0) }) { return nil }
        do throws(DocumentFault) {
            _ = try DocumentScanner.check(Array(data), as: isLegacy ? AuthFile.legacyShape : AuthFile.shape)
        } catch {
            // Do not quote content that is not JSON, because it may contain secrets.
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
            // Omit the decoder's own message, which could quote the file's content.
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
        // The file's own entry for this registry.
        if let found = try file.entry(for: names, repository: repository, user: user, path: path) { return found }
        if let fault { throw fault }
        return nil
    }

    /// Docker Hub has several names; other registries have one.
    static func spellings(of registry: String) -> [String] {
        registry == Reference.dockerHub ? ["docker.io", "index.docker.io", "registry-1.docker.io"] : [registry]
    }
}
