internal import ImageSpec
internal import NIOHTTP1
internal import Synchronization

/// Pulls from registries, and pushes to them.
///
/// One client serves any number of registries and tasks; tokens and connections are shared between them. It holds
/// connections, so it has to be shut down.
/// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
package final class RegistryClient: Sendable {
    package let configuration: RegistryConfiguration
    let transport: HTTPTransport
    let authorizer: Authorizer
    /// The scheme that an insecure registry was found to speak.
    let schemes = Mutex<[String: Origin.Scheme]>([:])
    /// What registries answered at their root.
    let welcomes = Mutex<[AccessScope: Welcome]>([:])
    private let collectedWarnings = Mutex<[String]>([])

    package init(
        configuration: RegistryConfiguration = RegistryConfiguration(),
        credentials: any CredentialProvider = NoCredentials()
    ) {
        self.configuration = configuration
        transport = HTTPTransport(configuration: configuration)
        authorizer = Authorizer(
            credentials: credentials,
            tokens: TokenService(
                transport: transport, retry: configuration.retry, limit: configuration.answerLimit))
    }

    package func shutdown() async { await transport.shutdown() }

    /// What registries asked to be told to people, each once: `Warning: 299` headers.
    package var warnings: [String] { collectedWarnings.withLock { $0 } }

    /// Why credentials could not be read although a registry asked for some. A public image is pulled all the same.
    package var credentialFaults: [CredentialError] { get async { await authorizer.credentialFaults } }
}

extension RegistryClient {
    /// A request for something of a repository.
    struct Call: Sendable {
        var method = HTTPMethod.GET
        let reference: Reference
        /// After `/v2/NAME/`.
        let path: String
        /// For errors.
        let subject: String
        var headers = HTTPHeaders()
        /// What a 404 means here.
        let absence: RegistryError.Reason
        var body: [UInt8]?
        /// Needs the right to change the repository.
        var isPush = false

        var access: AccessScope {
            AccessScope(
                registry: reference.registry, repository: reference.repository, user: reference.user, isPush: isPush)
        }
    }

    /// Sends until there is an answer of the 2xx kind, or `accepting`; every other answer is an error.
    func send(_ call: Call, accepting: Set<Int> = []) async throws(RegistryError) -> HTTPResponse {
        try await withinLimit(
            configuration.answerLimit, host: call.reference.registry, subject: call.subject
        ) { [self] note throws(RegistryError) in
            try await attempts(call, accepting: accepting, note)
        }
    }

    /// As `send`, for who has the limit of time.
    func attempts(
        _ call: Call, accepting: Set<Int> = [], _ note: FailureNote
    ) async throws(RegistryError) -> HTTPResponse {
        var attempts = Attempts(configuration.retry)
        while true {
            var wait: Duration
            do throws(RegistryError) {
                let response = try await exchange(call)
                noteWarnings(response.headers)
                if 200..<300 ~= response.status || accepting.contains(response.status) { return response }
                let isTransient = RetryPolicy.isTransient(response.status)
                let asked = response.retryAfter
                guard isTransient, asked ?? .zero <= configuration.retry.longestRetryAfter,
                    let pause = attempts.next(after: nil, heard: transport.hasHeard(from: response.host))
                else { throw await failure(response, call) }
                wait = max(pause, asked ?? .zero)
                // Its body is read only once, and here it may be wanted in the end.
                note.set(await failure(response, call))
            } catch {
                guard error.mayPass,
                    let pause = attempts.next(after: error, heard: transport.hasHeard(from: error.host))
                else { throw error }
                wait = pause
                note.set(error)
            }
            try await transport.pause(wait, subject: call.subject)
        }
    }

    /// One round: picks the scheme, follows redirects, answers challenges.
    private func exchange(_ call: Call) async throws(RegistryError) -> HTTPResponse {
        let registry = call.reference.registry
        let known = schemes.withLock { $0[registry] }
        let https = try origin(.https, call)
        if let known { return try await exchange(call, from: try origin(known, call)) }
        guard configuration.isInsecure(https) else { return try await exchange(call, from: https) }
        do throws(RegistryError) {
            let response = try await exchange(call, from: https)
            schemes.withLock { $0[registry] = .https }
            return response
        } catch {
            // Only a host that may do without TLS comes here, and only if TLS itself is what failed: a token service
            // that cannot be reached, say, is no reason to send anything in the clear.
            guard error.host == https.authority, error.isConnectionFailure else { throw error }
            let response: HTTPResponse
            do throws(RegistryError) {
                response = try await exchange(call, from: try origin(.http, call))
            } catch let second {
                throw second.isConnectionFailure ? error : second
            }
            schemes.withLock { $0[registry] = .http }
            return response
        }
    }

    func origin(_ scheme: Origin.Scheme, _ call: Call) throws(RegistryError) -> Origin {
        guard let origin = Origin(scheme: scheme, authority: call.reference.endpoint) else {
            throw RegistryError(
                host: call.reference.registry, subject: call.subject, reason: .unreachable(.nameNotFound))
        }
        return origin
    }

