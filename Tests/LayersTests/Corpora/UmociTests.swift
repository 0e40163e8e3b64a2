import Layers
import LinuxKernel
import TestSupport
import Testing

/// umoci's oci/layer tests and go-containerregistry's pkg/v1/mutate, case by case, with our own data. `CorpusTests`
/// runs them flattened, `OverlayTests` with the kernel's overlayfs. docs/reference/corpora.md is the list.
extension CorpusTests {
    // MARK: umoci: TestUnpackOpaqueWhiteout, all below one directory

    private static let veryBad = "../../../../../../../../../../../../etc/shadow"

    private static func opaque(_ name: String, lower: [Item], upper: [Item], stays: [String: String]) -> Case {
        func below(_ items: [Item]) -> [Item] {
            items.map {
                var item = $0
                item.name = "t/" + $0.name
                return item
            }
        }
        return Case(
            name: "umoci OpaqueWhiteout " + name,
            layers: [below(lower + [.file("was", "w")]), below(upper + [.file(".wh..wh..opq")])],
            expected: Dictionary(uniqueKeysWithValues: stays.map { ("t/" + $0.key, $0.value) }).merging(["t": "dir 755"]
            ) { $1 })
    }

    private static let levels: [Item] = [
        .file("level1_file"), .symlink("..", "level1_link"), .dir("level1a"), .file("level1a/level2_file"),
        .symlink("../../../", "level1a/level2_link"), .dir("level1a/level2a"), .file("level1a/level2a/level3_fileA"),
        .file("level1a/level2a/level3_fileB"), .dir("level1a/level2b"), .file("level1a/level2b/level3_fileA"),
        .file("level1a/level2b/level3_fileB"), .dir("level1a/level2b/level3"), .dir("level1a/level2b/level3/level4"),
        .dir("level1a/level2b/level3/level4"), .file("level1a/level2b/level3_fileA"), .dir("level1b"),
        .file("level1b/level2_fileA"), .file("level1b/level2_fileB"), .dir("level1b/level2"),
        .file("level1b/level2/level3_file"),
    ]
    private static let upperLevels: Set<String> = [
        "level1_file", "level1a", "level1a/level2_link", "level1a/level2b", "level1a/level2b/level3_fileA",
    ]
    private static let twoLevels: [Item] = [
        .file("file"), .symlink("..", "link"), .symlink("./nothing", "badlink"), .dir("dir"),
        Item(name: "dir/file", type: "\0"), .symlink("../badlink", "dir/link"), .symlink(veryBad, "dir/verybadlink"),
        .symlink("/" + veryBad, "dir/verybadlink2"),
    ]
    private static let upperOfTwo: Set<String> = ["file", "dir", "dir/file", "dir/verybadlink"]

    static let umociOpaqueTable: [Case] = [
        opaque("EmptyDir", lower: [], upper: [], stays: [:]),
        opaque(
            "OneLevel", lower: [.file("file"), .fifo("fifo")],
            upper: [.symlink("..", "link"), .symlink("./nothing", "badlink")],
            stays: ["link": "symlink ..", "badlink": "symlink ./nothing"]),
        opaque(
            "OneLevelNoUpper",
            lower: [.file("file"), .symlink("..", "link"), .symlink("./nothing", "badlink"), .fifo("fifo")], upper: [],
            stays: [:]),
        opaque(
            "TwoLevel", lower: twoLevels.filter { !upperOfTwo.contains($0.name) },
            upper: twoLevels.filter { upperOfTwo.contains($0.name) },
            stays: [
                "file": "file 644 ", "dir": "dir 755", "dir/file": "file 644 ", "dir/verybadlink": "symlink \(veryBad)",
            ]),
        opaque("TwoLevelNoUpper", lower: twoLevels, upper: [], stays: [:]),
        opaque(
            "MultiLevel", lower: levels.filter { !upperLevels.contains($0.name) },
            upper: levels.filter { upperLevels.contains($0.name) },
            stays: [
                "level1_file": "file 644 ", "level1a": "dir 755", "level1a/level2_link": "symlink ../../../",
                "level1a/level2b": "dir 755", "level1a/level2b/level3_fileA": "file 644 ",
            ]),
        opaque("MultiLevelNoUpper", lower: levels, upper: [], stays: [:]),
        opaque(
            "MissingUpperAncestor",
            lower: [
                .dir("some"), .dir("some/dir"), .dir("another"), .dir("another/dir"), .file("another/dir/somewhere"),
            ], upper: [.file("some/dir/somewhere")],
            stays: ["some": "dir 755", "some/dir": "dir 755", "some/dir/somewhere": "file 644 "]),
        opaque(
            "UpperWhiteout", lower: [.file("fileC")],
            upper: [
                .file(".wh.fileB"), .file("fileA"), .file("fileB"), .file(".wh.fileA"), .file(".wh.fileC"),
            ], stays: ["fileA": "file 644 ", "fileB": "file 644 "]),
        opaque(
            "UpperDirWhiteout",
            lower: [
                .file("file"), .symlink("../badlink", "dir1/link"), .symlink("/" + veryBad, "dir1/verybadlink2"),
                .symlink("../badlink", "dir2/link"),
            ],
            upper: [
                .file(".wh.dir2"), .dir("dir1"), .file("dir1/file"), .symlink(veryBad, "dir1/verybadlink"),
                .file(".wh.dir1"), .dir("dir2"), .file("dir2/file"),
            ],
            stays: [
                "dir1": "dir 755", "dir1/file": "file 644 ", "dir1/verybadlink": "symlink \(veryBad)",
                "dir2": "dir 755",
                "dir2/file": "file 644 ",
            ]),
    ]

