import ImageSpec
import Layers
import Synchronization
import TestSupport
import Testing

/// Digests of several streams at once are those of each by itself.
@Suite struct DigestTests {
    static func bytes(_ count: Int, _ random: inout FlattenerTests.Seeded) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    /// Blocks are 64 bytes: around them everything that can go wrong does.
    static let lengths = [0, 1, 55, 56, 63, 64, 65, 119, 127, 128, 129, 1000, 4096, 100_003]

    /// What has no header is held against the library that has one.
    @Test(arguments: 0..<40) func pairs(seed: UInt64) {
        var random = FlattenerTests.Seeded(state: seed &+ 1)
        let messages = (0..<2).map { _ in Self.bytes(Self.lengths.randomElement(using: &random) ?? 0, &random) }
        let pair = (PairedSHA256(), PairedSHA256())
        messages[0].withUnsafeBytes { first in
            messages[1].withUnsafeBytes { second in
                var rests = (first[...], second[...])
                while !rests.0.isEmpty, !rests.1.isEmpty {
                    // Pieces of any length, at any address.
                    let pieces = (
                        rests.0.prefix(Int.random(in: 1...700, using: &random)),
                        rests.1.prefix(Int.random(in: 1...700, using: &random))
                    )
                    let used = PairedSHA256.update(
                        pair.0, UnsafeRawBufferPointer(rebasing: pieces.0), pair.1,
                        UnsafeRawBufferPointer(rebasing: pieces.1))
                    #expect(used.first > 0 || used.second > 0)
                    rests.0 = rests.0.dropFirst(used.first)
                    rests.1 = rests.1.dropFirst(used.second)
                }
                pair.0.update(UnsafeRawBufferPointer(rebasing: rests.0))
                pair.1.update(UnsafeRawBufferPointer(rebasing: rests.1))
            }
        }
        let found = [pair.0.finish(), pair.1.finish()].map { Digest(.sha256, bytes: $0) }
        #expect(found == messages.map { digest($0) })
    }

    /// FIPS 180-4's own example of two blocks.
    @Test func theStandardsExample() throws {
        let hash = PairedSHA256()
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8.withContiguousStorageIfAvailable {
            hash.update(UnsafeRawBufferPointer($0))
        }
        let expected = "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        #expect(Digest(.sha256, bytes: hash.finish()) == (try Digest(parsing: expected)))
    }

    /// Streams of all lengths and both algorithms, from several threads, to one crew; whether it goes by twos or by ones.
    @Test(arguments: [(1, true), (4, true), (1, false), (3, false)]) func crews(_ kind: (layers: Int, inPairs: Bool))
        async throws
    {
        let crew = try DigestCrew(layers: kind.layers, inPairs: kind.inPairs)
        defer { crew.dismiss() }
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<24 {
                group.addTask {
                    var random = FlattenerTests.Seeded(state: UInt64(number + 1))
                    let message = Memory(Self.bytes(Self.lengths[number % Self.lengths.count] * 7, &random))
                    let algorithm = number % 5 == 0 ? Digest.Algorithm.sha512 : .sha256
                    let stream = crew.stream(algorithm, enough: 100_000)
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

    /// What a stream was given is told of in its order, and let go.
    @Test func piecesAreGivenBack() throws {
        let crew = try DigestCrew()
        defer { crew.dismiss() }
        let stream = crew.stream(.sha256, enough: 1)
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

    /// A stream alone waits for company, and longer than until it is wanted it does not.
    @Test func aStreamAloneIsFinishedAllTheSame() throws {
        let crew = try DigestCrew()
        defer { crew.dismiss() }
        let stream = crew.stream(.sha256, enough: .max)
        let memory = Memory([UInt8](repeating: 1, count: 300))
        stream.append(UnsafeRawBufferPointer(memory.bytes)) {}
        #expect(stream.finish() == digest([UInt8](repeating: 1, count: 300)))
        #expect(crew.stream(.sha256, enough: .max).finish() == digest([]))
    }

    /// Given up, a stream keeps nothing, and whoever waited for it hears of it; so, too, where the whole crew goes.
    @Test(arguments: [true, false]) func nothingIsKeptOfWhatIsGivenUp(alone: Bool) throws {
        let crew = try DigestCrew()
        weak var kept: Memory?
        let isTold = Mutex(false)
        do {
            let memory = Memory([UInt8](repeating: 2, count: 500))
            kept = memory
            let stream = crew.stream(.sha256, enough: .max)
            stream.append(UnsafeRawBufferPointer(memory.bytes)) { _ = memory }
            if alone {
                stream.abandon()
            } else {
                crew.dismiss()
                stream.finish { _ in isTold.withLock { $0 = true } }
            }
        }
        if alone { crew.dismiss() }
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
