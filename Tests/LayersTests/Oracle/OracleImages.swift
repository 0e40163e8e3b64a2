import Foundation
import ImageSpec
import LinuxKernel
import TestSupport

/// An image that several programs unpack.
struct OracleImage: Sendable {
    let name: String
    /// Uncompressed layers, lowest first.
    let layers: [[UInt8]]
    /// The entries of the layers, if known.
    var items: [[Item]] = []

    init(_ name: String, _ layers: [[Item]]) {
        self.name = name
        self.layers = layers.map { archive($0) }
        items = layers
    }

    /// The images of all corpora, including those that Berth rejects.
    static let corpora: [OracleImage] =
        ([matrix]
            + CorpusTests.cases.filter { !$0.name.hasPrefix("charliecloud ") }.map { OracleImage($0.name, $0.layers) })
        + BreakoutTests.cases.map {
            OracleImage("containerd " + $0.name, $0.lower.isEmpty ? [$0.layer] : [$0.lower, $0.layer])
        }
        + UnpackTests.cases.map { OracleImage("unpacking: " + $0.name, [$0.items]) }
        + FlattenerTests.cases.map { OracleImage("flattening: " + $0.name, $0.layers) }

    /// All cases of the matrix in one image; their paths tell them apart.
    private static let matrix = OracleImage(
        "Charliecloud's matrix",
        (0..<2).map { number in
            CorpusTests.matrix.enumerated().flatMap { index, table in
                [.dir("m\(index)")] + table.layers[number].map { $0.named("m\(index)/" + $0.name) }
            }
        })

    /// One image with every feature, and images with random layers between chosen ones.
    static let ofOurOwn: [OracleImage] =
        [
            OracleImage("attributes, times, owners, names", [properties, changes]),
            OracleImage(
                "hard links of AUFS",
                [
                    [
                        .dir(".wh..wh.plnk"), .file(".wh..wh.plnk/1.2", "x"), .link(".wh..wh.plnk/1.2", "f"),
                        .file("g", "y"),
                    ]
                ]),
            OracleImage(
                "a whiteout in a directory that is nowhere", [[.dir("d")], [.file("x/y/.wh.f"), .file("g", "y")]]),
            OracleImage("a link to a link to a lower file", [[.file("f", "x")], [.link("m", "a"), .link("f", "m")]]),
        ]
        + (0..<6).map { seed in
            OracleImage("random \(seed)", [base] + plainLayers(seed) + [top])
        }