    private func exchange(_ call: Call, from registry: Origin) async throws(RegistryError) -> HTTPResponse {
        var url = WebURL(origin: registry, target: "/v2/\(call.reference.repository)/\(call.path)")
        for _ in 0...Redirect.maximum {
            let response = try await authorized(call, url, registry: registry)
            guard Redirect.isRedirect(response.status) else { return response }
            await response.discard()
            url = try Redirect.next(
                response, from: url, registry: registry, configuration: configuration)
        }
        throw RegistryError(
            host: url.origin.authority, subject: call.subject,
            reason: .refusedRedirect(.tooMany, to: url.origin.description))
    }

    /// One request, and once more for each challenge that can be answered anew.
    func authorized(
        _ call: Call, _ url: WebURL, registry: Origin, upload: UploadBody? = nil
    ) async throws(RegistryError) -> HTTPResponse {
        let isRegistry = url.origin == registry
        let reach = isRegistry ? Reach.registry : .redirect(from: registry)
        func ask(_ header: String?) async throws(RegistryError) -> HTTPResponse {
            try await transport.send(request(call, url, reach, header, upload), subject: call.subject)
        }
        // Where a redirect led, the URL carries its own permission; a cached header is only for whoever asked for it.
        var header = try await authorizer.header(for: url.origin, call.access, isRegistry: isRegistry)
        // Twice: a cached token may have been revoked, and the scope of the next may turn out too small.
        for _ in 0..<2 {
            let response = try await ask(header)
            let answer: String?
            switch response.status {
            case 401:
                let challenges = AuthenticationChallenge.parse(response.headers["WWW-Authenticate"])
                let answered = try await authorizer.answer(
                    challenges, from: url.origin, call.access, isRegistry: isRegistry, rejected: header)
                answer =
                    answered == nil && challenges.isEmpty && header == nil && isRegistry
                    ? try await introduction(call, registry) : answered
            // Some registries hide from strangers what is private, and say only at their root how to log in.
            case 403 where header == nil && isRegistry, 404 where header == nil && isRegistry:
                answer = try await introduction(call, registry)
            default: answer = nil
            }
            guard let answer else { return response }
            await response.discard()
            header = answer
        }
        return try await ask(header)
    }

    private func request(
        _ call: Call, _ url: WebURL, _ reach: Reach, _ authorization: String?, _ upload: UploadBody?
    ) -> HTTPTransport.Request {
        var request = HTTPTransport.Request(
            method: call.method, url: url, reach: reach, headers: call.headers, body: call.body)
        request.upload = upload
        if let authorization { request.headers.replaceOrAdd(name: "Authorization", value: authorization) }
        return request
    }

    func noteWarnings(_ headers: HTTPHeaders) {
        for header in headers["Warning"] where header.hasPrefix("299 - \"") && header.hasSuffix("\"") {
            let text = RegistryError.clean(String(header.dropFirst(7).dropLast()))
            collectedWarnings.withLock { warnings in
                if warnings.count < 16, !warnings.contains(text) { warnings.append(text) }
            }
        }
    }

    func failure(_ response: HTTPResponse, _ call: Call) async -> RegistryError {
        let credential = await authorizer.origin(of: call.access)
        let errors = ServerErrors(body: await response.excerpt())
        let credentialError = await authorizer.credentialError(of: call.access)
        let isHidden = response.status == 404 && welcomes.withLock { $0[call.access] } == .challenge
        if let credentialError, [401, 403].contains(response.status) || isHidden {
            return response.error(.credentials(credentialError))
        }
        if call.isPush, let reason = Self.pushReason(response.status, errors, credential) {
            return response.error(reason)
        }
        switch response.status {
        case 401: return response.error(.unauthorized(credential, message: errors.message))
        case 403: return response.error(.denied(credential, message: errors.message))
        case 404:
            if errors.codes.contains("NAME_UNKNOWN") { return response.error(.nameUnknown) }
            // A registry's own words are JSON; once it has answered, a page is a proxy's.
            if response.isWebPage, errors.codes.isEmpty, !transport.hasHeard(from: response.host) {
                return response.error(.notARegistry)
            }
            return response.error(call.absence)
        case 429: return response.error(.tooManyRequests(retryAfter: response.retryAfter))
        default:
            if response.isWebPage, 400..<500 ~= response.status { return response.error(.notARegistry) }
            return response.error(.unexpectedStatus(response.status, message: errors.message))
        }
    }
}

extension RegistryError {
    /// Whether nothing was heard from the host at all, in its protocol.
    var isConnectionFailure: Bool {
        switch reason {
        case .tls, .speaksHTTP, .untrustedCertificate: true
        case .unreachable(let failure): failure != .nameNotFound && failure != .timedOut
        default: false
        }
    }
}
