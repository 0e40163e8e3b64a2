import ImageSpec
import Layers
import LinuxKernel
import TestSupport
import Testing

/// Compressed, verified and damaged blobs. The tests create gzip members and zstd frames from stored blocks, without a
/// compressor.
@Suite struct StreamTests {
    /// One gzip member of stored blocks.
    static func gzip(_ bytes: [UInt8], name: String? = nil) -> [UInt8] {
        var result: [UInt8] = [0x1F, 0x8B, 8, name == nil ? 0 : 8, 0, 0, 0, 0, 0, 3]
        if let name { result += Array(name.utf8) + [0] }
        var rest = bytes[...]
        repeat {
            let part = rest.prefix(40_000)
            rest = rest.dropFirst(part.count)
            let count = UInt16(part.count)
            result +=
                [rest.isEmpty ? 1 : 0, UInt8(count & 255), UInt8(count >> 8), UInt8(~count & 255), UInt8(~count >> 8)]
                + part
        } while !rest.isEmpty
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0xEDB8_8320 : 0) }
        }
        return result + little(~crc) + little(UInt32(truncatingIfNeeded: bytes.count))
    }

    static func little(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }

    /// One zstd frame of raw blocks, with a window descriptor and without checksum.
    static func zstd(_ bytes: [UInt8], windowLog: UInt8 = 20) -> [UInt8] {
        var result: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, (windowLog - 10) << 3]
        var rest = bytes[...]
        repeat {
            let part = rest.prefix(100_000)
            rest = rest.dropFirst(part.count)
            result += Array(little(UInt32(part.count << 3 | (rest.isEmpty ? 1 : 0)))[..<3]) + part
        } while !rest.isEmpty
        return result
    }

    static let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18] + little(7) + [1, 2, 3, 4, 5, 6, 7]

    static func decompress(
        _ bytes: [UInt8], stride: Int = .max, buffer size: Int = 65_536, _ limits: UnpackLimits = UnpackLimits()
    ) throws(LayerError) -> [UInt8] {
        let decompressor = Decompressor(BytesSource(bytes, stride: stride), limits: limits)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        defer { buffer.deallocate() }
        var result: [UInt8] = []
        while true {
            let count = try decompressor.read(into: buffer)
            if count == 0 { return result }
            result += buffer[..<count]
        }
    }

    static func failure(_ bytes: [UInt8], _ limits: UnpackLimits = UnpackLimits()) -> LayerError.Reason? {
        do throws(LayerError) { _ = try decompress(bytes, limits); return nil } catch { return error.reason }
    }

    static let text = Array(String(repeating: "some layer's bytes, ", count: 9000).utf8)

    @Test(arguments: [(1, 65_536), (7, 1000), (4096, 1), (1 << 20, 1 << 20), (1 << 20, 37)])
    func everyPacking(_ sizes: (Int, Int)) throws {
        let content = sizes.1 == 1 ? Array(Self.text[..<3000]) : Self.text
        let (one, two) = (Array(content[..<1000]), Array(content[1000...]))
        let blobs: [[UInt8]] = [
            content, Self.gzip(content), Self.gzip(content, name: "layer.tar"), Self.gzip(one) + Self.gzip(two),
            Self.gzip(one) + Self.gzip([]) + Self.gzip(two), Self.gzip(content) + [UInt8](repeating: 0, count: 5000),
            Self.zstd(content), Self.zstd(one) + Self.zstd(two),
            Self.skippable + Self.zstd(one) + Self.skippable + Self.zstd(two),
            Self.zstd(content) + Self.skippable,
        ]
        for blob in blobs { #expect(try Self.decompress(blob, stride: sizes.0, buffer: sizes.1) == content) }
    }

    @Test func emptyBlobs() throws {
        for blob in [[], Self.gzip([]), Self.zstd([]), Self.skippable] { #expect(try Self.decompress(blob) == []) }
    }

    @Test func damagedGzip() {
        let blob = Self.gzip(Array(Self.text[..<3000]))
        for cut in 1..<blob.count {
            let reason = Self.failure(Array(blob[..<cut]))
            // A single byte does not identify gzip, so it counts as a plain archive.
            #expect(cut == 1 ? reason == nil : reason == .truncated(.gzip), "\(cut)")
        }
        var flipped = blob
        flipped[500] ^= 1
        guard case .corrupt(.gzip, _) = Self.failure(flipped) else { Issue.record("a wrong checksum passed"); return }
        for tail in [[1], [0, 0, 5], [0x1F, 0x8B], [0x1F, 0x8C, 8, 0, 0, 0, 0, 0, 0, 0, 0]] as [[UInt8]] {
            #expect(Self.failure(blob + tail) != nil)
        }
    }

    @Test func damagedZstd() {
        let blob = Self.zstd(Array(Self.text[..<3000]))
        for cut in 4..<blob.count { #expect(Self.failure(Array(blob[..<cut])) == .truncated(.zstd), "\(cut)") }
        guard case .corrupt(.zstd, _) = Self.failure(blob + [1, 2, 3, 4, 5, 6, 7, 8]) else {
            Issue.record("junk passed"); return
        }
    }

    @Test func zstdWindows() throws {
        // A window of 2^28 exceeds the library's default.
        #expect(try Self.decompress(Self.zstd([1, 2, 3], windowLog: 28)) == [1, 2, 3])
        #expect(try Self.decompress(Self.zstd([1, 2, 3], windowLog: 31)) == [1, 2, 3])
        var limits = UnpackLimits()
        let refused = LayerError.Reason.limit(.zstdWindowBytes, limit: 100 << 20)
        limits.zstdWindowBytes = 100 << 20
        #expect(Self.failure(Self.zstd([1, 2, 3], windowLog: 26), limits) == nil)
        #expect(Self.failure(Self.zstd([1, 2, 3], windowLog: 27), limits) == refused)
        // In a later frame, and in a header that arrives in several reads.
        #expect(Self.failure(Self.zstd([1]) + Self.zstd([2], windowLog: 28), limits) == refused)
        let segment: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 1, 0, 0, 0] + [0, 0, 0, 0]
        #expect(Self.failure(segment, limits) == refused)
        let inPieces = { () throws(LayerError) in try Self.decompress(segment, stride: 8, limits) }
        #expect(throws: LayerError(refused)) { try inPieces() }
        // A window above the library's maximum is no corruption, either.
        limits.zstdWindowBytes = 1 << 40
        #expect(Self.failure(Self.zstd([1], windowLog: 33), limits) == .limit(.zstdWindowBytes, limit: 2 << 30))
    }

    /// A frame of run-length blocks: 128 KiB from four bytes each.
    static func bomb(_ blocks: Int) -> [UInt8] {
        var result: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, (20 - 10) << 3]
        for block in 1...blocks {
            let header = UInt32(128 << 10) << 3 | 2 | (block == blocks ? 1 : 0)
            result += little(header)[..<3]
            result.append(0)
        }
        return result
    }

    @Test func whatGrowsTooMuchIsStopped() throws {
        var limits = UnpackLimits()
        limits.expansionRatio = 2000
        limits.ratioFloor = 1 << 20
        let refused = LayerError.Reason.limit(.expansionRatio, limit: 2000)
        // 8 blocks are exactly the allowed minimum; one more is an error.
        #expect(try Self.decompress(Self.bomb(8), limits).count == 1 << 20)
        #expect(Self.failure(Self.bomb(9), limits) == refused)
        #expect(Self.failure(Self.bomb(9)) == nil)
        limits.ratioFloor = 4 << 20
        #expect(Self.failure(Self.bomb(9), limits) == nil)
        // The total ratio counts: poorly compressed data before the bomb compensate for it, but not data after it.
        limits.ratioFloor = 1 << 20
        let honest = Self.zstd([UInt8](repeating: 7, count: 5000))
        #expect(Self.failure(honest + Self.bomb(9), limits) == nil)
        #expect(Self.failure(Self.bomb(9) + honest, limits) == nil)
        #expect(Self.failure(Self.bomb(200) + honest, limits) == refused)
        // Uncompressed data are never rejected.
        limits.expansionRatio = 1
        #expect(Self.failure([UInt8](repeating: 7, count: 3 << 20), limits) == nil)
    }

    /// In the pipeline, a bomb is rejected before all of it is written.
    @Test func aBombIsRefusedAsALayer() throws {
        let bomb = Self.bomb(100)
        let place = try Workplace()
        var unpacker = LayerUnpacker.several
        unpacker.limits.expansionRatio = 2000
        unpacker.limits.ratioFloor = 1 << 20
        let plain = [UInt8](repeating: 0, count: 100 * 128 << 10)
        do throws(LayerError) {
            _ = try unpacker.unpack(BytesSource(bomb), diffID: digest(plain), into: place.root)
            Issue.record("it passed")
        } catch { #expect(error.reason == .limit(.expansionRatio, limit: 2000)) }
        _ = try LayerUnpacker.several.unpack(BytesSource(bomb), diffID: digest(plain), into: place.root)
    }

    @Test(
        arguments: [
            ("xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0, 0, 0]), ("bzip2", Array("BZh9AY".utf8)),
            ("lz4", [4, 0x22, 0x4D, 0x18]),
        ] as [(String, [UInt8])])
    func otherCompressionsAreNamed(_ row: (String, [UInt8])) {
        #expect(Self.failure(row.1) == .unsupportedCompression(row.0))
    }

    // MARK: Verifying

    static func verify(_ bytes: [UInt8], _ digest: Digest, _ size: Int64?, stride: Int = 100) -> LayerError.Reason? {
        let source = VerifyingSource(BytesSource(bytes, stride: stride), digest: digest, size: size)
        do throws(LayerError) {
            try source.drain()
            return nil
        } catch { return error.reason }
    }

    @Test func sizeThenDigest() {
        let bytes = Array(Self.text[..<1000])
        let right = digest(bytes)
        let wrong = digest([1])
        #expect(Self.verify(bytes, right, 1000) == nil)
        #expect(Self.verify(bytes, right, nil) == nil)
        #expect(Self.verify(bytes, digest(bytes, .sha512), 1000) == nil)
        #expect(Self.verify(bytes, wrong, 1000) == .blobDigest(expected: wrong, actual: right))
        // If both are wrong, the size is reported.
        #expect(Self.verify(bytes, wrong, 1001) == .blobSize(expected: 1001, actual: 1000))
        // A blob that is too long is detected before its end.
        #expect(Self.verify(bytes, right, 150) == .blobSize(expected: 150, actual: 200))
        #expect(Self.verify([], right, 0) == .blobDigest(expected: right, actual: digest([])))
    }

    // MARK: Through the whole pipeline

    @Test func wholeLayers() throws {
        let tar = archive([.dir("d"), .file("d/f", String(repeating: "x", count: 3_000_000)), .file("e", "end")])
        for (index, blob) in [
            tar, Self.gzip(tar), Self.zstd(tar), Self.gzip(Array(tar[..<70_000])) + Self.gzip(Array(tar[70_000...])),
        ].enumerated() {
            let place = try Workplace()
            var unpacker = LayerUnpacker.several
            unpacker.slotBytes = [4096, 100_000, 512 << 10, 1 << 20][index]
            let tree = try place.unpack(tar, blob: blob, unpacker)
            #expect(tree.summary.archiveBytes == Int64(tar.count))
            #expect(tree.summary.fileBytes == 3_000_003)
            #expect(try tree.directory.descriptor.status(of: "d/f").size == 3_000_000)
        }
    }

    @Test func failuresOfTheBlobWinOverWhatTheyLookLike() throws {
        let tar = archive([.file("a", String(repeating: "y", count: 100_000))])
        let blob = Self.gzip(tar)
        func unpack(_ bytes: [UInt8], _ digest: Digest, size: Int, diffID: Digest) throws -> LayerError.Reason? {
            let place = try Workplace()
            let source = VerifyingSource(BytesSource(bytes), digest: digest, size: Int64(size))
            do throws(LayerError) {
                _ = try LayerUnpacker().unpack(source, diffID: diffID, into: place.root)
                return nil
            } catch { return error.reason }
        }
        #expect(try unpack(blob, digest(blob), size: blob.count, diffID: digest(tar)) == nil)
        #expect(
            try unpack(blob, digest(blob), size: blob.count, diffID: digest([]))
                == .diffID(expected: digest([]), actual: digest(tar)))
        // An error page instead of a blob is reported as a wrong blob rather than as an invalid tar.
        let page = Array("<html>502 Bad Gateway</html>".utf8)
        #expect(
            try unpack(page, digest(blob), size: blob.count, diffID: digest(tar))
                == .blobSize(expected: Int64(blob.count), actual: 28))
        var flipped = blob
        flipped[60_000] ^= 0x40
        #expect(
            try unpack(flipped, digest(blob), size: blob.count, diffID: digest(tar))
                == .blobDigest(expected: digest(blob), actual: digest(flipped)))
        #expect(
            try unpack(Array(blob[..<50_000]), digest(blob), size: blob.count, diffID: digest(tar))
                == .blobSize(expected: Int64(blob.count), actual: 50_000))
        // The digest is right, so the blob's creator damaged it.
        guard case .corrupt(.gzip, _) = try unpack(flipped, digest(flipped), size: flipped.count, diffID: digest(tar))
        else {
            Issue.record("a damaged gzip passed")
            return
        }
    }
}
