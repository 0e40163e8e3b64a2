internal import ImageSpec

/// What a request is for, as far as authorization goes.
struct AccessScope: Hashable, Sendable {
    /// `HOST[:PORT]` as in the reference, under which credentials are kept.
    let registry: String
    let repository: String
    let user: String?
    var isPush = false

    /// The scope asked for where a challenge names none.
    var scope: String { "repository:\(repository):\(isPush ? "pull,push" : "pull")" }
}

/// Answers challenges, and remembers the answers: tokens are fetched once however many layers ask at a time.
actor Authorizer {
    private struct TokenKey: Hashable {
        let origin: Origin
        let realm: String
        let service: String
        let scopes: [String]
        let user: String?
    }

    /// How an origin wants to be asked about a scope; known after its first challenge.
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

    /// The header to send without having been asked; nil before the first challenge.
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

    /// Answers a 401. `rejected` is the header that was refused, if one was sent; nil means there is nothing to send.
    ///
    /// An origin that is not the registry itself, where a redirect led, is answered without credentials: they are the
    /// registry's, and it must not be able to have them handed to somebody else (CVE-2020-15157).
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
            // Only the very token that was refused is thrown away; another task may have fetched a newer one.
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

    /// Where the credentials used for a scope came from, for an error to name.
    func origin(of access: AccessScope) -> CredentialOrigin? { (found[access] ?? nil)?.origin }

    /// Why credentials for a scope could not be read, although there may be some.
    func credentialError(of access: AccessScope) -> CredentialError? { credentialErrors[access] }

    /// Why credentials that were looked for could not be read, each reason once.
    var credentialFaults: [CredentialError] {
        var faults: [CredentialError] = []
        for fault in credentialErrors.values where !faults.contains(fault) { faults.append(fault) }
        return faults
    }

    /// Whether there are credentials for a scope, or there might be if they could be read.
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
            // A public image is pulled all the same. Where the registry refuses, this is the reason that is reported.
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
            // Only the place is named: a realm may carry anything behind it.
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
            // The wait for the credential may have let another caller start the fetch.
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
