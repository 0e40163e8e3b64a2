@testable import Distribution
import Foundation
import ImageSpec
import NIOHTTP1
import Testing

/// Broken transfers that must not fail the pull.
@Suite struct RestartTests {
    static let image = SampleImage(layerSize: 400_000)

    /// The last chunk of a chunked body is missing, although the blob is complete.
    @Test(arguments: [true, false]) func aWholeBlobWhoseStreamBreaksIsWhole(isCut: Bool) async throws {
        let layer = Self.image.layer
        try await RawServer.with { request in
            if let start = Self.rangeStart(request) {
                if start >= layer.count {
                    return [.send("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")]
                }
                // Data that arrived but was not read yet may be lost with the connection.
                let head =
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: \(layer.count - start)\r\n"
                    + "Content-Range: bytes \(start)-\(layer.count - 1)/\(layer.count)\r\n\r\n"
                return [.send(Array(head.utf8) + layer[start...])]
            }
            let size = String(layer.count, radix: 16)
            let body = Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\(size)\r\n".utf8) + layer
            return isCut ? [.send(body), .close] : [.send(body + Array("\r\n".utf8)), .close]
        } _: { server in
            let reference = try Reference(parsing: "\(server.authority)/team/app:1.0")
            try await withClient {
                $0.insecureRegistries = [server.authority]
            } _: { client in
                var bytes: [UInt8] = []
                for try await part in client.blob(Self.image.layerDescriptor, in: reference) { bytes += part.bytes }
                #expect(bytes == layer)
            }
        }
    }

    private static func rangeStart(_ request: String) -> Int? {
        let request = request.lowercased()
        guard let field = request.firstRange(of: "range: bytes=") else { return nil }
        return Int(request[field.upperBound...].prefix { $0.isNumber })
    }

    @Test func wrongBytesAreRefusedHoweverTheStreamEnds() async throws {
        try await FaultyServer.with { request in
            .init(headers: [("Connection", "close")], body: [UInt8](repeating: 0, count: Self.image.layer.count))
        } _: { server in
            let found = await reason { try await withClient { _ = try await $0.layer(Self.image, at: server) } }
            guard case .digestMismatch? = found else {
                Issue.record("\(String(describing: found))")
                return
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func aRegistryThatRestartsIsWaitedFor() async throws {
        let first = try await FaultyServer { request in
            guard request.path == Self.image.blobPath else { return Self.image.reply(to: request) }
            return .init(body: Self.image.layer, breaksAfter: 100_000)
        }
        try await withClient {
            $0.retry.attempts = 2
            $0.retry.persistence = .seconds(60)
            $0.retry.firstDelay = .milliseconds(100)
            $0.retry.maximumDelay = .milliseconds(300)
        } _: { client in
            var iterator = client.blob(Self.image.layerDescriptor, in: try first.reference()).makeAsyncIterator()
            var bytes = Array(try #require(try await iterator.next()).bytes)
            await first.stop()
            let port = first.port
            let restart = Task {
                try await Task.sleep(for: .seconds(5))
                return try await FaultyServer(port: port, Self.image.reply)
            }
            while let chunk = try await iterator.next() { bytes += chunk.bytes }
            #expect(bytes == Self.image.layer)
            try await restart.value.stop()
        }
    }

    @Test func attemptsGoOnWithAHostThatHasAnswered() async throws {
        var policy = RetryPolicy()
        policy.attempts = 6
        let refused = RegistryError(host: "r.io", subject: "x", reason: .unreachable(.refused))
        let unknown = RegistryError(host: "r.io", subject: "x", reason: .unreachable(.nameNotFound))
        func count(_ error: RegistryError?, heard: Bool, most: Int = 30) -> Int {
            var attempts = Attempts(policy)
            while attempts.number < most, attempts.next(after: error, heard: heard) != nil {}
            return attempts.number
        }
        #expect(count(refused, heard: false) == 3)
        #expect(count(unknown, heard: false) == 1)
        #expect(count(nil, heard: false) == 6)
        // For one minute; no time passes in this test.
        #expect(count(refused, heard: true) == 30)
        #expect(count(unknown, heard: true) == 30)
        policy.persistence = .zero
        #expect(count(refused, heard: true) == 6)
        let wrong = RegistryError(host: "r.io", subject: "x", reason: .certificateName)
        #expect(count(wrong, heard: true) == 1)
    }
}
