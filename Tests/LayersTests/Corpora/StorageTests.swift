import Layers
import LinuxKernel
import TestSupport
import Testing

/// containers/storage's tables of links that lead out and of whiteouts, with our own data.
@Suite struct StorageTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let layer: [Item]
        /// The result if no such name exists inside; `nil` if the link has no target.
        let alone: [String: String]?
        /// The result if the image has its own file of that name, which the link then refers to.
        let beside: [String: String]?
        var testDescription: String { name }
    }

    /// The image's own directory with the victim's name, and its contents.
    static let inside: [Item] = [.dir("victim"), .file("victim/hello", "inside")]
    static let insideTree = ["victim": "dir 755", "victim/hello": "file 644 inside"]
    static func and(_ more: [String: String]) -> [String: String] { insideTree.merging(more) { $1 } }

    static let hardLink = Item.link("../victim", "loophole")
    static let symlink = Item.symlink("../victim", "loophole")

    static let cases: [Case] = [
        Case(
            name: "a name with dots", layer: [.file("../victim/dotdot", "x")],
            alone: ["victim": "dir 755", "victim/dotdot": "file 644 x"], beside: and(["victim/dotdot": "file 644 x"])),
        Case(
            name: "a name with a slash and dots", layer: [.file("/../victim/dotdot", "x")],
            alone: ["victim": "dir 755", "victim/dotdot": "file 644 x"], beside: and(["victim/dotdot": "file 644 x"])),
        Case(
            name: "read through a hard link", layer: [.link("../victim/hello", "dotdot")], alone: nil,
            beside: and(["dotdot": "file 644 inside"])),
        Case(
            name: "read through a hard link with a slash", layer: [.link("/../victim/hello", "dotdot")], alone: nil,
            beside: and(["dotdot": "file 644 inside"])),
        // The link refers to a directory, or is dangling; the next entry replaces it by a directory.
        Case(
            name: "written through a hard link", layer: [hardLink, .file("loophole/file", "x")],
            alone: ["loophole": "dir 755", "loophole/file": "file 644 x"],
            beside: and(["loophole": "dir 755", "loophole/file": "file 644 x"])),
        Case(
            name: "read through a hard link, by a link", layer: [hardLink, .symlink("loophole/hello", "symlink")],
            alone: nil, beside: nil),
        Case(
            name: "read through a hard link, by a hard link", layer: [hardLink, .link("loophole/hello", "hardlink")],
            alone: nil, beside: nil),
        Case(
            name: "removed through a hard link", layer: [hardLink, .file("loophole", "x")],
            alone: ["loophole": "file 644 x"], beside: and(["loophole": "file 644 x"])),
        Case(
            name: "read through a link", layer: [.symlink("../victim/hello", "dotdot")],
            alone: ["dotdot": "symlink ../victim/hello"], beside: and(["dotdot": "symlink ../victim/hello"])),
        Case(
            name: "read through a link with a slash", layer: [.symlink("/../victim/hello", "dotdot")],
            alone: ["dotdot": "symlink /../victim/hello"], beside: and(["dotdot": "symlink /../victim/hello"])),
        Case(
            name: "written through a link", layer: [symlink, .file("loophole/file", "x")],
            alone: ["loophole": "symlink ../victim", "victim": "dir 755", "victim/file": "file 644 x"],
            beside: and(["loophole": "symlink ../victim", "victim/file": "file 644 x"])),
        Case(
            name: "read through a link, by a link", layer: [symlink, .symlink("loophole/hello", "symlink")],
            alone: ["loophole": "symlink ../victim", "symlink": "symlink loophole/hello"],
            beside: and(["loophole": "symlink ../victim", "symlink": "symlink loophole/hello"])),
        Case(
            name: "read through a link, by a hard link", layer: [symlink, .link("loophole/hello", "hardlink")],
            alone: nil, beside: and(["loophole": "symlink ../victim", "hardlink": "file 644 inside"])),
        Case(
            name: "removed through a link", layer: [symlink, .file("loophole", "x")],
            alone: ["loophole": "file 644 x"], beside: and(["loophole": "file 644 x"])),
        Case(
            name: "written below a directory through a link",
            layer: [.symlink("../../victim", "dir/loophole"), .file("dir/loophole/new/file", "x")],
            alone: [
                "dir": "dir 755", "dir/loophole": "symlink ../../victim", "victim": "dir 755", "victim/new": "dir 755",
                "victim/new/file": "file 644 x",
            ],
            beside: and([
                "dir": "dir 755", "dir/loophole": "symlink ../../victim", "victim/new": "dir 755",
                "victim/new/file": "file 644 x",
            ])),
    ]

    @Test(arguments: cases) func nothingLeadsOut(_ table: Case) throws {
        for (lower, expected) in [([], table.alone), ([Self.inside], table.beside)] {
            let place = try Workplace()
            let victim = try place.directory("victim")
            try victim.descriptor.open("hello", [.writeOnly, .create], mode: 0o600).writeAll(Array("outside".utf8))
            let before = try FileTree(reading: victim.descriptor)
            if let expected {
                #expect(try listing(place.flatten(lower + [table.layer]).descriptor) == expected)
            } else {
                let error = #expect(throws: LayerError.self) { _ = try place.flatten(lower + [table.layer]) }
                #expect(error?.reason == .archive(.hardLinkTargetMissing))
            }
            #expect(try FileTree(reading: victim.descriptor) == before)
            #expect(try victim.descriptor.status(of: "hello").links == 1)
        }
    }

    // MARK: apply-junk: the compressed data is not an archive

    @Test(arguments: ["plain", "gzip", "zstd"]) func junk(_ packing: String) throws {
        let long = Array(String(repeating: "NAME=\"not an archive\"\n", count: 40).utf8)
        for (bytes, reason) in [
            (long, LayerError.Reason.archive(.checksum)), (Array(long[..<50]), .archive(.truncatedHeader)),
        ] {
            let blob = packing == "gzip" ? StreamTests.gzip(bytes) : packing == "zstd" ? StreamTests.zstd(bytes) : bytes
            let place = try Workplace()
            let error = #expect(throws: LayerError.self) { _ = try place.unpack(bytes, blob: blob) }
            #expect(error?.reason == reason)
        }
    }

    // MARK: Whiteouts, one layer after another

    /// A directory ends in a slash. A whiteout may refer to a name that starts with a dot.
    static let layers: [(change: [String], expected: [String])] = [
        (base, base),
        (
            [".bay", ".wh.baz", "foo/", "foo/.bce", "foo/.wh..wh..opq", "foo/cde/", "foo/cde/efg"],
            [".bay", ".baz", "bar/", "bar/bax", "bar/bay/", "foo/", "foo/.bce", "foo/cde/", "foo/cde/efg", "foobar"]
        ),
        (
            [".bay", ".wh..baz", ".wh.foobar", "foo/", "foo/.abc", "foo/.wh.cde", "bar/"],
            [".bay", "bar/", "bar/bax", "bar/bay/", "foo/", "foo/.abc", "foo/.bce"]
        ),
        ([".abc", ".wh..wh..opq", "foobar"], [".abc", "foobar"]),
    ]
    static let base = [
        ".baz", "bar/", "bar/bax", "bar/bay/", "baz", "foo/", "foo/.abc", "foo/.bcd/", "foo/.bcd/a", "foo/cde/",
        "foo/cde/def", "foo/cde/efg", "foo/fgh", "foobar",
    ]

    @Test(arguments: 1...4) func whiteouts(_ count: Int) throws {
        let items = Self.layers[..<count].map { layer in
            layer.change.map { $0.hasSuffix("/") ? Item.dir(String($0.dropLast()), 0o700) : Item.file($0, "", 0o600) }
        }
        var expected: [String: String] = [:]
        for name in Self.layers[count - 1].expected {
            if name.hasSuffix("/") {
                expected[String(name.dropLast())] = "dir 700"
            } else {
                expected[name] = "file 600 "
            }
        }
        let place = try Workplace()
        #expect(try listing(place.flatten(items).descriptor) == expected)
    }
}
