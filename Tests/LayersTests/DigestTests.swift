import ImageSpec
import Layers
import Synchronization
import TestSupport
import Testing

/// `HashPool` computes the same digests as hashing each stream alone.
@Suite struct DigestTests {
    static func bytes(_ count: Int, _ random: inout FlattenerTests.Seeded) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    /// Lengths around the 64-byte block of SHA-256, where padding differs.
    static let lengths = [0, 1, 55, 56, 63, 64, 65, 119, 127, 128, 129, 1000, 4096, 100_003]

    /// Streams of all lengths and both algorithms, appended from several threads to one pool.
    @Test(arguments: [1, 3]) func concurrentStreamsHaveTheirOwnDigests(layers: Int) async throws {
        let pool = try HashPool(layers: layers)
        defer { pool.dismiss() }
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<24 {
                group.addTask {
                    var random = FlattenerTests.Seeded(state: UInt64(number + 1))
                    let message = Memory(Self.bytes(Self.lengths[number % Self.lengths.count] * 7, &random))
                    let algorithm = number % 5 == 0 ? Digest.Algorithm.sha512 : .sha256
                    let stream = pool.stream(algorithm)
                    var start = 0
                    while start < message.bytes.count {
                        let end = min(message.bytes.count, start + Int.random(in: 1...9000, using: &random))
                        stream.append(UnsafeRawBufferPointer(rebasing: message.bytes[start..<end])) { _ = message }
                        start = end
                    }
                    let found = await withCheckedContinuation { continuation in
                        stream.finish { continuation.resume(returning: $0) }
                    }
                    #expect(found == digest(Array(message.bytes), algorithm))
                }
            }
        }
    }

    @Test func callbacksRunInOrder() throws {
        let pool = try HashPool()
        defer { pool.dismiss() }
        let stream = pool.stream(.sha256)
        let told = Mutex<[Int]>([])
        let memory = Memory([UInt8](repeating: 7, count: 1000))
        for number in 0..<10 {
            stream.append(UnsafeRawBufferPointer(rebasing: memory.bytes[number * 100..<number * 100 + 100])) {
                told.withLock { $0.append(number) }
            }
        }
        #expect(stream.finish() == digest([UInt8](repeating: 7, count: 1000)))
        #expect(told.withLock { $0 } == Array(0..<10))
    }

    @Test func aStreamWithoutBytesHasADigest() throws {
        let pool = try HashPool()
        defer { pool.dismiss() }
        let stream = pool.stream(.sha256)
        let memory = Memory([UInt8](repeating: 1, count: 300))
        stream.append(UnsafeRawBufferPointer(memory.bytes)) {}
        #expect(stream.finish() == digest([UInt8](repeating: 1, count: 300)))
        #expect(pool.stream(.sha256).finish() == digest([]))
    }

    /// An abandoned stream, or a dismissed pool, releases the bytes and still calls a pending `finish`.
    @Test(arguments: [true, false]) func abandoningReleasesTheBytes(alone: Bool) throws {
        let pool = try HashPool()
        weak var kept: Memory?
        let isTold = Mutex(false)
        do {
            let memory = Memory([UInt8](repeating: 2, count: 500))
            kept = memory
            let stream = pool.stream(.sha256)
            stream.append(UnsafeRawBufferPointer(memory.bytes)) { _ = memory }
            if alone {
                stream.abandon()
            } else {
                pool.dismiss()
                stream.finish { _ in isTold.withLock { $0 = true } }
            }
        }
        if alone { pool.dismiss() }
        #expect(kept == nil)
        #expect(isTold.withLock { $0 } == !alone)
    }

    /// Bytes whose address does not change.
    final class Memory: @unchecked Sendable {
        let bytes: UnsafeRawBufferPointer

        init(_ content: [UInt8]) {
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count, alignment: 1)
            memory.copyBytes(from: content)
            bytes = UnsafeRawBufferPointer(memory)
        }

        deinit { bytes.deallocate() }
    }
}
