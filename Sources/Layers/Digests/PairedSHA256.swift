internal import CSHA256

/// A running SHA-256 (FIPS 180-4) that can be taken further together with another's.
///
/// Each step of it waits for the one before, so that a processor with instructions for them is idle half of the time; with
/// another stream's steps in between, two take little longer than one. The functions are OpenSSL's.
package final class PairedSHA256 {
    private let context = UnsafeMutablePointer<SHA256_CTX>.allocate(capacity: 1)
    private static let blockBytes = 64

    package init() { SHA256_Init(context) }

    deinit { context.deallocate() }

    package func update(_ bytes: UnsafeRawBufferPointer) { SHA256_Update(context, bytes.baseAddress, bytes.count) }

    /// The digest; nothing may come after.
    package func finish() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Int(SHA256_DIGEST_LENGTH)) { bytes, count in
            SHA256_Final(bytes.baseAddress, context)
            count = Int(SHA256_DIGEST_LENGTH)
        }
    }

    /// Takes both further, each by some bytes or the other by some; there must be some of each.
    ///
    /// - Returns: How many bytes of each were used, not both 0.
    package static func update(
        _ one: PairedSHA256, _ first: UnsafeRawBufferPointer, _ two: PairedSHA256, _ second: UnsafeRawBufferPointer
    ) -> (first: Int, second: Int) {
        let pieces = (one.piece(of: first), two.piece(of: second))
        if pieces != (0, 0) {
            one.update(UnsafeRawBufferPointer(rebasing: first[..<pieces.0]))
            two.update(UnsafeRawBufferPointer(rebasing: second[..<pieces.1]))
            return pieces
        }
        let blocks = min(first.count, second.count, 1 << 24) / blockBytes
        compress(one, first, two, second, blocks)
        return (blocks * blockBytes, blocks * blockBytes)
    }

    /// How many of the bytes go by themselves, for only whole blocks go together: those that end a block, or are less than one.
    private func piece(of bytes: UnsafeRawBufferPointer) -> Int {
        let begun = Int(context.pointee.num)
        if begun == 0, bytes.count >= Self.blockBytes { return 0 }
        return min(Self.blockBytes - begun, bytes.count)
    }

    // MARK: Two lanes

    /// Whether two at a time are of use here, and right: a function without a header could be another one some day.
    package static let isSupported = berth_has_sha_extensions() != 0 && agreesWithItself()

    private static func agreesWithItself() -> Bool {
        let messages = [[UInt8](repeating: 0xA5, count: 192), (0..<192).map { UInt8($0) }]
        let alone = messages.map { message in
            let hash = PairedSHA256()
            message.withUnsafeBytes { hash.update($0) }
            return hash.finish()
        }
        let pair = (PairedSHA256(), PairedSHA256())
        messages[0].withUnsafeBytes { first in
            messages[1].withUnsafeBytes { second in compress(pair.0, first, pair.1, second, 3) }
        }
        return [pair.0.finish(), pair.1.finish()] == alone
    }

    private static func compress(
        _ one: PairedSHA256, _ first: UnsafeRawBufferPointer, _ two: PairedSHA256, _ second: UnsafeRawBufferPointer,
        _ blocks: Int
    ) {
        #if arch(x86_64)
            // Of each word of the state there is one for each of eight lanes, side by side.
            var lanes = berth_sha256_lanes()
            withUnsafeMutableBytes(of: &lanes) { bytes in
                let words = bytes.bindMemory(to: UInt32.self)
                let states = (one.state, two.state)
                for word in 0..<8 { (words[word * 8], words[word * 8 + 1]) = (states.0[word], states.1[word]) }
            }
            withUnsafeTemporaryAllocation(of: berth_sha256_lane.self, capacity: 4) { group in
                group.initialize(repeating: berth_sha256_lane(bytes: nil, blocks: 0))
                group[0] = berth_sha256_lane(
                    bytes: first.assumingMemoryBound(to: UInt8.self).baseAddress, blocks: Int32(blocks))
                group[1] = berth_sha256_lane(
                    bytes: second.assumingMemoryBound(to: UInt8.self).baseAddress, blocks: Int32(blocks))
                sha256_multi_block(&lanes, group.baseAddress, 1)
            }
            withUnsafeBytes(of: &lanes) { bytes in
                let words = bytes.bindMemory(to: UInt32.self)
                let states = (one.state, two.state)
                for word in 0..<8 { (states.0[word], states.1[word]) = (words[word * 8], words[word * 8 + 1]) }
            }
            one.count(blocks)
            two.count(blocks)
        #else
            one.update(UnsafeRawBufferPointer(rebasing: first[..<(blocks * blockBytes)]))
            two.update(UnsafeRawBufferPointer(rebasing: second[..<(blocks * blockBytes)]))
        #endif
    }

    private var state: UnsafeMutablePointer<UInt32> {
        UnsafeMutableRawPointer(context).assumingMemoryBound(to: UInt32.self)  // `h`, which comes first
    }

    /// The message's length so far, in bits, is part of what is hashed at its end.
    private func count(_ blocks: Int) {
        let bits = UInt64(context.pointee.Nh) << 32 | UInt64(context.pointee.Nl)
        let sum = bits &+ UInt64(blocks * Self.blockBytes) * 8
        context.pointee.Nl = UInt32(truncatingIfNeeded: sum)
        context.pointee.Nh = UInt32(truncatingIfNeeded: sum >> 32)
    }
}
