internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import Synchronization

/// One request, one response: no redirects, no retries, no credentials of its own.
final class HTTPTransport: Sendable {
    struct Request: Sendable {
        var method: HTTPMethod = .GET
        var url: WebURL
        var headers = HTTPHeaders()
        var body: [UInt8]?
        /// In place of `body`.
        var upload: UploadBody?
    }

    /// A property of the client each, as proxies are.
    private struct Way: Hashable {
        let proxy: ProxyRules.Choice
        let isUpload: Bool
    }

    private let configuration: RegistryConfiguration
    private let certificates: Certificates
    private let clients = Mutex<[Way: HTTPClient]>([:])

    init(configuration: RegistryConfiguration) {
        self.configuration = configuration
        self.certificates = Certificates(configuration: configuration)
    }

    func shutdown() async {
        let all = clients.withLock { clients in
            defer { clients = [:] }
            return Array(clients.values)
        }
        for client in all {
            try? await client.shutdown()  // fails only where requests are still open; they end with the connections
        }
    }

    func send(_ request: Request, subject: String) async throws(RegistryError) -> HTTPResponse {
        let host = request.url.origin.authority
        let client = try client(for: request.url.origin, isUpload: request.upload != nil, subject: subject)
        var message = HTTPClientRequest(url: request.url.text)
        message.method = request.method
        message.headers = request.headers
        message.headers.add(name: "User-Agent", value: configuration.userAgent)
        if let body = request.body { message.body = .bytes(body) }
        if let upload = request.upload { message.body = .stream(upload, length: .known(upload.size)) }
        do {
            if request.url.origin.scheme == .https {
                message.tlsConfiguration = try certificates.configuration(for: request.url.origin)
            }
            // The deadline is for the head; a body is under the read time-out only. An upload's head comes after all of
            // its body, and silence is what ends it.
            let timeout: TimeAmount =
                request.upload != nil
                ? .hours(48) : .nanoseconds(Int64(configuration.smallRequestTimeout / .nanoseconds(1)))
            let response = try await client.execute(message, timeout: timeout)
            return HTTPResponse(response: response, host: host, subject: subject)
        } catch {
            var proxy: String?
            if case .through(let way) = configuration.proxies.choice(for: request.url.origin) { proxy = way.authority }
            throw RegistryError(host: host, subject: subject, reason: Self.reason(for: error), proxy: proxy)
        }
    }

    func pause(_ duration: Duration, subject: String) async throws(RegistryError) {
        do {
            try await Task.sleep(for: duration)
        } catch {
            throw RegistryError(host: "", subject: subject, reason: .cancelled)
        }
    }

    private func client(for origin: Origin, isUpload: Bool, subject: String) throws(RegistryError) -> HTTPClient {
        let choice = configuration.proxies.choice(for: origin)
        if case .invalid(let variable) = choice {
            throw RegistryError(host: origin.authority, subject: subject, reason: .proxy(variable))
        }
        let way = Way(proxy: choice, isUpload: isUpload)
        return clients.withLock { clients in
            if let client = clients[way] { return client }
            let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings(way))
            clients[way] = client
            return client
        }
    }

    private func settings(_ way: Way) -> HTTPClient.Configuration {
        var settings = HTTPClient.Configuration()
        settings.redirectConfiguration = .disallow
        // A layer's bytes are what its digest is of; nothing may unpack them on the way.
        settings.decompression = .disabled
        // Layers in parallel over one HTTP/2 connection share one congestion window; connections of their own do not.
        settings.httpVersion = .http1Only
        settings.connectionPool.retryConnectionEstablishment = false
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 16
        settings.timeout.connect = .nanoseconds(Int64(configuration.connectTimeout / .nanoseconds(1)))
        settings.timeout.read = .nanoseconds(Int64(configuration.readTimeout / .nanoseconds(1)))
        if way.isUpload {
            // Registries hash a blob, and some copy it elsewhere, before they answer.
            settings.timeout.write = settings.timeout.read
            settings.timeout.read = .nanoseconds(Int64(configuration.uploadAnswerTimeout / .nanoseconds(1)))
        }
        if case .through(let proxy) = way.proxy {
            let authorization = proxy.userinfo.map { userinfo in
                let parts = userinfo.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                return HTTPClient.Authorization.basic(
                    username: String(parts[0]), password: parts.count > 1 ? String(parts[1]) : "")
            }
            settings.proxy =
                authorization.map { .server(host: proxy.host, port: proxy.port, authorization: $0) }
                ?? .server(host: proxy.host, port: proxy.port)
        }
        return settings
    }
}