    // MARK: umoci: TestUnpackEntry…, TestUnpackHardlink, bats' keep-dirlinks

    static let umociEntries: [Case] =
        [
            "/", "/../", "/../../../../../../../../../../../../../../../",
            "/./.././.././.././.././.././.././.././.././../", "..",
        ]
        .map { prefix in
            Case(
                name: "umoci SymlinkScoping \(prefix)",
                layers: [[.symlink(prefix, "link")], [.file("link/file", "i")]],
                expected: ["link": "symlink \(prefix)", "file": "file 644 i"])
        }
        + ["/../file", "../file"].map { name in
            Case(
                name: "umoci SanitiseScoping \(name)", layers: [[.file(name, "i")]], expected: ["file": "file 644 i"])
        } + [
            Case(
                name: "umoci NonDirParent", layers: [[.file("nondir"), .file("nondir/foo/bar/baz")]],
                expected: [
                    "nondir": "dir 755", "nondir/foo": "dir 755", "nondir/foo/bar": "dir 755",
                    "nondir/foo/bar/baz": "file 644 ",
                ]),
            Case(
                name: "umoci ParentDir", layers: [[.file("a/b/c/file", "v")]],
                expected: ["a": "dir 755", "a/b": "dir 755", "a/b/c": "dir 755", "a/b/c/file": "file 644 v"]),
            Case(
                name: "umoci Hardlink",
                layers: [
                    [
                        .file("regular", "v"), .link("/regular", "hard link"), .symlink("../../../regular", "link"),
                        .link("../../../link", "hard link to symlink"),
                    ]
                ],
                expected: [
                    "regular": "file 644 v", "hard link": "file 644 v", "link": "symlink ../../../regular",
                    "hard link to symlink": "symlink ../../../regular",
                ]),
            // Without umoci's option: a directory's entry replaces a link, as layer.md requires, also if links form a
            // loop.
            Case(
                name: "umoci bats keep-dirlinks, not kept",
                layers: [
                    [
                        .dir("dir", 0), .file("dir/a"), .symlink("dir", "link"), .symlink("link", "link2"),
                        .symlink("loop2", "loop1"), .symlink("loop3", "loop2"), .symlink("link2/loop4", "loop3"),
                        .symlink("../loop1", "dir/loop4"),
                    ],
                    [
                        .dir("link"), .file("link/b"), .dir("link2"), .file("link2/c"), .dir("loop1"),
                        .file("loop1/broken"),
                    ],
                ],
                expected: [
                    "dir": "dir 500", "dir/a": "file 644 ", "dir/loop4": "symlink ../loop1", "link": "dir 755",
                    "link/b": "file 644 ", "link2": "dir 755", "link2/c": "file 644 ", "loop1": "dir 755",
                    "loop1/broken": "file 644 ", "loop2": "symlink loop3", "loop3": "symlink link2/loop4",
                ]),
            Case(
                name: "umoci bats repack, unicode and unprivileged",
                layers: [
                    [.dir("日本語", 0o500), .file("日本語/файл", "u", 0o400), .dir("a", 0o500), .dir("a/b", 0o500)],
                    [.file("日本語/файл", "v", 0), .file("a/b/new", "n")],
                ],
                expected: [
                    "日本語": "dir 500", "日本語/файл": "file 0 v", "a": "dir 500", "a/b": "dir 500",
                    "a/b/new": "file 644 n",
                ]),
        ]

    // MARK: umoci: TestUnpackEntryWhiteout

    static let whiteouts: [(name: String, path: String, isDirectory: Bool)] = [
        ("FileInRoot", "rootpath", false), ("HiddenFileInRoot", ".hiddenroot", false),
        ("FileInSubdir", "some/path/file", false), ("HiddenFileInSubdir", "another/path/.hiddenfile", false),
        ("DirInRoot", "rootpath", true), ("HiddenDirInRoot", ".hiddenroot", true),
        ("DirInSubdir", "some/path/dir", true),
        ("HiddenDirInSubdir", "another/path/.hiddendir", true),
    ]

