import Foundation
import ImageSpec
import LinuxKernel
import Testing

@testable import Store
@testable import berth_image

/// Image lists for people and for programs.
@Suite struct ImagesTextTests {
    static let now: Int64 = 2_000_000_000

    static func images() throws -> [StoredImage] {
        let sizes: [UInt64] = [
            0, 999, 1000, 99_949, 99_950, 999_499, 999_500, 425_000_000, .max, 12_345_678_901_234_567,
        ]
        let ages: [Int64] = [0, 59, 60, 119, 3600, 86_399, 86_400, 604_800, 31_536_000, 2_500_000_000, -5]
        let names = [
            ["docker.io/library/debian:12"], [], ["a:1", "b:2", "oci:/tmp/größer \u{1F9EA}e\u{301}:x"],
            ["quoted\"\\/\u{8}\u{c}\n\r\t\u{1}\u{7f}:1"],
        ]
        return try (0..<40).map { number in
            var record = LaunchRecord(
                digest: try Digest(parsing: "sha256:" + String(repeating: String(number % 10), count: 64)),
                platform: number % 3 == 0 ? .host : try Platform(parsing: "linux/arm/v7"),
                trees: [String](repeating: "layers/x/tree", count: number), overlay: true,
                name: number % 2 == 0 ? "docker.io/pulled:as" : "")
            record.size = sizes[number % sizes.count]
            record.entries = UInt64(number) * 12_345
            record.created = now - ages[number % ages.count]
            return StoredImage(record, names: names[number % names.count])
        }
    }

    @Test(arguments: [0, 1, 40]) func jsonHasAnEntryForEachImageAndStore(_ count: Int) throws {
        let images = Array(try Self.images().prefix(count))
        for stores in [[], ["/store"], ["/own \"store\"", "/größer"]] {
            let text = try ImagesText.json(stores.map { ($0, images) })
            let found = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
            #expect(found.count == stores.count * count)
            for (index, entry) in found.enumerated() {
                let image = images[index % count]
                #expect(entry["names"] as? [String] == image.names)
                #expect(entry["digest"] as? String == image.record.digest.description)
                #expect(entry["platform"] as? String == image.record.platform.description)
                #expect((entry["size"] as? NSNumber)?.uint64Value == image.record.size)
                #expect((entry["entries"] as? NSNumber)?.uint64Value == image.record.entries)
                #expect(entry["created"] as? Int64 == image.record.created)
                #expect(entry["layers"] as? Int == image.record.trees.count)
                #expect(entry["store"] as? String == stores[index / count])
            }
            #expect(!text.utf8.contains(0x1B) && !text.utf8.contains(0x7F))
        }
    }

    @Test func namesAreOneForEachImage() throws {
        let images = try Self.images()
        let text = ImagesText.names(images)
        let expected = images.map { TerminalText.line($0.names.first ?? "\($0.record.digest)") + "\n" }.joined()
        #expect(text == expected)
    }

    @Test func columnsStandBelowEachOther() throws {
        let images = Array(try Self.images().filter { !$0.names.contains { $0.contains("\n") } })
        let text = ImagesText.table(images + images, now: Self.now)
        let lines = text.split(separator: "\n")
        #expect(lines.count == 1 + 2 * images.map { max(1, $0.names.count) }.reduce(0, +))
        let places = ["IMAGE", "DIGEST", "PLATFORM", "FILES", "SIZE", "PULLED"].map { title in
            lines[0].range(of: title).map { lines[0].distance(from: lines[0].startIndex, to: $0.lowerBound) } ?? -1
        }
        var row = 1
        for image in images + images {
            for name in image.names.isEmpty ? [image.record.name] : image.names {
                let line = Array(lines[row])
                let cells = zip(places, places.dropFirst() + [line.count + 2]).map { String(line[$0..<($1 - 2)]) }
                let trimmed = cells.map { $0.trimmingCharacters(in: .whitespaces) }
                #expect(
                    trimmed == [
                        name, String(image.record.digest.hex.prefix(12)), image.record.platform.description,
                        "\(image.record.entries)", Quantity.bytes(Int64(clamping: image.record.size)),
                        Self.age(max(0, Self.now - image.record.created)),
                    ])
                row += 1
            }
        }
    }

    static func age(_ seconds: Int64) -> String {
        let units: [(Int64, String)] = [
            (86400 * 365, "year"), (86400 * 7, "week"), (86400, "day"), (3600, "hour"), (60, "minute"),
        ]
        for (length, name) in units where seconds >= length {
            let count = seconds / length
            return "\(count) \(name)\(count == 1 ? "" : "s") ago"
        }
        return "moments ago"
    }

    @Test(arguments: [
        (0, "0 B"), (999, "999 B"), (-1, "-1 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"), (425_000_000, "425 MB"), (1_000_000_000, "1.0 GB"), (5_300_000_000_000, "5.3 TB"),
        (Int64.max, "9223372 TB"),
    ]) func sizesAreDecimal(_ count: Int64, _ text: String) { #expect(Quantity.bytes(count) == text) }
}
