/// Credentials for a registry and their source. Never printed: see the conformances below.
package struct Credential: Sendable, Equatable {
    package enum Secret: Sendable, Equatable {
        case password(user: String, password: String)
        /// A refresh token, which the token service exchanges for bearer tokens.
        case identityToken(user: String, token: String)
        /// A bearer token, which is sent unchanged.
        case registryToken(String)
    }

    package let secret: Secret
    package let origin: CredentialOrigin

    package init(secret: Secret, origin: CredentialOrigin) {
        self.secret = secret
        self.origin = origin
    }

    /// A part of the key of cached tokens.
    var user: String {
        switch secret {
        case .password(let user, _), .identityToken(let user, _): user
        case .registryToken: ""
        }
    }
}

extension Credential: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "credential from \(origin)" }
    package var debugDescription: String { description }
    // Without this, `dump`, a failed expectation or a debugger's log would show the secret.
    package var customMirror: Mirror { Mirror(self, children: ["origin": origin]) }
}

extension Credential.Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "(secret)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Finds credentials. Called only after a registry has requested authentication.
package protocol CredentialProvider: Sendable {
    /// `registry` is `HOST[:PORT]` as in a `Reference`. Returns `nil` to continue without credentials.
    func credential(
        registry: String, repository: String, user: String?
    ) async throws(CredentialError) -> Credential?
}

/// For public registries and tests.
package struct NoCredentials: CredentialProvider {
    package init() {}

    package func credential(
        registry: String, repository: String, user: String?
    ) async throws(CredentialError) -> Credential? { nil }
}
