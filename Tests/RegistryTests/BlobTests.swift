import Distribution
import Foundation
import Hashing
import ImageSpec
import NIOHTTP1
import Testing

/// Blobs from servers and connections that break, lie, redirect or do not answer.
@Suite struct BlobTests {
    static let image = SampleImage(layerSize: 500_000)

    /// Fetches the layer. The handler answers only for the blob's path.
    static func fetch(
        _ handler: @escaping FaultyServer.Handler, change: (inout RegistryConfiguration) -> Void = { _ in }
    ) async throws -> (result: Result<[UInt8], RegistryError>, requests: [FaultyServer.Request]) {
        try await FaultyServer.with(handler) { server in
            try await withClient(change) { client in
                do {
                    return (.success(try await client.layer(image, at: server)), server.requests)
                } catch let error as RegistryError {
                    return (.failure(error), server.requests)
                }
            }
        }
    }

    @Test func aBrokenTransferIsResumed() async throws {
        let (result, requests) = try await Self.fetch { request in
            var reply = SampleImage.blob(Self.image.layer, request)
            if request.attempt < 2 { reply.breaksAfter = 150_000 }
            return reply
        }
        #expect(try result.get() == Self.image.layer)
        // How much of what was sent arrives before the break is noticed is the client library's affair.
        let starts = requests.map { Int($0.headers.first(name: "Range")?.dropFirst(6).dropLast() ?? "0") ?? -1 }
        try #require(starts.count == 3)
        #expect(starts[0] == 0 && starts[1] > 0 && starts[1] <= 150_000 && starts[2] > starts[1])
    }

    @Test func aServerWithoutRangesStartsOverAndNothingComesTwice() async throws {
        let (result, requests) = try await Self.fetch { request in
            .init(body: Self.image.layer, breaksAfter: request.attempt < 3 ? 100_000 * (request.attempt + 1) : nil)
        }
        #expect(try result.get() == Self.image.layer)
        #expect(requests.count == 4)
    }

    @Test func aRangeThatStartsEarlierIsSkipped() async throws {
        let (result, _) = try await Self.fetch { request in
            guard request.attempt > 0 else { return .init(body: Self.image.layer, breaksAfter: 1000) }
            return .init(
                status: .partialContent, headers: [("Content-Range", "bytes 900-499999/500000")],
                body: Array(Self.image.layer[900...]))
        }
        #expect(try result.get() == Self.image.layer)
    }

    @Test func aRangeThatStartsLaterIsRefused() async throws {
        let (result, _) = try await Self.fetch { request in
            guard request.attempt > 0 else { return .init(body: Self.image.layer, breaksAfter: 1000) }
            return .init(
                status: .partialContent, headers: [("Content-Range", "bytes 2000-499999/500000")],
                body: Array(Self.image.layer[2000...]))
        }
        #expect(throws: RegistryError.self) { try result.get() }
    }

    @Test func aTransferThatNeverEndsIsGivenUp() async throws {
        let (result, requests) = try await Self.fetch { request in
            .init(body: Self.image.layer, breaksAfter: request.attempt == 0 ? 1000 : 0)
        }
        #expect(result.reason == .truncated(received: 1000, expected: 500_000))
        #expect(requests.count == 4)
    }

    @Test func otherBytesOfTheSameLengthAreRefused() async throws {
        var other = Self.image.layer
        other[400_000] ^= 1
        let (result, requests) = try await Self.fetch { [other] _ in .init(body: other) }
        #expect(
            result.reason
                == .digestMismatch(
                    expected: Self.image.layerDescriptor.digest, found: Digest(hashing: other, with: .sha256)))
        #expect(requests.count == 1)
    }

    @Test(arguments: [-1, 1]) func anotherLengthIsRefused(difference: Int) async throws {
        let size = Self.image.layer.count + difference
        let (result, _) = try await Self.fetch { _ in
            .init(body: Array((Self.image.layer + [0]).prefix(size)))
        }
        #expect(result.reason == .sizeMismatch(expected: 500_000, found: Int64(size)))
    }

    @Test func aMissingBlobIsNamed() async throws {
        let (result, _) = try await Self.fetch { _ in .status(.notFound) }
        #expect(result.reason == .blobUnknown)
    }

    @Test func aServerInTroubleIsAskedAgain() async throws {
        let (result, requests) = try await Self.fetch { request in
            switch request.attempt {
            case 0: .status(.serviceUnavailable)
            case 1: .status(.requestTimeout)
            case 2: .status(.tooManyRequests, ("Retry-After", "0"))
            default: SampleImage.blob(Self.image.layer, request)
            }
        }
        #expect(try result.get() == Self.image.layer)
        #expect(requests.count == 4)
    }

    @Test func aServerInTroubleForGoodIsNamed() async throws {
        let (result, requests) = try await Self.fetch { _ in .status(.badGateway) }
        #expect(result.reason == .unexpectedStatus(502, message: nil))
        #expect(requests.count == 4)
    }

    @Test func aLongRetryAfterIsNotWaitedFor() async throws {
        let (result, requests) = try await Self.fetch { _ in .status(.tooManyRequests, ("Retry-After", "21600")) }
        #expect(result.reason == .tooManyRequests(retryAfter: .seconds(21600)))
        #expect(requests.count == 1)
    }

    @Test func aRetryAfterIsWaitedFor() async throws {
        let clock = ContinuousClock()
        let start = clock.now
        let (result, _) = try await Self.fetch { request in
            request.attempt == 0
                ? .status(.tooManyRequests, ("Retry-After", "1")) : SampleImage.blob(Self.image.layer, request)
        }
        #expect(try result.get().count == 500_000)
        #expect(clock.now - start >= .seconds(1))
    }

    @Test func aSilentServerIsGivenUpOn() async throws {
        let (result, requests) = try await Self.fetch { _ in
            .init(body: Self.image.layer, stalls: true)
        } change: { configuration in
            configuration.readTimeout = .milliseconds(500)
            configuration.retry.attempts = 2
        }
        #expect(result.reason == .unreachable(.timedOut))
        #expect(requests.count >= 2)
    }

    @Test func nobodyThereIsNamed() async throws {
        let server = try await FaultyServer { _ in .status(.ok) }
        await server.stop()
        let start = ContinuousClock.now
        defer { #expect(ContinuousClock.now - start < .seconds(60)) }
        let found = await reason { try await withClient { _ = try await $0.layer(Self.image, at: server) } }
        #expect(found == .unreachable(.refused))
    }
}

extension Result where Failure == RegistryError {
    var reason: RegistryError.Reason? {
        if case .failure(let error) = self { error.reason } else { nil }
    }
}
