import Layers
import LinuxKernel
import TestSupport
import Testing

/// The cases of other projects' test suites with our own data: layers and the resulting image. The names identify the
/// project. `BreakoutTests` has containerd's breakouts; `TarReaderTests`, `SparseTests` and `StreamTests` have unusual
/// archives; `OverlayTests` mounts these layers with overlayfs.
@Suite struct CorpusTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let layers: [[Item]]
        let expected: [String: String]
        var testDescription: String { name }
    }

    static let cases =
        continuity + umociWhiteouts + umociOpaque + umociOpaqueTable + umociParents + umociEntries + containerregistry
        + mutate + storage + matrix + filters

    // MARK: containerd/continuity, FSSuite: states of a file system, as layers

    static let base: [Item] = [
        .dir("etc"), .file("etc/hosts", "127.0.0.1"), .link("etc/hosts", "etc/hosts.allow"), .dir("usr"),
        .dir("usr/lib"), .file("usr/lib/so", "lib", 0o755), .symlink("so", "usr/lib/so.2"), .dir("home", 0o700),
    ]
    static let baseTree = [
        "etc": "dir 755", "etc/hosts": "file 644 127.0.0.1", "etc/hosts.allow": "file 644 127.0.0.1",
        "usr": "dir 755", "usr/lib": "dir 755", "usr/lib/so": "file 755 lib", "usr/lib/so.2": "symlink so",
        "home": "dir 700",
    ]

    static func with(_ changes: [String: String?]) -> [String: String] {
        changes.reduce(into: baseTree) { tree, change in tree[change.key] = change.value }
    }

    static let continuity: [Case] = [
        Case(
            name: "continuity Basic",
            layers: [
                base,
                [
                    .dir("etc"), .file("etc/hosts", "changed"), .link("etc/hosts", "etc/hosts.allow"),
                    .dir("root", 0o700),
                    .file("root/.profile", "PATH"),
                ],
            ],
            expected: with([
                "etc/hosts": "file 644 changed", "etc/hosts.allow": "file 644 changed", "root": "dir 700",
                "root/.profile": "file 644 PATH",
            ])),
        Case(
            name: "continuity Deletion",
            layers: [
                base, [.dir("usr"), .file("usr/.wh.lib"), .file(".wh.home")],
                [.dir("usr"), .dir("usr/lib"), .file("usr/lib/new", "n")],
            ],
            expected: with([
                "usr/lib/so": String?.none, "usr/lib/so.2": String?.none, "home": String?.none,
                "usr/lib/new": "file 644 n",
            ])),
        Case(
            name: "continuity Update",
            layers: [
                base, [.dir("etc"), .file("etc/hosts", "a"), .file("etc/fstab", "x")],
                [.dir("etc"), .file("etc/hosts", "longer than before"), .file("etc/fstab", "", 0o600)],
            ],
            expected: with(["etc/hosts": "file 644 longer than before", "etc/fstab": "file 600 "])),
        Case(
            name: "continuity DirectoryPermission",
            layers: [
                [.dir("d1", 0o700), .dir("d2", 0o751), .dir("d3", 0o777), .file("d1/f", "1")],
                [.dir("d1", 0o777), .dir("d2", 0o500), .dir("d3", 0o1777)],
            ],
            expected: ["d1": "dir 777", "d1/f": "file 644 1", "d2": "dir 500", "d3": "dir 1777"]),
        Case(
            name: "continuity ParentDirectoryPermission",
            layers: [
                [.dir("d1", 0o700), .dir("d2", 0o751), .dir("d3", 0o777)],
                [.file("d1/f", "1"), .file("d2/f", "2"), .file("d3/f", "3")],
            ],
            expected: [
                "d1": "dir 700", "d1/f": "file 644 1", "d2": "dir 751", "d2/f": "file 644 2", "d3": "dir 777",
                "d3/f": "file 644 3",
            ]),
        Case(
            name: "continuity HardlinkUnmodified",
            layers: [
                [.dir("etc"), .file("etc/base", "b"), .link("etc/base", "etc/name1")],
                [.dir("etc"), .link("etc/base", "etc/name2")],
            ],
            expected: [
                "etc": "dir 755", "etc/base": "file 644 b", "etc/name1": "file 644 b", "etc/name2": "file 644 b",
            ]),
        Case(
            name: "continuity HardlinkBeforeUnmodified",
            layers: [
                [.dir("etc"), .file("etc/name0", "b"), .link("etc/name0", "etc/base")],
                [.dir("etc"), .file("etc/.wh.name0"), .link("etc/base", "etc/name1")],
            ],
            expected: ["etc": "dir 755", "etc/base": "file 644 b", "etc/name1": "file 644 b"]),
        Case(
            name: "continuity HardlinkBeforeModified",
            layers: [
                [.dir("etc"), .file("etc/name0", "b"), .link("etc/name0", "etc/base")],
                [.dir("etc"), .file("etc/name0", "new"), .link("etc/name0", "etc/name1")],
            ],
            expected: [
                "etc": "dir 755", "etc/base": "file 644 b", "etc/name0": "file 644 new", "etc/name1": "file 644 new",
            ]),
    ]

    // MARK: umoci: TestUnpackLayer…Whiteout and …OpaqueWhiteout

    static let tenLower: [Item] = [
        .dir("dir", 0o750), .dir("dir/sub"), .file("dir/sub/file", "f"), .file("file", "x"), .symlink("dir", "link"),
        .symlink("nowhere", "dangling"), .fifo("pipe"), .file("dir/other", "o"),
    ]
    static let tenTree = [
        "dir": "dir 750", "dir/sub": "dir 755", "dir/sub/file": "file 644 f", "file": "file 644 x",
        "link": "symlink dir", "dangling": "symlink nowhere", "pipe": "fifo 644", "dir/other": "file 644 o",
    ]

    static func without(_ paths: String...) -> [String: String] {
        tenTree.filter { node in !paths.contains { node.key == $0 || node.key.hasPrefix($0 + "/") } }
    }

    static func umoci(_ name: String, _ upper: [Item], _ expected: [String: String]) -> Case {
        Case(name: "umoci " + name, layers: [tenLower, upper], expected: expected)
    }

    static let umociWhiteouts: [Case] = [
        umoci("whiteout of a file", [.file(".wh.file")], without("file")),
        umoci("whiteout of an empty place", [.file(".wh.nothing")], tenTree),
        umoci("whiteout of a directory", [.file(".wh.dir")], without("dir")),
        umoci(
            "whiteout of a file far below", [.dir("dir", 0o750), .dir("dir/sub"), .file("dir/sub/.wh.file")],
            without("dir/sub/file")),
        umoci("whiteout of a directory below", [.dir("dir", 0o750), .file("dir/.wh.sub")], without("dir/sub")),
        umoci("whiteout of a link", [.file(".wh.link")], without("link")),
        umoci("whiteout of a dangling link", [.file(".wh.dangling")], without("dangling")),
        umoci("whiteout of a pipe", [.file(".wh.pipe")], without("pipe")),
        umoci("whiteout through a link", [.file("link/.wh.other")], without("dir/other")),
        umoci("whiteouts of all", ["dir", "file", "link", "dangling", "pipe"].map { .file(".wh." + $0) }, [:]),
    ]

    static let umociOpaque: [Case] = [
        umoci(
            "opaque directory", [.dir("dir"), .file("dir/.wh..wh..opq")],
            without("dir/sub", "dir/other").merging(["dir": "dir 755"]) { $1 }),
        umoci(
            "opaque before its directory's entry", [.file("dir/.wh..wh..opq"), .dir("dir", 0o700)],
            without("dir/sub", "dir/other").merging(["dir": "dir 700"]) { $1 }),
        umoci(
            "opaque far below", [.dir("dir", 0o750), .dir("dir/sub"), .file("dir/sub/.wh..wh..opq")],
            without("dir/sub/file")),
        umoci(
            "opaque with new files before and behind",
            [.dir("dir", 0o750), .file("dir/a", "1"), .file("dir/.wh..wh..opq"), .file("dir/b", "2")],
            without("dir/sub", "dir/other").merging(["dir/a": "file 644 1", "dir/b": "file 644 2"]) { $1 }),
        umoci(
            "opaque with a file of the same name",
            [.dir("dir", 0o750), .file("dir/.wh..wh..opq"), .file("dir/other", "new")],
            without("dir/sub").merging(["dir/other": "file 644 new"]) { $1 }),
        umoci(
            "opaque with a directory of the same name",
            [.dir("dir", 0o750), .file("dir/.wh..wh..opq"), .dir("dir/sub"), .file("dir/sub/new", "n")],
            without("dir/other", "dir/sub/file").merging(["dir/sub/new": "file 644 n"]) { $1 }),
        umoci(
            "opaque of an empty place", [.dir("new"), .file("new/.wh..wh..opq")],
            tenTree.merging(["new": "dir 755"]) { $1 }),
        umoci(
            "opaque and whiteout beside each other",
            [.dir("dir", 0o750), .file("dir/.wh.other"), .file("dir/.wh..wh..opq")], without("dir/sub", "dir/other")),
        umoci("opaque root", [.file(".wh..wh..opq"), .file("only", "o")], ["only": "file 644 o"]),
        umoci(
            "opaque twice", [.dir("dir", 0o750), .file("dir/.wh..wh..opq"), .file("dir/.wh..wh..opq")],
            without("dir/sub", "dir/other")),
    ]

    static let umociParents: [Case] =
        [
            // umoci#546
            umoci(
                "a file used as a directory", [.file("file/deep/er", "e")],
                without("file").merging([
                    "file": "dir 755", "file/deep": "dir 755", "file/deep/er": "file 644 e",
                ]) { $1 }),
            umoci(
                "a pipe used as a directory", [.file("pipe/f", "e")],
                without("pipe").merging(["pipe": "dir 755", "pipe/f": "file 644 e"]) { $1 }),
            umoci(
                "a link to a directory is walked", [.file("link/f", "e")],
                tenTree.merging(["dir/f": "file 644 e"]) { $1 }),
            umoci(
                "a link's entry replaces the directory", [.symlink("file", "dir")],
                without("dir").merging(["dir": "symlink file"]) { $1 }),
        ]
        // SymlinkScoping: every link stays inside.
        + ["/", "../", "../../../../", "/../..//", "./../../"].map { prefix in
            umoci(
                "a link \(prefix)dir", [.symlink(prefix + "dir", "scoped"), .file("scoped/in", "i")],
                tenTree.merging(["scoped": "symlink \(prefix)dir", "dir/in": "file 644 i"]) { $1 })
        }

    // MARK: go-containerregistry, pkg/v1/mutate

    static let containerregistry: [Case] = [
        Case(
            name: "ggcr ExtractWhiteout",
            layers: [[.file("foo.txt", "foo")], [.file("bar.txt", "b"), .file(".wh.foo.txt")]],
            expected: ["bar.txt": "file 644 b"]),
        Case(
            name: "ggcr ExtractWhiteout, later again",
            layers: [[.file("foo", "1")], [.file(".wh.foo")], [.file("foo", "2")], [.file(".wh.foo")]], expected: [:]),
        Case(
            name: "ggcr ExtractOverwrittenFile",
            layers: [[.file("foo.txt", "foo")], [.file("foo.txt", "bar")]], expected: ["foo.txt": "file 644 bar"]),
        Case(
            name: "ggcr ExtractOpaqueWhiteout",
            layers: [[.dir("a"), .file("a/one", "1")], [.dir("a"), .file("a/.wh..wh..opq"), .file("a/two", "2")]],
            expected: ["a": "dir 755", "a/two": "file 644 2"]),
        Case(
            name: "ggcr ExtractRejectsUnsafeArchivePaths: kept inside",
            layers: [[.file("../../etc/up", "u"), .file("/abs", "a"), .file("a/../../b", "b")]],
            expected: ["etc": "dir 755", "etc/up": "file 644 u", "abs": "file 644 a", "b": "file 644 b"]),
        Case(
            name: "ggcr whiteout of a directory, then anew",
            layers: [[.dir("d"), .file("d/f", "1")], [.file(".wh.d")], [.dir("d"), .file("d/g", "2")]],
            expected: ["d": "dir 755", "d/g": "file 644 2"]),
    ]

    // MARK: containers/storage: links that lead out, whiteout tables

    static let storage: [Case] =
        [
            ("relative, up", "../victim"), ("relative, far up", "../../../victim"), ("absolute", "/../victim"),
            ("through dots", "a/../../victim"), ("doubled slashes", "..//..//victim"), ("current", "./../victim"),
            ("of dots", "../.."),
        ].map { (kind: String, target: String) in
            Case(
                name: "storage invalid symlink, \(kind)",
                layers: [[.symlink(target, "slink"), .file("slink/in/f", "x")]],
                expected: target == "../.."
                    ? ["slink": "symlink ../..", "in": "dir 755", "in/f": "file 644 x"]
                    : [
                        "slink": "symlink \(target)", "victim": "dir 755", "victim/in": "dir 755",
                        "victim/in/f": "file 644 x",
                    ].merging(target.hasPrefix("a/") ? ["a": "dir 755"] : [:]) { $1 })
        } + [
            Case(
                name: "storage whiteout table",
                layers: [
                    [.dir("d1"), .file("d1/f", "1"), .dir("d2"), .file("d2/f", "2"), .file("f", "3")],
                    [.dir("d2"), .file("d2/.wh..wh..opq"), .file("d2/g", "4"), .file(".wh.d1"), .file(".wh.f")],
                ],
                expected: ["d2": "dir 755", "d2/g": "file 644 4"])
        ]

    // MARK: Charliecloud's file quirks: each type replaced by each other, by an entry alone and after a whiteout

    static let kinds: [(name: String, items: [Item], tree: [String: String])] = [
        ("file", [.file("q", "f")], ["q": "file 644 f"]),
        ("empty file", [.file("q")], ["q": "file 644 "]),
        ("directory", [.dir("q", 0o711), .file("q/in", "i")], ["q": "dir 711", "q/in": "file 644 i"]),
        ("link to a file", [.symlink("target", "q")], ["q": "symlink target"]),
        ("link to a directory", [.symlink("dir", "q")], ["q": "symlink dir"]),
        ("dangling link", [.symlink("nowhere", "q")], ["q": "symlink nowhere"]),
        ("pipe", [.fifo("q")], ["q": "fifo 644"]),
    ]

    static let matrix: [Case] = kinds.flatMap { old in
        kinds.flatMap { new in
            [false, true].map { isHidden in
                let beside: [Item] = [.file("target", "t"), .dir("dir"), .file("dir/d", "d")]
                var tree = ["target": "file 644 t", "dir": "dir 755", "dir/d": "file 644 d"].merging(new.tree) { $1 }
                // Two directories are merged unless the lower one is hidden.
                if old.name == "directory", new.name == "directory", !isHidden { tree["q/in"] = "file 644 i" }
                return Case(
                    name: "charliecloud \(old.name) to \(new.name)\(isHidden ? ", behind a whiteout" : "")",
                    layers: [beside + old.items, (isHidden ? [.file(".wh.q")] : []) + new.items], expected: tree)
            }
        }
    }

    @Test(arguments: cases) func flattens(_ table: Case) throws {
        let place = try Workplace()
        #expect(try listing(place.flatten(table.layers).descriptor) == table.expected)
    }

    /// umoci: removing an entry leaves the directory's time as its entry or the lower layer has it.
    @Test func aWhiteoutIsNoChangeOfItsDirectory() throws {
        func layer(_ add: (inout TarWriter) -> Void) -> [UInt8] {
            var writer = TarWriter()
            add(&writer)
            writer.end()
            return writer.bytes
        }
        let lower = layer {
            $0.add(.init(name: Array("d/".utf8), mode: 0o755, modified: 1000, type: UInt8(ascii: "5")))
            $0.add(.init(name: Array("d/f".utf8), modified: 2000))
        }
        let place = try Workplace()
        let trees = try [
            place.unpack(lower, as: "0"),
            place.unpack(layer { $0.add(.init(name: Array("d/.wh.f".utf8), modified: 3000)) }, as: "1"),
        ]
        let flat = try place.directory("flat")
        try Flattener().compose(trees, into: flat)
        #expect(try flat.descriptor.status(of: "d").modified == Timestamp(seconds: 1000))
        #expect(try flat.descriptor.open("d", [.readOnly, .directory]).entries() == [])
    }

    /// containers/storage: hard links that lead out are links inside, or dangling.
    @Test(arguments: ["../victim", "../../victim", "/../victim", "a/../../victim", "./../victim", "..//victim"])
    func hardLinksThatLeadOutStayInside(_ target: String) throws {
        let place = try Workplace()
        try place.root.descriptor.makeDirectory("tree", mode: 0o755)
        _ = try place.root.descriptor.open("victim", [.writeOnly, .create], mode: 0o644)
        let error = #expect(throws: LayerError.self) { _ = try place.flatten([[.link(target, "h")]]) }
        #expect(error?.reason == .archive(.hardLinkTargetMissing))
        let other = try Workplace()
        let flat = try other.flatten([[.file("victim", "inside"), .link(target, "h")]])
        #expect(try listing(flat.descriptor) == ["victim": "file 644 inside", "h": "file 644 inside"])
        withExtendedLifetime(other) {}
    }
}
