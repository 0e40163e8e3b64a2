internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1

/// A response's head, and its body still to come.
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

    /// The whole body, which may not be longer than `limit`: a server does not decide how much memory is used.
    func collect(upTo limit: Int64) async throws(RegistryError) -> [UInt8] {
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

    /// Reads a body that nobody wants, if it is short, so that the connection can be used again.
    func discard() async {
        _ = try? await collect(upTo: 64 << 10)  // what comes of it does not matter, the connection is closed then
    }
}
