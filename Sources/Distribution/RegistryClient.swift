internal import ImageSpec
internal import NIOHTTP1
internal import Synchronization

/// Pulls from and pushes to registries.
///
/// One client serves any number of registries and tasks, which share tokens and connections. It must be shut down,
/// because it holds connections. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
package final class RegistryClient: Sendable {
    package let configuration: RegistryConfiguration
    let transport: HTTPTransport
    let authorizer: Authorizer
    /// The scheme that each insecure registry was found to use.
    let schemes = Mutex<[String: Origin.Scheme]>([:])
    /// The answers of registries at their root.
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

    /// Messages from registries for users, each once: `Warning: 299` headers.
    package var warnings: [String] { collectedWarnings.withLock { $0 } }

    /// Why credentials were unreadable that a registry requested. Public images are pulled in any case.
    package var credentialFaults: [CredentialError] { get async { await authorizer.credentialFaults } }
}

extension RegistryClient {
    /// A request for a resource of a repository.
    struct Call: Sendable {
        var method = HTTPMethod.GET
        let reference: Reference
        /// The path after `/v2/NAME/`.
        let path: String
        /// The subject of errors.
        let subject: String
        var headers = HTTPHeaders()
        /// The meaning of a 404.
        let absence: RegistryError.Reason
        var body: [UInt8]?
        /// Whether it needs push permission.
        var isPush = false

        var access: AccessScope {
            AccessScope(
                registry: reference.registry, repository: reference.repository, user: reference.user, isPush: isPush)
        }
    }

    /// Sends until the status is 2xx or in `accepting`. Other statuses are errors.
    func send(_ call: Call, accepting: Set<Int> = []) async throws(RegistryError) -> HTTPResponse {
        try await withinLimit(
            configuration.answerLimit, host: call.reference.registry, subject: call.subject
        ) { [self] note throws(RegistryError) in
            try await attempts(call, accepting: accepting, note)
        }
    }

    /// Like `send`, within the caller's time limit.
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
                // The body can be read only once, and it may be needed for the final error.
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

    /// One attempt: selects the scheme, follows redirects, answers challenges.
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
            // Only for hosts that may be used without TLS, and only if TLS itself failed. An unreachable token service,
            // for example, is no reason to send anything unencrypted.
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

    /// Sends one request, and repeats it for each challenge that can be answered.
    func authorized(
        _ call: Call, _ url: WebURL, registry: Origin, upload: UploadBody? = nil
    ) async throws(RegistryError) -> HTTPResponse {
        let isRegistry = url.origin == registry
        let reach = isRegistry ? Reach.registry : .redirect(from: registry)
        func ask(_ header: String?) async throws(RegistryError) -> HTTPResponse {
            try await transport.send(request(call, url, reach, header, upload), subject: call.subject)
        }
        // URLs of redirects contain their own authorization. A cached header is only for the origin that requested it.
        var header = try await authorizer.header(for: url.origin, call.access, isRegistry: isRegistry)
        // Twice, because a cached token may have been revoked, and the next one may have too small a scope.
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
            // Some registries hide private repositories, and send a challenge only at their root.
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
            // Registries answer in JSON. If the host has answered before, an HTML page comes from a proxy.
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
    /// Whether the host did not answer at all in its protocol.
    var isConnectionFailure: Bool {
        switch reason {
        case .tls, .speaksHTTP, .untrustedCertificate: true
        case .unreachable(let failure): failure != .nameNotFound && failure != .timedOut
        default: false
        }
    }
}