    /// With entries for parents, whiteouts before the entries that they spare, and no links, as real tools write them.
    /// The cases above test other programs with the rest one by one.
    private static func plainLayers(_ seed: Int) -> [[Item]] {
        var random = FlattenerTests.Seeded(state: UInt64(seed) &+ 1)
        return (0..<Int.random(in: 1...3, using: &random)).map { number in
            var directories = [""]
            var items: [Item] = []
            for index in 0..<Int.random(in: 3...14, using: &random) {
                let (parent, letter) = (
                    directories.randomElement(using: &random) ?? "", "abcd".randomElement(using: &random) ?? "a"
                )
                let path = parent + String(letter)
                if items.contains(where: { [path, parent + ".wh." + String(letter)].contains($0.name) }) { continue }
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<4:
                    directories.append(path + "/")
                    items.append(.dir(path, [0o755, 0o700, 0o555].randomElement(using: &random) ?? 0o755))
                case 4..<7: items.append(.file(path, "\(number).\(index)").at(1_600_000_000 + Int64(index), 5))
                default: items.append(.file(parent + ".wh." + String(letter)))
                }
            }
            return items
        }
    }

    private static let base: [Item] = [
        .dir("z", 0o711), .file("z/one", "1", 0o640), .link("z/one", "z/two"), .symlink("../a", "z/up"),
        .symlink("/absolute", "z/root"), .fifo("z/pipe"), .file("z/gone", "x"), .dir("z/full"),
        .file("z/full/f", "y"), .dir("y", 0o1777), .file("y/su", "s", 0o4755), .file("\u{E9}\u{1F600} name", "utf-8"),
        .file("long/" + String(repeating: "n", count: 180), "long"),
    ]
    private static let top: [Item] = [
        .dir("z", 0o700), .file("z/.wh.gone"), .dir("z/full", 0o750), .file("z/full/.wh..wh..opq"),
        .file("z/full/new", "n"), .file("z/up", "no longer a link"), .file("implicit/deep/file", "i"),
        .file("y/one", "2"),
    ]

    /// An access ACL in the kernel's format: version 2, then owner rwx, group r-x, others r-x.
    private static let accessACL: [UInt8] =
        [2, 0, 0, 0]
        + [(1, 7), (4, 5), (0x20, 5)].flatMap { (tag: UInt8, bits: UInt8) in
            [tag, 0, bits, 0, 0xFF, 0xFF, 0xFF, 0xFF] as [UInt8]
        }

    private static func attributed(_ item: Item) -> Item {
        // Version 2 of capabilities(7): cap_net_raw.
        let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20] + [UInt8](repeating: 0, count: 14)
        return item.having("user.kept", [0x31, 0xFF, 0x30]).having("user.name with blanks", Array("v".utf8))
            .having("user.overlay.opaque", Array("y".utf8)).having("user.overlay.redirect", Array("/etc".utf8))
            .having("trusted.overlay.opaque", Array("y".utf8)).having("trusted.other", Array("t".utf8))
            .having("security.capability", capability).having("security.selinux", Array("a:b:c:s0\u{0}".utf8))
            .having("system.posix_acl_access", accessACL)
    }

    private static let properties: [Item] = [
        .dir("./", 0o750).at(1_000_000_000, 5),
        .dir("x"), attributed(.file("x/file", "f", 0o755)), attributed(.dir("x/dir")), attributed(.file("x/replaced")),
        attributed(.dir("x/again")), .file("x/empty").having("user.empty", []),
        .dir("t").at(1_500_000_000, 123_456_789), .file("t/new", "n").at(1_600_000_000, 987_654_321),
        .file("t/old").at(-5, 0), .file("t/older").at(-86400 * 365 * 60, 250_000_000),
        .file("t/late").at(5_000_000_000, 1), .symlink("new", "t/link").at(1_200_000_000, 7),
        .fifo("t/pipe").at(1_300_000_000, 9), .file("t/epoch").at(0, 0),
        .dir("o", 0o770).owned(by: 1234, 5678), .file("o/f", "f", 0o640).owned(by: 4_000_000, 1),
        .symlink("f", "o/l").owned(by: 7, 8), .fifo("o/p").owned(by: 9, 10),
        .link("o/f", "o/h").owned(by: 4_000_000, 1),
        .dir("n"), named([0xFF, 0xFE]), named(Array("line\nfeed".utf8)), named(Array("e\u{301}".utf8)),
        named(Array("\u{E9}".utf8)), named([UInt8](repeating: 0x80, count: 255)), named(Array("back\\slash".utf8)),
        .symlink("\u{E9}", "n/link"),
    ]
    private static func named(_ name: [UInt8]) -> Item {
        Item(name: "", type: "0", content: "n", rawName: Array("n/".utf8) + name)
    }
    /// No entries for the directories above; attributes removed; times and modes changed.
    private static let changes: [Item] = [
        .file("x/replaced", "without"), .dir("x/again", 0o711), .file("t/new", "newer").at(1_650_000_000, 1),
        .link("o/f", "o/second").owned(by: 4_000_000, 1),
    ]
}

extension OracleImage {
    /// Writes a layout with one image per tag.
    static func write(_ images: [(tag: String, image: OracleImage)], to place: TemporaryDirectory) throws {
        func blob(_ bytes: [UInt8]) throws -> [String: Any] {
            let name = digest(bytes).hex
            try place.write(bytes, to: "blobs/sha256/" + name)
            return ["digest": "sha256:" + name, "size": bytes.count]
        }
        func described(_ bytes: [UInt8], _ type: String) throws -> [String: Any] {
            try blob(bytes).merging(["mediaType": "application/vnd.oci.image." + type]) { $1 }
        }
        func json(_ value: [String: Any]) throws -> [UInt8] {
            Array(try JSONSerialization.data(withJSONObject: value, options: .sortedKeys))
        }
        var entries: [[String: Any]] = []
        for (tag, image) in images {
            let config = try json([
                "architecture": "\(Platform.host.architecture)", "os": "linux",
                "rootfs": ["type": "layers", "diff_ids": image.layers.map { "\(digest($0))" }],
                // Makes images with the same layers different.
                "config": ["Labels": ["case": image.name]],
            ])
            let manifest = try json([
                "schemaVersion": 2, "config": try described(config, "config.v1+json"),
                "layers": try image.layers.map { try described($0, "layer.v1.tar") },
            ])
            var entry = try described(manifest, "manifest.v1+json")
            entry["annotations"] = ["org.opencontainers.image.ref.name": tag]
            entries.append(entry)
        }
        try place.write(#"{"imageLayoutVersion":"1.0.0"}"#, to: "oci-layout")
        try place.write(try json(["schemaVersion": 2, "manifests": entries]), to: "index.json")
    }
}
