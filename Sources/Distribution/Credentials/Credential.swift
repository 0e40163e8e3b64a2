/// What proves to a registry who is asking, and where it was found. Never printed: see the conformances below.
package struct Credential: Sendable, Equatable {
    package enum Secret: Sendable, Equatable {
        case password(user: String, password: String)
        /// A refresh token, traded for bearer tokens at the token service.
        case identityToken(user: String, token: String)
        /// A bearer token, sent as it is.
        case registryToken(String)
    }

    package let secret: Secret
    package let origin: CredentialOrigin

    package init(secret: Secret, origin: CredentialOrigin) {
        self.secret = secret
        self.origin = origin
    }

    /// Part of a token's cache key.
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
    // Without this, `dump`, a failed expectation or a debugger's log would walk into the secret.
    package var customMirror: Mirror { Mirror(self, children: ["origin": origin]) }
}

extension Credential.Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "(secret)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Finds credentials. Asked only after a registry refused to answer without.
package protocol CredentialProvider: Sendable {
    /// `registry` is `HOST[:PORT]` as in a `Reference`; nil means to go on without.
    func credential(
        registry: String, repository: String, user: String?
    ) async throws(CredentialError) -> Credential?
}

/// For registries that need none, and tests.
package struct NoCredentials: CredentialProvider {
    package init() {}

    package func credential(
        registry: String, repository: String, user: String?
    ) async throws(CredentialError) -> Credential? { nil }
}
