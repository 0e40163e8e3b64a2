import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// An HTTP server on a free loopback port that answers as a test specifies, including wrong answers.
final class FaultyServer: Sendable {
    struct Request: Sendable {
        let method: HTTPMethod
        let uri: String
        let headers: HTTPHeaders
        let body: String
        /// Counts requests to the same path, from 0.
        let attempt: Int

        var path: String { String(uri.prefix { $0 != "?" }) }
        var authorization: String? { headers.first(name: "Authorization") }
    }

    struct Reply: Sendable {
        var status = HTTPResponseStatus.ok
        var headers: [(String, String)] = []
        var body: [UInt8] = []
        /// The value of Content-Length, if it is wrong.
        var claimedLength: Int?
        /// Closes the connection after this many bytes of the body.
        var breaksAfter: Int?
        /// Sends the head and then nothing.
        var stalls = false

        static func status(_ status: HTTPResponseStatus, _ headers: (String, String)...) -> Reply {
            Reply(status: status, headers: headers)
        }

        static func json(_ text: String, type: String = "application/json") -> Reply {
            Reply(headers: [("Content-Type", type)], body: Array(text.utf8))
        }
    }

    typealias Handler = @Sendable (Request) -> Reply

    private let channel: any Channel
    private let log: Log
    let port: Int
    private let host: String

    final class Log: Sendable {
        private let requests = Mutex<[Request]>([])

        func add(_ method: HTTPMethod, _ uri: String, _ headers: HTTPHeaders, _ body: String) -> Request {
            requests.withLock { requests in
                let path = uri.prefix { $0 != "?" }
                let attempt = requests.count { $0.path == path }
                let request = Request(method: method, uri: uri, headers: headers, body: body, attempt: attempt)
                requests.append(request)
                return request
            }
        }

        var all: [Request] { requests.withLock { $0 } }
    }

    init(host: String = "127.0.0.1", port: Int = 0, _ handler: @escaping Handler) async throws {
        let log = Log()
        self.log = log
        self.host = host
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
                    try channel.pipeline.syncOperations.addHandler(Connection(handler: handler, log: log))
                }
            }
            .bind(host: host, port: port).get()
        self.port = channel.localAddress?.port ?? 0
    }

    var requests: [Request] { log.all }
    var authority: String { "\(host):\(port)" }
    var url: String { "http://\(authority)" }

    func stop() async { try? await channel.close() }

    /// Starts a server, runs a test against it, and stops it.
    static func with<Value: Sendable>(
        _ handler: @escaping Handler, _ body: (FaultyServer) async throws -> Value
    ) async throws -> Value {
        let server = try await FaultyServer(handler)
        do {
            let value = try await body(server)
            await server.stop()
            return value
        } catch {
            await server.stop()
            throw error
        }
    }
}

private final class Connection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let handler: FaultyServer.Handler
    private let log: FaultyServer.Log
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []

    init(handler: @escaping FaultyServer.Handler, log: FaultyServer.Log) {
        self.handler = handler
        self.log = log
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = []
        case .body(let part): body += part.readableBytesView
        case .end:
            guard let head else { return }
            let request = log.add(head.method, head.uri, head.headers, String(decoding: body, as: UTF8.self))
            answer(handler(request), head, context)
        }
    }

    private func answer(_ reply: FaultyServer.Reply, _ request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        var headers = HTTPHeaders(reply.headers)
        headers.replaceOrAdd(name: "Content-Length", value: String(reply.claimedLength ?? reply.body.count))
        let head = HTTPResponseHead(version: .http1_1, status: reply.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if reply.stalls {
            context.flush()
            return
        }
        let sent = request.method == .HEAD ? [] : Array(reply.body.prefix(reply.breaksAfter ?? .max))
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: sent)))), promise: nil)
        if reply.breaksAfter != nil {
            let channel = context.channel
            context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer())))).whenComplete { _ in
                channel.close(promise: nil)
            }
        } else {
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A TLS handshake on a plain port: close the connection, as Go's servers do.
        context.close(promise: nil)
    }
}
