internal import ImageSpec

/// The purpose of a request with regard to authorization.
struct AccessScope: Hashable, Sendable {
    /// `HOST[:PORT]` of the reference, by which credentials are stored.
    let registry: String
    let repository: String
    let user: String?
    var isPush = false

    /// The scope to request if a challenge has none.
    var scope: String { "repository:\(repository):\(isPush ? "pull,push" : "pull")" }
}

/// Answers challenges and caches the tokens. Concurrent requests share one fetch of a token.
actor Authorizer {
    private struct TokenKey: Hashable {
        let origin: Origin
        let realm: String
        let service: String
        let scopes: [String]
        let user: String?
    }

    /// How an origin authenticates a scope, known after its first challenge.
    private enum Method: Sendable {
        case bearer(TokenKey, realm: WebURL)
        case fixed(header: String)
    }

    private struct Place: Hashable {
        let origin: Origin
        let access: AccessScope
    }

    private let credentials: any CredentialProvider
    private let tokens: TokenService
    private var methods: [Place: Method] = [:]
    private var cache: [TokenKey: BearerToken] = [:]
    private var fetching: [TokenKey: Task<Result<BearerToken, RegistryError>, Never>] = [:]
    private var found: [AccessScope: Credential?] = [:]
    private var credentialErrors: [AccessScope: CredentialError] = [:]

    init(credentials: any CredentialProvider, tokens: TokenService) {
        self.credentials = credentials
        self.tokens = tokens
    }

    /// The header to send without a challenge; `nil` before the first challenge.
    func header(
        for origin: Origin, _ access: AccessScope, isRegistry: Bool
    ) async throws(RegistryError) -> String? {
        guard let method = methods[Place(origin: origin, access: access)] else { return nil }
        switch method {
        case .fixed(let header): return header
        case .bearer(let key, let realm):
            return "Bearer \(try await token(key, realm: realm, access: access, isRegistry: isRegistry).value)"
        }
    }

    /// Answers a 401. `rejected` is the header that was rejected, if any. Returns `nil` if there is nothing to send.
    ///
    /// The target of a redirect gets no credentials: they belong to the registry, which must not be able to forward
    /// them to another host (CVE-2020-15157).
    func answer(
        _ challenges: [AuthenticationChallenge], from origin: Origin, _ access: AccessScope, isRegistry: Bool,
        rejected: String?
    ) async throws(RegistryError) -> String? {
        let place = Place(origin: origin, access: access)
        if let bearer = challenges.first(where: { $0.scheme == "bearer" }) {
            if let credential = await credential(access, isRegistry: isRegistry),
                case .registryToken(let token) = credential.secret
            {
                return remember(.fixed(header: "Bearer \(token)"), place, rejected: rejected)
            }
            let (key, realm) = try await method(bearer, origin: origin, access: access, isRegistry: isRegistry)
            // Discard only the rejected token, because another task may have fetched a newer one.
            if let token = cache[key], "Bearer \(token.value)" == rejected { cache[key] = nil }
            methods[place] = .bearer(key, realm: realm)
            let header = "Bearer \(try await token(key, realm: realm, access: access, isRegistry: isRegistry).value)"
            return header == rejected ? nil : header
        }
        if challenges.contains(where: { $0.scheme == "basic" }),
            let credential = await credential(access, isRegistry: isRegistry),
            case .password(let user, let password) = credential.secret
        {
            return remember(
                .fixed(header: TokenService.basic(user: user, password: password)), place, rejected: rejected)
        }
        return nil
    }

    /// The source of the credentials used for a scope, for error messages.
    func origin(of access: AccessScope) -> CredentialOrigin? { (found[access] ?? nil)?.origin }

    /// Why the credentials for a scope are unreadable.
    func credentialError(of access: AccessScope) -> CredentialError? { credentialErrors[access] }

    /// Why credentials were unreadable; each reason once.
    var credentialFaults: [CredentialError] {
        var faults: [CredentialError] = []
        for fault in credentialErrors.values where !faults.contains(fault) { faults.append(fault) }
        return faults
    }

    /// Whether a scope has credentials, including unreadable ones.
    func mayHaveCredentials(for access: AccessScope) async -> Bool {
        let credential = await credential(access, isRegistry: true)
        return credential != nil || credentialErrors[access] != nil
    }

    private func remember(_ method: Method, _ place: Place, rejected: String?) -> String? {
        guard case .fixed(let header) = method, header != rejected else { return nil }
        methods[place] = method
        return header
    }

    private func credential(_ access: AccessScope, isRegistry: Bool) async -> Credential? {
        guard isRegistry else { return nil }
        if let known = found[access] { return known }
        do throws(CredentialError) {
            let credential = try await credentials.credential(
                registry: access.registry, repository: access.repository, user: access.user)
            found[access] = .some(credential)
            return credential
        } catch {
            // Continue, because the image may be public. If the registry denies access, this error is reported.
            credentialErrors[access] = error
            found[access] = .some(nil)
            return nil
        }
    }

    private func method(
        _ challenge: AuthenticationChallenge, origin: Origin, access: AccessScope, isRegistry: Bool
    ) async throws(RegistryError) -> (TokenKey, WebURL) {
        let realm = challenge.parameters["realm"] ?? ""
        switch Realm.url(realm, askedBy: origin) {
        case .success(let url):
            let scopes = challenge.parameters["scope"]?.split(separator: " ").map(String.init) ?? []
            let key = TokenKey(
                origin: origin, realm: realm, service: challenge.parameters["service"] ?? "",
                scopes: scopes.isEmpty ? [access.scope] : scopes,
                user: await credential(access, isRegistry: isRegistry)?.user)
            return (key, url)
        case .failure(let refusal):
            // Report only the origin, because the rest of a realm may contain a secret.
            let place = WebURL(parsing: realm)?.origin.description ?? RegistryError.clean(realm, limit: 80)
            throw RegistryError(
                host: origin.authority, subject: access.scope, reason: .refusedRealm(refusal.fault, realm: place))
        }
    }

    private func token(
        _ key: TokenKey, realm: WebURL, access: AccessScope, isRegistry: Bool
    ) async throws(RegistryError) -> BearerToken {
        if let token = cache[key], token.isFresh(at: .now) { return token }
        let task: Task<Result<BearerToken, RegistryError>, Never>
        if let running = fetching[key] {
            task = running
        } else {
            let credential = await credential(access, isRegistry: isRegistry)
            // Another caller may have started the fetch while this one waited for the credential.
            if let running = fetching[key] {
                task = running
            } else {
                let request = TokenService.Request(
                    realm: realm, reach: realm.origin == key.origin ? .registry : .realm(of: key.origin),
                    service: key.service, scopes: key.scopes, credential: credential)
                task = Task { [tokens] in
                    do throws(RegistryError) {
                        return .success(try await tokens.fetch(request))
                    } catch {
                        return .failure(error)
                    }
                }
                fetching[key] = task
            }
        }
        guard let result = await valueUnlessCancelled(task) else {
            throw RegistryError(host: realm.origin.authority, subject: access.scope, reason: .cancelled)
        }
        fetching[key] = nil
        do throws(RegistryError) {
            let token = try result.get()
            cache[key] = token
            return token
        } catch {
            switch (error.reason, credentialErrors[access]) {
            case (.unauthorized, let cause?), (.denied, let cause?):
                throw RegistryError(host: error.host, subject: error.subject, reason: .credentials(cause))
            default: throw error
            }
        }
    }
}
