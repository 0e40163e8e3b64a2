import Glibc
import Layers
import LinuxKernel
import TestSupport
import Testing

/// Compares flattened random layers with a model that is a dictionary of paths.
@Suite struct FlattenerTests {
    /// Random layers, their model, and whether the model rejects the last one.
    static func stack(_ generator: inout Seeded) -> (layers: [[Item]], model: LayerModel, isRefused: Bool) {
        var model = LayerModel()
        var layers: [[Item]] = []
        for number in 0..<Int.random(in: 1...5, using: &generator) {
            layers.append(model.randomLayer(number, &generator))
            do { try model.apply(layers[number]) } catch { return (layers, model, true) }
        }
        return (layers, model, false)
    }

    @Test(arguments: 0..<40) func agreesWithTheModel(_ seed: Int) throws {
        var generator = Seeded(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1)
        var refused = 0
        for _ in 0..<8 {
            let (layers, model, isRefused) = Self.stack(&generator)
            let place = try Workplace()
            var found: [String]
            do {
                let flat = try FileTree(reading: place.flatten(layers, ownership: .asRoot).descriptor)
                found = isRefused ? ["not refused"] : flat.differences(from: model.tree.onDisk)
            } catch let error as LayerError {
                found = isRefused ? [] : ["refused: \(error)"]
            }
            if isRefused { refused += 1 }
            #expect(found == [], "\(found.joined(separator: "\n"))\n\(layers.map { $0.map(\.summary) })")
        }
        #expect(refused < 8, "trees are to be compared")
    }

    struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let layers: [[Item]]
        let expected: [String: String]
        var testDescription: String { name }
    }

    static let cases: [Case] = [
        Case(
            name: "an implicit directory keeps the lower attributes",
            layers: [[.dir("a", 0o700)], [.file("a/f", "1")]],
            expected: ["a": "dir 700", "a/f": "file 644 1"]),
        Case(
            name: "an implicit directory follows a lower link",
            layers: [[.dir("usr"), .dir("usr/lib", 0o711), .symlink("usr/lib", "lib")], [.file("lib/x", "1")]],
            expected: ["usr": "dir 755", "usr/lib": "dir 711", "usr/lib/x": "file 644 1", "lib": "symlink usr/lib"]),
        Case(
            name: "an explicit directory replaces a lower link",
            layers: [
                [.dir("usr"), .dir("usr/lib"), .symlink("usr/lib", "lib")], [.dir("lib", 0o700), .file("lib/x", "1")],
            ],
            expected: ["usr": "dir 755", "usr/lib": "dir 755", "lib": "dir 700", "lib/x": "file 644 1"]),
        Case(
            name: "an implicit directory below a dead link makes its target",
            layers: [[.symlink("/var/x", "x")], [.file("x/f", "1")]],
            expected: ["x": "symlink /var/x", "var": "dir 755", "var/x": "dir 755", "var/x/f": "file 644 1"]),
        Case(
            name: "a whiteout through a lower link",
            layers: [[.dir("r"), .file("r/f", "1"), .file("r/g", "2"), .symlink("r", "l")], [.file("l/.wh.f")]],
            expected: ["r": "dir 755", "r/g": "file 644 2", "l": "symlink r"]),
        Case(
            name: "a whiteout below a link that is replaced hides nothing",
            layers: [[.dir("r"), .file("r/f", "1"), .symlink("r", "l")], [.dir("l"), .file("l/.wh.f")]],
            expected: ["r": "dir 755", "r/f": "file 644 1", "l": "dir 755"]),
        Case(
            name: "opaque clears a lower link's target only by itself",
            layers: [
                [.dir("r"), .file("r/f", "1"), .symlink("r", "l")], [.file("l/.wh..wh..opq"), .file("l/g", "2")],
            ],
            expected: ["r": "dir 755", "r/g": "file 644 2", "l": "symlink r"]),
        Case(
            name: "a hidden file may still be linked to",
            layers: [[.file("old", "1")], [.file(".wh.old"), .link("old", "new")]], expected: ["new": "file 644 1"]),
        Case(
            name: "a lower file under a new name beside its own",
            layers: [[.dir("d"), .file("d/old", "1")], [.link("d/old", "d/new")]],
            expected: ["d": "dir 755", "d/old": "file 644 1", "d/new": "file 644 1"]),
        Case(
            name: "a link found only through a lower link",
            layers: [[.dir("usr"), .symlink("usr", "u")], [.file("usr/f", "1"), .link("u/f", "g")]],
            expected: ["usr": "dir 755", "u": "symlink usr", "usr/f": "file 644 1", "g": "file 644 1"]),
        Case(
            name: "a link to a link that is to a lower file, before that",
            layers: [[.file("f", "1")], [.link("m", "a"), .link("f", "m"), .link("m", "z")]],
            expected: ["f": "file 644 1", "a": "file 644 1", "m": "file 644 1", "z": "file 644 1"]),
        Case(
            name: "a directory in the place of a link to a lower file",
            layers: [[.file("f", "1")], [.link("f", "a"), .file("a/in", "2")]],
            expected: ["f": "file 644 1", "a": "dir 755", "a/in": "file 644 2"]),
        Case(
            name: "a file where a lower link of an earlier name leads",
            layers: [[.dir("m"), .symlink("m", "l")], [.file("l/x", "1"), .file("m", "2")]],
            expected: ["l": "dir 755", "l/x": "file 644 1", "m": "file 644 2"]),
        Case(
            name: "a file where a lower link of a later name leads",
            layers: [[.dir("m"), .symlink("m", "z")], [.file("z/x", "1"), .file("m", "2")]],
            expected: ["z": "dir 755", "z/x": "file 644 1", "m": "file 644 2"]),
        Case(
            name: "directory over file, file over directory",
            layers: [
                [.file("a", "1"), .dir("b"), .file("b/x", "2")], [.dir("a"), .file("a/y", "3"), .file("b", "4")],
            ],
            expected: ["a": "dir 755", "a/y": "file 644 3", "b": "file 644 4"]),
        Case(
            name: "an opaque root", layers: [[.file("a", "1"), .dir("b")], [.file(".wh..wh..opq"), .file("c", "2")]],
            expected: ["c": "file 644 2"]),
        Case(
            name: "three layers of one name", layers: [[.file("a", "1")], [.file(".wh.a")], [.file("a", "3")]],
            expected: ["a": "file 644 3"]),
        Case(
            name: "a file like the holding place",
            layers: [[.file("x", "1"), .file(".berth-links-0", "mine")], [.link("x", "y"), .dir(".berth-links-1")]],
            expected: [
                "x": "file 644 1", "y": "file 644 1", ".berth-links-0": "file 644 mine", ".berth-links-1": "dir 755",
            ]),
    ]

    @Test(arguments: cases) func flattens(_ table: Case) throws {
        let place = try Workplace()
        #expect(try listing(place.flatten(table.layers).descriptor) == table.expected)
    }

    @Test func nothingIsWrittenTwice() throws {
        let place = try Workplace()
        let tree = try place.unpack(archive([.file("f", "content"), .symlink("f", "l")]))
        let flat = try place.directory("flat")
        try Flattener().compose([tree], into: flat)
        #expect(try flat.descriptor.status(of: "f").inode == tree.directory.descriptor.status(of: "f").inode)
    }

    /// layer.md: an entry's attributes replace the existing ones; an entry without extended attributes removes them.
    @Test func anUpperDirectoryHasNoneOfTheLowerAttributes() throws {
        let place = try Workplace()
        let lower = Item.dir("d").having("user.old", [1]).having("user.both", [1])
        let flat = try place.flatten([
            [lower, lower.named("e"), lower.named("f")],
            [.dir("d"), Item.dir("e").having("user.both", [2]).having("user.new", [3]), .file("f/in", "i")],
        ])
        func attributes(_ name: String) throws -> [[UInt8]: [UInt8]] {
            try FileTree(reading: flat.descriptor).entries[Array(name.utf8)]?.attributes ?? [:]
        }
        #expect(try attributes("d") == [:])
        #expect(try attributes("e") == [Array("user.both".utf8): [2], Array("user.new".utf8): [3]])
        // Without an entry, nothing is replaced.
        #expect(try attributes("f") == [Array("user.both".utf8): [1], Array("user.old".utf8): [1]])
    }

    @Test func missingTargetsAreNamed() throws {
        let place = try Workplace()
        let error = #expect(throws: LayerError.self) {
            _ = try place.flatten([[.file("a", "1")], [.link("nowhere", "b")]])
        }
        #expect(error?.reason == .archive(.hardLinkTargetMissing))
        #expect(error?.entry == Array("b".utf8))
    }

    /// Another file system than that of the tests, to which hard links are impossible.
    static let elsewhere = ["/dev/shm", "/var/tmp", "/run"].first { path in
        let here = try? FileStatus(of: "/tmp").device  // compared
        let there = try? FileStatus(of: path).device  // absent or not: compared
        return there != nil && there != here && access(path, W_OK) == 0
    }

    @Test(.enabled(if: elsewhere != nil, "needs two file systems")) func copiesWhereNoLinkCanBe() throws {
        let other = try OwnedFileDescriptor(opening: try #require(Self.elsewhere), [.readOnly, .directory])
        let place = try Workplace()
        let tree = try place.unpack(
            archive([
                .dir("d", 0o555), .file("d/f", String(repeating: "f", count: 5000), 0o640), .link("d/f", "g"),
                .symlink("f", "d/l"), .fifo("p"),
            ]))
        let name = "berth-layers-\(UInt64.random(in: 0...UInt64.max))"
        try other.makeDirectory(name, mode: 0o755)
        defer { try? other.removeTree(name) }  // best effort
        let flat = DescriptorBox(try other.open(name, [.readOnly, .directory]))
        try Flattener().compose([tree], into: flat)
        #expect(try listing(flat.descriptor) == listing(tree.directory.descriptor))
        #expect(try flat.descriptor.status(of: "g").device != tree.directory.descriptor.status(of: "g").device)
        #expect(try flat.descriptor.status(of: "g").inode == flat.descriptor.status(of: "d/f").inode)
        #expect(try flat.descriptor.status(of: "g").modified == tree.directory.descriptor.status(of: "g").modified)
    }

    @Test(
        arguments: [
            ([[.dir("a")], [.dir("a"), .file("a/.wh.x")]], nil),
            ([[.dir("a"), .file("a/.wh.x")]], .orphanWhiteout(layer: 0, path: Array("a/x".utf8))),
            ([[.file(".wh.x")]], .orphanWhiteout(layer: 0, path: [0x78])),
            ([[.file(".wh.x")], [.dir("a")]], nil),
            ([[.dir("b")], [.dir("a"), .file("a/.wh.x")]], .orphanWhiteout(layer: 1, path: Array("a/x".utf8))),
            ([[.dir("a")], [.dir("a"), .file("a/.wh..wh..opq"), .file("a/.wh.x")]], nil),
            ([[.dir("a")], [.file("a/f", "1")]], nil),
            ([[.dir("a", 0o700)], [.file("a/f", "1")]], .implicitDirectory(layer: 1, path: [0x61])),
            ([[Item.dir("a").having("user.x", [1])], [.file("a/f", "1")]], .implicitDirectory(layer: 1, path: [0x61])),
            ([[Item.dir("a").having("user.x", [1])], [.dir("a"), .file("a/f", "1")]], nil),
            ([[.dir("b"), .symlink("b", "a")], [.file("a/f", "1")]], .implicitDirectory(layer: 1, path: [0x61])),
            ([[.file("a", "1")], [.file("a/f", "1")]], .implicitDirectory(layer: 1, path: [0x61])),
            ([[.dir("a", 0o700)], [.file(".wh.a")], [.file("a/f", "1")]], nil),
            ([[.dir("a", 0o700)], [.file(".wh.a"), .file("a/f", "1")]], nil),
            ([[.dir("a"), .dir("a/b", 0o700)], [.dir("a"), .file("a/.wh..wh..opq")], [.file("a/b/f", "1")]], nil),
            ([[.file("a", "1")], [.link("a", "b")]], .openHardLink(layer: 1, path: [0x62])),
            ([[.file("a", "1")], [.file(".wh..wh..opq")]], .opaqueRoot(layer: 1)),
            ([[.dir("/", 0o700)], [.file("f", "1")]], .implicitDirectory(layer: 1, path: [])),
            ([[.dir("/", 0o700)], [.dir("/", 0o700), .file("f", "1")]], nil),
        ] as [([[Item]], OverlayCompatibility.Reason?)])
    func overlayCompatibility(_ row: ([[Item]], OverlayCompatibility.Reason?)) throws {
        let place = try Workplace()
        var trees: [LayerTree] = []
        for (index, items) in row.0.enumerated() { trees.append(try place.unpack(archive(items), as: "layer\(index)")) }
        let found = try OverlayCompatibility.check(trees)
        #expect(found == (row.1.map { .incompatible($0) } ?? .compatible))
    }
}
