import NIOCore
import NIOPosix
import Synchronization

/// A server on loopback that answers each request with arbitrary bytes.
final class RawServer: Sendable {
    enum Step: Sendable {
        case send([UInt8])
        /// Repeats until the connection ends.
        case repeating([UInt8], every: TimeAmount)
        case close

        static func send(_ text: String) -> Step { .send(Array(text.utf8)) }
        static func repeating(_ text: String, every pause: TimeAmount) -> Step {
            .repeating(Array(text.utf8), every: pause)
        }
    }

    private let channel: any Channel
    private let counter = Counter()
    let authority: String

    private final class Counter: Sendable {
        let requests = Mutex(0)
    }

    var requests: Int { counter.requests.withLock { $0 } }

    init(_ steps: @escaping @Sendable (_ request: String) -> [Step]) async throws {
        let counter = counter
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Answers { request in
                            counter.requests.withLock { $0 += 1 }
                            return steps(request)
                        })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        authority = "127.0.0.1:\(channel.localAddress?.port ?? 0)"
    }

    static func with<Value: Sendable>(
        _ steps: @escaping @Sendable (String) -> [Step], _ body: (RawServer) async throws -> Value
    ) async throws -> Value {
        let server = try await RawServer(steps)
        do {
            let value = try await body(server)
            try? await server.channel.close()  // may be closed
            return value
        } catch {
            try? await server.channel.close()  // likewise
            throw error
        }
    }
}

private final class Answers: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let steps: (String) -> [RawServer.Step]
    private var request = ""

    init(_ steps: @escaping (String) -> [RawServer.Step]) { self.steps = steps }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        // A TLS handshake on a plain port.
        if request.isEmpty, bytes.readableBytesView.first == 0x16 { return context.close(promise: nil) }
        request += String(buffer: bytes)
        guard request.contains("\r\n\r\n") else { return }
        let all = steps(request)
        request = ""
        let channel = context.channel
        for step in all {
            switch step {
            case .send(let bytes): channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
            case .close: channel.writeAndFlush(ByteBuffer()).whenComplete { _ in channel.close(promise: nil) }
            case .repeating(let bytes, let pause):
                channel.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: pause) { task in
                    guard channel.isActive else { return task.cancel() }
                    channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
                }
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
