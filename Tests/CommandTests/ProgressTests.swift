import ImageSpec
import Testing

@testable import ImagePull
@testable import berth_image

@Suite struct ProgressTests {
    static func digest(_ byte: UInt8) throws -> Digest {
        try #require(Digest(.sha256, bytes: [UInt8](repeating: byte, count: 32)))
    }

    static func pulling(layers sizes: [Int64], present: Set<Int> = []) throws -> PullProgress {
        var progress = PullProgress(name: "r.io/x:1")
        let states = try sizes.enumerated().map { index, size in
            PullEvent.LayerState(digest: try digest(UInt8(index + 1)), size: size, isPresent: present.contains(index))
        }
        progress.apply(.resolved(digest: try digest(0), layers: states))
        return progress
    }

    @Test func numbersOnlyGrow() throws {
        var progress = try Self.pulling(layers: [100, 200, 300], present: [2])
        progress.apply(.downloaded(layer: 0, bytes: 60))
        progress.apply(.downloaded(layer: 0, bytes: 40))
        progress.apply(.downloaded(layer: 1, bytes: 500))
        progress.apply(.downloaded(layer: 7, bytes: 500))
        #expect(progress.downloadedBytes == 260)
        #expect(progress.totalBytes == 300)
        #expect(progress.layers.map(\.phase) == [.downloading, .unpacking, .present])
        progress.apply(.finished(layer: 0))
        #expect(progress.finishedLayers == 2)
        #expect(progress.downloadedBytes == 300)
    }

    @Test func linesFitTheTerminal() throws {
        var progress = try Self.pulling(layers: [Int64](repeating: 1_000_000, count: 20))
        for layer in 0..<20 { progress.apply(.downloaded(layer: layer, bytes: 500_000)) }
        for (width, height) in [(20, 3), (80, 24), (200, 5), (1, 1), (40, 2)] {
            let lines = ProgressLines(rate: 2_000_000, width: width, height: height).lines(for: progress)
            #expect(lines.allSatisfy { $0.count <= max(8, width - 1) })
            #expect(lines.count <= max(1, height))
        }
        let lines = ProgressLines(rate: 2_000_000, width: 100, height: 24).lines(for: progress)
        #expect(lines.first == "r.io/x:1: 0/20 layers, 10.0 MB of 20.0 MB, 2.0 MB/s, 5 s left")
        #expect(lines[1] == "  010101010101  ##########··········  500 kB of 1.0 MB, download, verify, unpack 0 B")
        #expect(lines.last == "  … and 12 more")
    }

    @Test func stagesAreNamed() throws {
        let lines = ProgressLines(rate: nil, width: 100, height: 24)
        var progress = PullProgress(name: "x")
        #expect(lines.lines(for: progress) == ["x: asking for the manifest"])
        progress.apply(.waiting)
        #expect(lines.lines(for: progress) == ["x: another process is pulling it; waiting"])
        progress = try Self.pulling(layers: [1, 2])
        progress.apply(.composing(flattenedBecause: nil))
        #expect(lines.lines(for: progress) == ["r.io/x:1: joining 2 layers"])
    }

    @Test(
        arguments: [
            (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_960, "100 kB"), (999_499, "999 kB"),
            (999_500, "1.0 MB"), (425_100_000, "425 MB"), (1_190_000_000, "1.2 GB"), (5_000_000_000_000_000, "5000 TB"),
        ] as [(Int64, String)])
    func bytesAreReadable(count: Int64, text: String) { #expect(Quantity.bytes(count) == text) }

    @Test func theRateForgets() {
        var meter = RateMeter()
        #expect(meter.rate == nil)
        for second in 0...10 { meter.add(Int64(second) * 100, at: Double(second)) }
        #expect(meter.rate == 100)
        for second in 11...16 { meter.add(1000, at: Double(second)) }
        #expect(meter.rate == 0)
    }

    @Test func whatIsOnlyGuessedHasNoTenths() throws {
        var progress = try Self.pulling(layers: [25_000_000])
        progress.apply(.downloaded(layer: 0, bytes: 1_000_000))
        let line = try #require(ProgressLines(rate: 2_000_000, width: 100, height: 9).lines(for: progress).first)
        #expect(line.hasSuffix("2.0 MB/s, 12 s left"))
        let slow = try #require(ProgressLines(rate: 0.001, width: 100, height: 9).lines(for: progress).first)
        #expect(slow.hasSuffix("h 46 min left"))
    }
}
