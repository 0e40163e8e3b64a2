import Layers
import TestSupport
import Testing

/// CPython's TestExtractionFilters with our own data: what its filters reject stays inside the root here, because links
/// of an image are relative to its root. `CorpusTests` runs it.
extension CorpusTests {
    static let filters: [Case] = [
        Case(
            name: "cpython absolute", layers: [[.file("/tmp/outer/escaped.evil", "e")]],
            expected: ["tmp": "dir 755", "tmp/outer": "dir 755", "tmp/outer/escaped.evil": "file 644 e"]),
        Case(
            name: "cpython parent_symlink",
            layers: [[.symlink(".", "current"), .symlink("current/..", "parent"), .file("parent/evil", "e")]],
            expected: ["current": "symlink .", "parent": "symlink current/..", "evil": "file 644 e"]),
        Case(
            name: "cpython parent_symlink2",
            layers: [[.symlink(".", "current"), .symlink("..", "current/parent"), .file("parent/evil", "e")]],
            expected: ["current": "symlink .", "parent": "symlink ..", "evil": "file 644 e"]),
        Case(
            name: "cpython absolute_symlink", layers: [[.symlink("/tmp/outer", "parent"), .file("parent/evil", "e")]],
            expected: [
                "parent": "symlink /tmp/outer", "tmp": "dir 755", "tmp/outer": "dir 755",
                "tmp/outer/evil": "file 644 e",
            ]),
        Case(
            name: "cpython sly_relative0", layers: [[.symlink("..//tmp/moo", "../moo")]],
            expected: ["moo": "symlink ..//tmp/moo"]),
        Case(
            name: "cpython sly_relative2",
            layers: [[.dir("tmp"), .symlink("tmp/../..//tmp/moo", "tmp/../../moo")]],
            expected: ["tmp": "dir 755", "moo": "symlink tmp/../..//tmp/moo"]),
        Case(
            name: "cpython deep_symlink",
            layers: [
                [
                    .file("targetdir/target", "abc"), .link("targetdir/target", "linkdir/hardlink"),
                    .symlink("../targetdir/target", "linkdir/symlink"),
                ]
            ],
            expected: [
                "targetdir": "dir 755", "targetdir/target": "file 644 abc", "linkdir": "dir 755",
                "linkdir/hardlink": "file 644 abc", "linkdir/symlink": "symlink ../targetdir/target",
            ]),
        Case(
            name: "cpython chains",
            layers: [
                [
                    .symlink("hardlink", "linkdir/symlink"), .symlink("linkdir/hardlink2", "symlink2"),
                    .file("targetdir/target", "abc"), .link("targetdir/target", "linkdir/hardlink"),
                    .link("linkdir/symlink", "linkdir/hardlink2"),
                ]
            ],
            expected: [
                "targetdir": "dir 755", "targetdir/target": "file 644 abc", "linkdir": "dir 755",
                "linkdir/hardlink": "file 644 abc", "linkdir/symlink": "symlink hardlink",
                "linkdir/hardlink2": "symlink hardlink", "symlink2": "symlink linkdir/hardlink2",
            ]),
        // setuid and setgid are removed; the unpacking user can read the directories.
        Case(
            name: "cpython modes",
            layers: [
                [
                    .file("all_bits", "", 0o7777), .file("perm_bits", "", 0o777), .file("exec_group_other", "", 0o677),
                    .file("read_group_only", "", 0o040), .file("no_bits", "", 0), .dir("dir", 0o3077),
                    .dir("dir_all_bits", 0o7777),
                ]
            ],
            expected: [
                "all_bits": "file 777 ", "perm_bits": "file 777 ", "exec_group_other": "file 677 ",
                "read_group_only": "file 40 ", "no_bits": "file 0 ", "dir": "dir 1577", "dir_all_bits": "dir 1777",
            ]),
        Case(
            name: "cpython pipe and special_files", layers: [[.fifo("foo"), .device("null")]],
            expected: ["foo": "fifo 644"]),
    ]

    @Test(arguments: ["/tmp/outer/foo", "../foo", "foo"]) func aHardLinkToNothingIsRefused(_ target: String) throws {
        let place = try Workplace()
        let error = #expect(throws: LayerError.self) { _ = try place.flatten([[.link(target, "parent")]]) }
        #expect(error?.reason == .archive(.hardLinkTargetMissing))
    }
}
