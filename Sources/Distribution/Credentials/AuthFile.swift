internal import FoundationEssentials
internal import ImageSpec

/// The parts of Docker's `config.json` and containers' `auth.json` that concern credentials.
///
/// https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
struct AuthFile: Decodable {
    var auths: [String: LenientEntry] = [:]
    var credsStore: String?
    var credHelpers: [String: String] = [:]

    struct Entry: Decodable {
        var auth: String?
        var username: String?
        var password: String?
        var identitytoken: String?
        var registrytoken: String?
    }

    /// Accepts invalid entries, because an entry of another registry must not prevent the pull.
    struct LenientEntry: Decodable {
        /// `nil` if the entry is null or invalid.
        let entry: Entry?
        let isBroken: Bool

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            let isNull = container.decodeNil()
            entry = isNull ? nil : try? container.decode(Entry.self)  // see `isBroken`
            isBroken = !isNull && entry == nil
        }
    }

    init(auths: [String: LenientEntry]) { self.auths = auths }

    /// Docker reads it with Go's encoding/json, which ignores the case of keys.
    static let shape = DocumentShape.object(["auths": legacyShape, "credsStore": .any, "credHelpers": .map])
    static let legacyShape = DocumentShape.entries(
        .object(["auth": .any, "username": .any, "password": .any, "identitytoken": .any, "registrytoken": .any]))

    private enum Key: String, CodingKey { case auths, credsStore, credHelpers }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        auths = try container.decodeIfPresent([String: LenientEntry].self, forKey: .auths) ?? [:]
        credsStore = try container.decodeIfPresent(String.self, forKey: .credsStore)
        credHelpers = try (container.decodeIfPresent([String: String?].self, forKey: .credHelpers) ?? [:])
            .compactMapValues { $0 }
    }

    /// The helper for a registry; empty if the file disables helpers for it.
    func helper(for names: [String]) -> String? {
        let named = credHelpers.sorted { $0.key < $1.key }.first { names.contains(Self.normalized($0.key)) }
        return named?.value ?? credsStore
    }

    /// The entry with the longest matching prefix of `HOST/REPOSITORY`, by whole components.
    func entry(
        for names: [String], repository: String, user: String?, path: String
    ) throws(CredentialError) -> Credential? {
        let entries = auths.map { (key: Self.normalized($0.key), raw: $0.key, entry: $0.value) }
            .sorted { $0.raw < $1.raw }
        for name in names {
            var scope = "\(name)/\(repository)"
            while true {
                for (_, raw, entry) in entries.filter({ $0.key == scope }) {
                    if entry.isBroken {
                        throw .malformed(file: path, detail: "auths[\"\(raw)\"] is not an object of strings")
                    }
                    guard let credential = try entry.entry?.credential(key: raw, path: path) else { continue }
                    if user == nil || credential.user == user { return credential }
                }
                guard let slash = scope.lastIndex(of: "/") else { break }
                scope = String(scope[..<slash])
            }
        }
        return nil
    }

    /// Docker's keys may be URLs, such as `https://index.docker.io/v1/`, of which only the host counts. Keys without a
    /// scheme may include a path, as in containers' files.
    static func normalized(_ key: String) -> String {
        for scheme in ["https://", "http://"] where key.hasPrefix(scheme) {
            return key.dropFirst(scheme.count).prefix { $0 != "/" }.lowercased()
        }
        let trimmed = key.hasSuffix("/") ? String(key.dropLast()) : key
        guard let slash = trimmed.utf8.firstIndex(of: UInt8(ascii: "/")) else { return trimmed.lowercased() }
        return trimmed[..<slash].lowercased() + trimmed[slash...]
    }
}

extension AuthFile.Entry {
    /// Returns `nil` for the empty entries that Docker writes if a helper holds the secret.
    fileprivate func credential(key: String, path: String) throws(CredentialError) -> Credential? {
        let origin = CredentialOrigin.file(path)
        var user = username ?? ""
        var password = password ?? ""
        if let auth, !auth.isEmpty {
            let base64 = String(auth.filter { !$0.isWhitespace })
            let padded = base64 + String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
            // The password may contain a colon, but not the user's name. Some tools append NUL.
            guard let data = Data(base64Encoded: padded), let colon = data.firstIndex(of: UInt8(ascii: ":")) else {
                throw .malformed(file: path, detail: "auths[\"\(key)\"].auth is not base64 of USER:PASSWORD")
            }
            user = String(decoding: data[..<colon], as: UTF8.self)
            var secret = data[(colon + 1)...]
            while secret.last == 0 { secret.removeLast() }
            password = String(decoding: secret, as: UTF8.self)
        }
        if let token = registrytoken, !token.isEmpty {
            return Credential(secret: .registryToken(token), origin: origin)
        }
        if let token = identitytoken, !token.isEmpty {
            return Credential(secret: .identityToken(user: user, token: token), origin: origin)
        }
        guard !user.isEmpty || !password.isEmpty else { return nil }
        if user == CredentialHelper.tokenUser {
            return Credential(secret: .identityToken(user: "", token: password), origin: origin)
        }
        return Credential(secret: .password(user: user, password: password), origin: origin)
    }
}
