internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import Synchronization

/// Sends one request: no redirects, no retries, no credentials.
final class HTTPTransport: Sendable {
    struct Request: Sendable {
        var method: HTTPMethod = .GET
        var url: WebURL
        let reach: Reach
        var headers = HTTPHeaders()
        var body: [UInt8]?
        /// Replaces `body`.
        var upload: UploadBody?
    }

    /// What distinguishes clients. Each value has a client of its own.
    private struct Way: Hashable {
        let origin: Origin
        let reach: Reach
        let proxy: ProxyRules.Choice
        let isUpload: Bool
    }

    private let configuration: RegistryConfiguration
    private let certificates: Certificates
    private struct Clients {
        var open: [Way: HTTPClient] = [:]
        /// A task may continue briefly after its caller has given up.
        var isShutDown = false
    }

    private let clients = Mutex(Clients())
    private let addresses = PeerAddresses()
    /// The `HOST[:PORT]` of hosts that have answered a request.
    private let heard = Mutex<Set<String>>([])

    init(configuration: RegistryConfiguration) {
        self.configuration = configuration
        self.certificates = Certificates(configuration: configuration)
    }

    func shutdown() async {
        let all = clients.withLock { clients in
            defer { clients = Clients(isShutDown: true) }
            return Array(clients.open.values)
        }
        for client in all {
            try? await client.shutdown()  // open requests end
        }
    }

    func send(_ request: Request, subject: String) async throws(RegistryError) -> HTTPResponse {
        let host = request.url.origin.authority
        let client = try client(for: request, subject: subject)
        var message = HTTPClientRequest(url: request.url.text)
        message.method = request.method
        message.headers = request.headers
        message.headers.add(name: "User-Agent", value: configuration.userAgent)
        // Ranges and digests refer to the bytes as stored in the registry.
        message.headers.add(name: "Accept-Encoding", value: "identity")
        if let body = request.body { message.body = .bytes(body) }
        if let upload = request.upload { message.body = .stream(upload, length: .known(upload.size)) }
        do {
            if request.url.origin.scheme == .https {
                message.tlsConfiguration = try certificates.configuration(for: request.url.origin)
            }
            // The deadline is for the final head, including interim responses. The head of an upload's response comes
            // after its body.
            let timeout = request.upload.map { configuration.uploadLimit(of: $0.size) } ?? configuration.headTimeout
            let response = try await client.execute(
                message, timeout: .nanoseconds(Int64(timeout / .nanoseconds(1))))
            if 200..<300 ~= response.status.code { heard.withLock { _ = $0.insert(host) } }
            return HTTPResponse(response: response, host: host, subject: subject)
        } catch let error as RefusedAddress {
            throw RegistryError(
                host: request.reach.chosenBy?.authority ?? host, subject: subject,
                reason: request.reach.refusal(of: request.url.origin, at: error.address))
        } catch {
            var proxy: String?
            if case .through(let way) = configuration.proxies.choice(for: request.url.origin) { proxy = way.authority }
            throw RegistryError(host: host, subject: subject, reason: Self.reason(for: error), proxy: proxy)
        }
    }

    /// Whether a host has answered before, so that a failure now is an interruption rather than a typing error.
    func hasHeard(from host: String) -> Bool { heard.withLock { $0.contains(host) } }

    func pause(_ duration: Duration, subject: String) async throws(RegistryError) {
        do {
            try await Task.sleep(for: duration)
        } catch {
            throw RegistryError(host: "", subject: subject, reason: .cancelled)
        }
    }

    private func client(for request: Request, subject: String) throws(RegistryError) -> HTTPClient {
        let origin = request.url.origin
        let choice = configuration.proxies.choice(for: origin)
        if case .invalid(let variable) = choice {
            throw RegistryError(host: origin.authority, subject: subject, reason: .proxy(variable))
        }
        let way = Way(
            origin: origin, reach: request.reach, proxy: choice, isUpload: request.upload != nil)
        let client = clients.withLock { clients -> HTTPClient? in
            if let client = clients.open[way] { return client }
            if clients.isShutDown { return nil }
            let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings(way))
            clients.open[way] = client
            return client
        }
        guard let client else { throw RegistryError(host: origin.authority, subject: subject, reason: .cancelled) }
        return client
    }

    private func settings(_ way: Way) -> HTTPClient.Configuration {
        var settings = HTTPClient.Configuration()
        settings.redirectConfiguration = .disallow
        // Digests refer to the transferred bytes, so nothing may decompress them.
        settings.decompression = .disabled
        // A proxy resolves the name of its target itself.
        if way.proxy == .direct {
            settings.http1_1ConnectionDebugInitializer = { [addresses] channel in
                addresses.judge(channel, way.origin, way.reach)
            }
        }
        // Parallel layers over one HTTP/2 connection would share one congestion window.
        settings.httpVersion = .http1Only
        settings.connectionPool.retryConnectionEstablishment = false
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 16
        settings.timeout.connect = .nanoseconds(Int64(configuration.connectTimeout / .nanoseconds(1)))
        settings.timeout.read = .nanoseconds(Int64(configuration.readTimeout / .nanoseconds(1)))
        if way.isUpload {
            // Registries hash a blob, and some copy it, before they answer.
            settings.timeout.write = settings.timeout.read
            settings.timeout.read = .nanoseconds(Int64(configuration.uploadAnswerTimeout / .nanoseconds(1)))
        }
        if case .through(let proxy) = way.proxy {
            let authorization = proxy.userinfo.map { userinfo in
                // Compare bytes, because a combining mark after a colon would form one character with it.
                let colon = userinfo.utf8.firstIndex(of: UInt8(ascii: ":")) ?? userinfo.endIndex
                return HTTPClient.Authorization.basic(
                    username: String(userinfo[..<colon]),
                    password: String(userinfo.utf8[colon...].dropFirst()) ?? "")
            }
            settings.proxy =
                authorization.map { .server(host: proxy.host, port: proxy.port, authorization: $0) }
                ?? .server(host: proxy.host, port: proxy.port)
        }
        return settings
    }
}
