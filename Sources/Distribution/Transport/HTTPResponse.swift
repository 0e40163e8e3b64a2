internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1

/// The head of a response; the body is still unread.
struct HTTPResponse: Sendable {
    let status: Int
    let headers: HTTPHeaders
    let host: String
    let subject: String
    let body: HTTPClientResponse.Body

    init(response: HTTPClientResponse, host: String, subject: String) {
        self.status = Int(response.status.code)
        self.headers = response.headers
        self.body = response.body
        self.host = host
        self.subject = subject
    }

    var contentLength: Int64? { headers.first(name: "Content-Length").flatMap { Int64($0) } }

    var retryAfter: Duration? {
        RetryPolicy.retryAfter(headers.first(name: "Retry-After"), date: headers.first(name: "Date"))
    }

    func error(_ reason: RegistryError.Reason) -> RegistryError {
        RegistryError(host: host, subject: subject, reason: reason)
    }

    /// The compression of the body beyond its media type, although the request did not allow it.
    ///
    /// https://www.rfc-editor.org/rfc/rfc9110#section-8.4
    var contentEncoding: String? {
        let names = headers[canonicalForm: "Content-Encoding"].map { $0.lowercased() }
            .filter { !$0.isEmpty && $0 != "identity" }
        return names.isEmpty ? nil : RegistryError.clean(names.joined(separator: ", "), limit: 40)
    }

    /// Reads the body up to `limit` bytes, so that a server cannot exhaust the memory.
    func collect(upTo limit: Int64) async throws(RegistryError) -> [UInt8] {
        if let contentEncoding { throw error(.contentEncoding(contentEncoding)) }
        if let contentLength, contentLength > limit { throw error(.tooLarge(limit: limit)) }
        var bytes: [UInt8] = []
        do {
            for try await part in body {
                guard Int64(bytes.count + part.readableBytes) <= limit else { throw error(.tooLarge(limit: limit)) }
                bytes.append(contentsOf: part.readableBytesView)
            }
        } catch {
            throw self.error(HTTPTransport.reason(for: error))
        }
        return bytes
    }

    /// Whether the body is an HTML page.
    var isWebPage: Bool {
        headers.first(name: "Content-Type")?.lowercased().hasPrefix("text/html") == true
    }

    /// Reads a short body within a few seconds, for the server's message; otherwise returns an empty array.
    func excerpt() async -> [UInt8] {
        do throws(RegistryError) {
            return try await withinLimit(.seconds(5), host: host, subject: subject) { _ throws(RegistryError) in
                try await collect(upTo: 64 << 10)
            }
        } catch {
            return []
        }
    }

    /// Reads a short body that is not needed, so that the connection can be reused. Otherwise closes the connection.
    func discard() async { _ = await excerpt() }
}