    @Test(arguments: 0..<whiteouts.count) func aWhiteoutTakesOneNameAndNoTime(_ index: Int) throws {
        let (_, path, isDirectory) = Self.whiteouts[index]
        let parent = path.split(separator: "/").dropLast().joined(separator: "/")
        let base = path.split(separator: "/").last.map(String.init) ?? path
        var lower = TarWriter()
        if !parent.isEmpty {
            lower.add(.init(name: Array(parent.utf8), mode: 0o755, modified: 123, type: UInt8(ascii: "5")))
        }
        lower.add(
            .init(name: Array(path.utf8), mode: 0o755, type: isDirectory ? UInt8(ascii: "5") : UInt8(ascii: "0")))
        if isDirectory {
            for inner in ["file1", "file2", ".subdir/file3"] { lower.add(.init(name: Array("\(path)/\(inner)".utf8))) }
        }
        lower.end()
        let place = try Workplace()
        let upper = archive([.file((parent.isEmpty ? "" : parent + "/") + ".wh." + base)])
        let flat = try place.directory("flat")
        try Flattener().compose([place.unpack(lower.bytes, as: "0"), place.unpack(upper, as: "1")], into: flat)
        if parent.isEmpty {
            #expect(try flat.descriptor.entries() == [])
        } else {
            let directory = try flat.descriptor.open(parent, [.readOnly, .directory])
            #expect(try directory.entries() == [])
            #expect(try directory.status().modified == Timestamp(seconds: 123))
        }
    }

    @Test(arguments: [".wh.", "some/path/.wh."]) func aWhiteoutOfNothingIsRefused(_ name: String) throws {
        #expect(try UnpackTests.refusal([.file(name)])?.reason == .archive(.whiteout))
    }

    // MARK: umoci: TestUnpackEntry_OverlayfsRootfs_…

