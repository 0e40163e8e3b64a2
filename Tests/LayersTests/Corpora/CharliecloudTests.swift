import Layers
import LinuxKernel
import TestSupport
import Testing

/// Charliecloud's images of whiteouts and unusual files with our own data. `CorpusTests` has its matrix of types.
@Suite struct CharliecloudTests {
    /// Creates files or directories, removes them one by one or all at once, and recreates some in the removing layer:
    /// 12 ways for files and directories at two depths.
    struct Way: Sendable {
        let place: String
        let isDirectory: Bool
        let made: Int
        /// `nil` removes all.
        let removed: Int?
        let restored: Int

        var name: String {
            "\(place)/\(isDirectory ? "dir" : "file")_mk-\(made)_rm-\(removed ?? 99)_rt-\(restored)"
        }
    }

    static let ways: [Way] = ["w", "w/v"].flatMap { place in
        [false, true].flatMap { isDirectory in
            (0...2).flatMap { made in
                [0, 1, nil].filter { $0.map { $0 <= made } ?? (made > 0) }.flatMap { removed in
                    (0...min(made, removed ?? made)).map {
                        Way(place: place, isDirectory: isDirectory, made: made, removed: removed, restored: $0)
                    }
                }
            }
        }
    }

    /// How a removed and recreated directory is encoded: as opaque, or name by name.
    enum Form: CaseIterable, Sendable { case opaque, explicit }

    static func image(_ form: Form) -> (layers: [[Item]], expected: [String: String]) {
        func parents(_ way: Way) -> [Item] { way.place == "w" ? [.dir("w")] : [.dir("w"), .dir("w/v")] }
        var layers: [[Item]] = [[.dir("etc"), .file("etc/os", "alpine")], [.dir("w"), .dir("w/v")]]
        var tree = ["etc": "dir 755", "etc/os": "file 644 alpine", "w": "dir 755", "w/v": "dir 755"]
        for way in ways {
            let base = parents(way) + [.dir(way.name)]
            tree[way.name] = "dir 755"
            var made = base
            for number in 0..<way.made {
                let path = "\(way.name)/\(number)"
                made += way.isDirectory ? [.dir(path), .dir(path + "/orig")] : [.file(path, "orig")]
                tree[path] = way.isDirectory ? "dir 755" : "file 644 orig"
                if way.isDirectory { tree[path + "/orig"] = "dir 755" }
            }
            layers.append(made)
            if way.removed == 0 || way.made == 0 { continue }
            var changed = base
            for number in 0..<(way.removed ?? way.made) {
                let path = "\(way.name)/\(number)"
                tree = tree.filter { $0.key != path && !$0.key.hasPrefix(path + "/") }
                if number >= way.restored {
                    changed.append(.file("\(way.name)/.wh.\(number)"))
                } else if way.isDirectory {
                    let mark = form == .opaque ? ".wh..wh..opq" : ".wh.orig"
                    changed += [.dir(path), .file("\(path)/\(mark)"), .dir(path + "/rest")]
                    tree[path] = "dir 755"
                    tree[path + "/rest"] = "dir 755"
                } else {
                    changed.append(.file(path, "rest"))
                    tree[path] = "file 644 rest"
                }
            }
            layers.append(changed)
        }
        return (layers, tree)
    }

    @Test(arguments: Form.allCases) func whiteouts(_ form: Form) throws {
        let (layers, expected) = Self.image(form)
        #expect(Self.ways.count == 48)
        #expect(layers.count == 86)
        let place = try Workplace()
        #expect(try listing(place.flatten(layers).descriptor) == expected)
    }

    @Test(.enabled(if: OverlayMounts.isPossible, "needs overlayfs with userxattr"), arguments: Form.allCases)
    func whiteoutsAsAnOverlay(_ form: Form) throws {
        let (layers, expected) = Self.image(form)
        let place = try Workplace()
        let trees = try layers.enumerated().map { try place.unpack(archive($1), as: "\($0)") }
        #expect(try OverlayCompatibility.check(trees) == .compatible)
        let mounts = try OverlayMounts([layers.indices.map { "\(place.path)/\($0)" }])
        #expect(try listing(mounts.tree(0)) == expected)
        withExtendedLifetime(mounts) {}
    }

    /// An entry replaces one of another type in the next layer; links to themselves, to a missing target, and to a path
    /// that exists only in the image.
    @Test func fileQuirks() throws {
        func target(_ name: String) -> Item { .file("test/" + name, name) }
        let layers: [[Item]] = [
            [.dir("test")],
            [
                .dir("test"), target("ss_target1"), target("ss_target2"), .symlink("ss_target1", "test/ss_link"),
                target("sf_target"), .symlink("sf_target", "test/sf_link"), .file("test/fs_link", "regular"),
                target("fs_target"), target("sd_target"), .symlink("sd_target", "test/sd_link"), .dir("test/ds_link"),
                target("ds_target"), .file("test/fd_member", "regular"), .dir("test/df_member"),
            ],
            [.dir("test"), .symlink("ss_target2", "test/ss_link")], [.dir("test"), .file("test/sf_link", "regular")],
            [.dir("test"), .symlink("fs_target", "test/fs_link")], [.dir("test"), .dir("test/sd_link")],
            [.dir("test"), .symlink("ds_target", "test/ds_link")], [.dir("test"), .dir("test/fd_member")],
            [.dir("test"), .file("test/df_member", "regular")],
            [.dir("test"), .symlink("link_self", "test/link_self")],
            [.dir("test"), .symlink("doesnotexist", "test/link_b0rken"), .symlink("/test", "test/link_imageonly")],
        ]
        let place = try Workplace()
        let flat = try place.flatten(layers)
        var expected = [
            "df_member": "file 644 regular", "ds_link": "symlink ds_target", "fd_member": "dir 755",
            "fs_link": "symlink fs_target", "link_b0rken": "symlink doesnotexist", "link_imageonly": "symlink /test",
            "link_self": "symlink link_self", "sd_link": "dir 755", "sf_link": "file 644 regular",
            "ss_link": "symlink ss_target2",
        ]
        for name in ["ds_target", "fs_target", "sd_target", "sf_target", "ss_target1", "ss_target2"] {
            expected[name] = "file 644 " + name
        }
        #expect(try listing(flat.descriptor.open("test", [.readOnly, .directory])) == expected)
        #expect(expected.count == 16)
        // An entry below a link to itself is an error.
        let error = #expect(throws: LayerError.self) {
            _ = try Workplace().flatten([[.symlink("link_self", "link_self"), .file("link_self/f", "x")]])
        }
        #expect(error?.reason == .archive(.symlinkLoop))
    }
}
