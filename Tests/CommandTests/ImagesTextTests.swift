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

    static func rows(_ images: [StoredImage], store: String = "/store") -> [ImageRow] {
        images.map {
            ImageRow($0, ImageSize(unique: $0.record.entries, shared: 7), store: store, now: now)
        }
    }

    static func table(_ images: [StoredImage], wide: [String] = []) throws -> String {
        let columns = ["Image", "ID", "Platform", "Files", "Size"] + wide + ["Pulled"]
        return try ListFormat<ImageRow>(nil, columns: columns).text(rows(images).flatMap(\.ofEachName))
    }

    @Test(arguments: [0, 1, 40]) func jsonHasAnEntryForEachImageAndStore(_ count: Int) throws {
        let images = Array(try Self.images().prefix(count))
        for stores in [[], ["/store"], ["/own \"store\"", "/größer"]] {
            let text = try JSONText.of(stores.flatMap { Self.rows(images, store: $0) }.map(ImageRow.Entry.init))
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
                #expect(entry["lastUse"] as? Int64 == image.lastUse)
                #expect((entry["uniqueSize"] as? NSNumber)?.uint64Value == image.record.entries)
                #expect(entry["sharedSize"] as? Int == 7)
                #expect(entry["layers"] as? Int == image.record.trees.count)
                #expect(entry["store"] as? String == stores[index / count])
            }
            #expect(!text.utf8.contains(0x1B) && !text.utf8.contains(0x7F))
        }
    }

    @Test func columnsStandBelowEachOther() throws {
        let images = Array(try Self.images().filter { !$0.names.contains { $0.contains("\n") } })
        let text = try Self.table(images + images)
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

    /// Images named a, b and c, pulled and used and sized in different orders, and one without a name.
    static func few() throws -> [ImageRow] {
        let images: [(names: [String], created: Int64, used: Int64, size: UInt64, unique: UInt64)] = [
            (["docker.io/library/a:1", "r.io:5000/team/a:2"], 100, 900, 5, 1),
            (["docker.io/nvidia/b:1"], 300, 400, 9, 3),
            (["oci:/tmp/c"], 200, 500, 7, 2), ([], 50, 60, 1, 0),
        ]
        return try images.enumerated().map { index, image in
            var record = LaunchRecord(
                digest: try Digest(parsing: "sha256:" + String(repeating: "\(index)", count: 64)), platform: .host,
                trees: [], overlay: true, name: "pulled:as")
            (record.created, record.size) = (image.created, image.size)
            return ImageRow(
                StoredImage(record, names: image.names, lastUse: image.used),
                ImageSize(unique: image.unique, shared: 10 - image.unique), store: "/store", now: 1000)
        }
    }

    @Test(arguments: [
        ("name", "abc"), ("pulled", "bca"), ("used", "acb"), ("size", "bca"), ("unique", "bca"), ("shared", "acb"),
    ]) func imagesAreSorted(_ key: String, _ expected: String) throws {
        var rows = try Self.few().filter { !$0.names.isEmpty }
        try #require(ImageRow.Order(rawValue: key)).apply(to: &rows)
        let letters = rows.map { row in ["a", "b", "c"].first { row.names[0].contains("/" + $0) } ?? "?" }
        #expect(letters.joined() == expected)
    }

    @Test(arguments: [
        (["reference=a"], [["docker.io/library/a:1"]]), (["reference=a:*"], [["docker.io/library/a:1"]]),
        (["reference=*/b"], [["docker.io/nvidia/b:1"]]), (["reference=nvidia/b:1"], [["docker.io/nvidia/b:1"]]),
        (["reference=*/*/a"], [["docker.io/library/a:1", "r.io:5000/team/a:2"]]),
        (["reference=*"], [["docker.io/library/a:1"]]), (["reference=oci:/tmp/?"], [["oci:/tmp/c"]]),
        (["reference=a", "reference=*/b"], [["docker.io/library/a:1"], ["docker.io/nvidia/b:1"]]),
        (["dangling=true"], [[]]), (["dangling=false", "reference=*/b"], [["docker.io/nvidia/b:1"]]),
        (["before=oci:/tmp/c"], [["docker.io/library/a:1", "r.io:5000/team/a:2"], []]),
        (["since=a"], [["docker.io/nvidia/b:1"], ["oci:/tmp/c"]]),
        (["since=222222222222"], [["docker.io/nvidia/b:1"]]), (["since=a", "before=nvidia/b:1"], [["oci:/tmp/c"]]),
    ]) func filtersChooseImages(_ filters: [String], _ expected: [[String]]) throws {
        let rows = try Self.few()
        #expect(try ImageFilter(filters, among: rows).apply(to: rows).map(\.names) == expected)
    }

    @Test(arguments: ["reference", "reference=", "dangling=maybe", "before=absent", "label=x", "since=2"])
    func whatIsNoFilterIsAnError(_ filter: String) throws {
        let rows = try Self.few()
        #expect(throws: Failure.self) { try ImageFilter([filter], among: rows) }
    }

    @Test func eachNameIsARowOfFields() throws {
        let format = try ListFormat<ImageRow>(
            "{{.Repository}}|{{.Tag}}|{{.ID}}|{{.SharedSize}}|{{.UniqueSize}}|{{.Used}}")
        #expect(
            try format.text(Self.few().flatMap(\.ofEachName)).split(separator: "\n") == [
                "docker.io/library/a|1|000000000000|9 B|1 B|1 minute ago",
                "r.io:5000/team/a|2|000000000000|9 B|1 B|1 minute ago",
                "docker.io/nvidia/b|1|111111111111|7 B|3 B|10 minutes ago",
                "oci:/tmp/c|<none>|222222222222|8 B|2 B|8 minutes ago",
                "pulled|as|333333333333|10 B|0 B|15 minutes ago",
            ])
    }

    @Test func aDryRunNamesImagesByName() throws {
        let item = CollectedItem(kind: .image, place: "images/sha256-ab", names: ["a:1", "b:2"], bytes: 0)
        #expect(PruneCommand.text(item) == "image a:1, b:2 (sha256:ab)")
        let others = [(CollectedItem.Kind.layer, "layers/sha256-cd"), (.file, "squashfs/k"), (.draft, "drafts/n-1")]
        #expect(
            others.map { PruneCommand.text(CollectedItem(kind: $0, place: $1, names: [], bytes: 1500)) } == [
                "layer sha256:cd, 1.5 kB", "unpacked file k, 1.5 kB", "unfinished n-1",
            ])
    }

    @Test func diskUseIsARowForEachKind() throws {
        let rows = [
            DiskUseRow(type: "Images", DiskUse(total: 3, active: 1, bytes: 2000, reclaimable: 500)),
            DiskUseRow(type: "Blob cache", nil), DiskUseRow(type: "Containers", DiskUse()),
        ]
        #expect(
            try ListFormat<DiskUseRow>(nil, columns: DiskUseRow.fields.map(\.name)).text(rows) == """
                TYPE        TOTAL  ACTIVE  SIZE    RECLAIMABLE
                Images      3      1       2.0 kB  500 B (25%)
                Blob cache  -      -       -       -
                Containers  0      0       0 B     0 B

                """)
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