    /// umoci's marks for overlayfs are also Berth's. If a whiteout follows its own layer's file, Berth keeps the file.
    @Test func marksForOverlayfs() throws {
        let (plain, ofPlain) = try UnpackTests.tree([.file("file"), .file(".wh.file")])
        #expect(plain == ["file": "file 644 "] && ofPlain.whiteouts == [])
        let (_, ofOpaque) = try UnpackTests.tree([.dir("dir"), .file("dir/fileindir"), .file("dir/.wh..wh..opq")])
        #expect(ofOpaque.opaqueDirectories.map(\.displayPath) == ["dir"])
        let (missing, ofMissing) = try UnpackTests.tree([
            .file("opaque-noparent/a/b/c/.wh..wh..opq"), .file("whiteout-noparent/a/b/.wh.c"), .file("opaque-nondir"),
            .file("opaque-nondir/.wh..wh..opq"), .file(".wh.opaque-whiteout"), .file("opaque-whiteout/.wh..wh..opq"),
        ])
        #expect(ofMissing.opaqueDirectories.map(\.displayPath) == ["opaque-noparent/a/b/c", "opaque-whiteout"])
        #expect(ofMissing.whiteouts.map(\.displayPath) == ["whiteout-noparent/a/b/c"])
        #expect(missing["whiteout-noparent/a/b/c"] == "char 0:0" && missing["opaque-nondir"] == "file 644 ")
        let (nested, ofNested) = try UnpackTests.tree([
            .file("opaque-innerplain/foo/bar/baz/.wh.before"), .file("opaque-innerplain/regfile"),
            .file("opaque-innerplain/.wh..wh..opq"), .file("opaque-innerplain/a/b/c/d/e/f/.wh.after"),
            .file("opaque-innerplain/a/b/c/d/regfile"), .file("opaque-nested/a/b/c/d/.wh..wh..opq"),
            .file("opaque-nested/a/b/.wh..wh..opq"), .file("opaque-nested/.wh..wh..opq"),
        ])
        #expect(
            Set(ofNested.opaqueDirectories.map(\.displayPath)).isSuperset(of: ["opaque-innerplain", "opaque-nested"]))
        #expect(ofNested.whiteouts == [])
        #expect(
            nested["opaque-innerplain/foo/bar/baz/before"] == nil
                && nested["opaque-innerplain/a/b/c/d/e/f/after"] == nil)
        #expect(
            nested["opaque-innerplain/a/b/c/d/regfile"] == "file 644 " && nested["opaque-innerplain/regfile"] != nil)
        #expect(nested["opaque-nested/a/b/c/d"] == "dir 755")
        let (converted, ofConverted) = try UnpackTests.tree([
            .file("d/before"), .file(".wh.d"), .file("d/foo/bar"), .file("d/abc/def"),
        ])
        #expect(ofConverted.opaqueDirectories.map(\.displayPath) == ["d"] && ofConverted.whiteouts == [])
        #expect(converted["d/before"] != nil && converted["d/foo/bar"] != nil && converted["d/abc/def"] != nil)
    }

    // MARK: go-containerregistry

    static let mutate: [Case] = [
        Case(
            name: "ggcr ExtractWhiteoutDir",
            layers: [
                [.file("a/foo", "1"), .file("b/bar", "2"), .file("c/baz", "3")], [.file(".wh.a"), .file("b/.wh.bar")],
            ],
            expected: ["b": "dir 755", "c": "dir 755", "c/baz": "file 644 3"]),
        Case(
            name: "ggcr WhiteoutDir",
            layers: [
                [
                    .file("usr/bin", "1"), .file("baz/foo.txt", "2"), .file("baz/bar/foo.txt", "3"),
                    .file("red/green", "4"),
                    .file("red/yellow.txt", "5"), .file("red/blue/x", "6"),
                ], [.file(".wh.baz"), .file("red/.wh.blue")],
            ],
            expected: [
                "usr": "dir 755", "usr/bin": "file 644 1", "red": "dir 755", "red/green": "file 644 4",
                "red/yellow.txt": "file 644 5",
            ]),
        Case(
            name: "ggcr ExtractRoundTrip",
            layers: [
                [
                    .dir("app"), .dir("app/bin"), .dir("app/lib"), .dir("app/node_modules"),
                    .dir("app/node_modules/.bin"),
                    .dir("restricted", 0o700), .file("app/main.js", "m"), .file("app/bin/run.sh", "r", 0o755),
                    .file("restricted/secret.key", "s", 0o600),
                    .symlink("../acorn/bin/acorn", "app/node_modules/.bin/acorn"),
                    .symlink("/app/main.js", "app/link-to-main"), .symlink("node_modules", "app/modules"),
                    .link("app/main.js", "app/main-hardlink.js"),
                ]
            ],
            expected: [
                "app": "dir 755", "app/bin": "dir 755", "app/lib": "dir 755", "app/node_modules": "dir 755",
                "app/node_modules/.bin": "dir 755", "restricted": "dir 700", "app/main.js": "file 644 m",
                "app/bin/run.sh": "file 755 r", "restricted/secret.key": "file 600 s",
                "app/node_modules/.bin/acorn": "symlink ../acorn/bin/acorn", "app/link-to-main": "symlink /app/main.js",
                "app/modules": "symlink node_modules", "app/main-hardlink.js": "file 644 m",
            ]),
        // It drops links that lead out of the target directory. In Berth they stay inside the root, and are kept.
        Case(
            name: "ggcr ExtractSymlinkFiltering",
            layers: [
                [
                    .symlink("../lib/ld-linux.so.2", "usr/local/bin/ld.so"), .symlink("../run/lock", "var/lock"),
                    .symlink("..\\lib\\tool", "win-rel"), .symlink("/etc/passwd", "abs-link"),
                    .symlink("../../../tmp/evil", "etc/foo"), .symlink("..\\..\\tmp\\evil", "etc/win-escape"),
                ]
            ],
            expected: [
                "usr": "dir 755", "usr/local": "dir 755", "usr/local/bin": "dir 755", "var": "dir 755",
                "etc": "dir 755",
                "usr/local/bin/ld.so": "symlink ../lib/ld-linux.so.2", "var/lock": "symlink ../run/lock",
                "win-rel": "symlink ..\\lib\\tool", "abs-link": "symlink /etc/passwd",
                "etc/foo": "symlink ../../../tmp/evil", "etc/win-escape": "symlink ..\\..\\tmp\\evil",
            ]),
        // It rejects paths that would leave the directory on any system. In Berth they stay inside, and a backslash is
        // a byte.
        Case(
            name: "ggcr ExtractRejectsUnsafeArchivePaths",
            layers: [
                [
                    .dir("."), .file("tmp/safe", "1"), .file("../tmp/evil", "2"), .file("..\\..\\tmp\\evil", "3"),
                    .file("\\tmp\\evil", "4"), .file("C:\\tmp\\evil", "5"), .file("C:/tmp/evil", "6"),
                    .file("C:..\\evil", "7"),
                ]
            ],
            expected: [
                "tmp": "dir 755", "tmp/safe": "file 644 1", "tmp/evil": "file 644 2", "..\\..\\tmp\\evil": "file 644 3",
                "\\tmp\\evil": "file 644 4", "C:\\tmp\\evil": "file 644 5", "C:": "dir 755", "C:/tmp": "dir 755",
                "C:/tmp/evil": "file 644 6", "C:..\\evil": "file 644 7",
            ]),
    ]
}
