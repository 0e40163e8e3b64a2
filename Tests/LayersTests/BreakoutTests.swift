import Layers
import LinuxKernel
import TestSupport
import Testing

/// The cases of containerd's breakout table with our own data: a lower layer, a layer, and the expected flattened tree.
@Suite struct BreakoutTests {
    enum Outcome: Sendable {
        /// Both names, with links followed inside the root, refer to the same file.
        case same(String, String)
        case different(String, String)
        case content(String, String)
        case absent(String)
        case symlink(String, String)
        case refused(LayerError.ArchiveFault)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        var lower: [Item] = []
        let layer: [Item]
        let outcomes: [Outcome]
        var testDescription: String { name }
    }

    static let etcPasswd: [Item] = [.dir("etc", 0o770), .file("/etc/passwd", "inside")]
    static let lowerEtc: [Item] = [.dir("/etc/"), .file("/etc/passwd", "all users")]

    static let cases: [Case] = [
        Case(
            name: "SymlinkAbsolute",
            layer: [.dir("etc"), .symlink("/etc", "localetc"), .file("/localetc/unbroken", "unbroken")],
            outcomes: [.content("etc/unbroken", "unbroken")]),
        Case(
            name: "SymlinkUpAndOut",
            layer: [
                .dir("etc"), .dir("dummy"), .symlink("/dummy/../etc", "localetc"),
                .file("/localetc/unbroken", "unbroken"),
            ],
            outcomes: [.content("etc/unbroken", "unbroken")]),
        Case(
            name: "SymlinkMultipleAbsolute",
            layer: [
                .dir("etc"), .dir("dummy"), .symlink("/etc", "/dummy/etc"), .symlink("/dummy/etc", "localetc"),
                .file("/dummy/etc/unbroken", "unbroken"),
            ],
            outcomes: [.content("etc/unbroken", "unbroken")]),
        Case(
            name: "SymlinkMultipleRelative",
            layer: [
                .dir("etc"), .dir("dummy"), .symlink("/etc", "/dummy/etc"), .symlink("./dummy/etc", "localetc"),
                .file("/dummy/etc/unbroken", "unbroken"),
            ],
            outcomes: [.content("etc/unbroken", "unbroken")]),
        Case(
            name: "SymlinkEmptyFile",
            layer: [
                .dir("etc"), .file("etc/emptied", "notempty"), .symlink("/etc", "localetc"), .file("/localetc/emptied"),
            ],
            outcomes: [.content("etc/emptied", "")]),
        Case(
            name: "HardlinkRelative",
            layer: etcPasswd + [
                .dir("breakouts"), .symlink("../../etc", "breakouts/d1"),
                .link("/breakouts/d1/passwd", "breakouts/mypasswd"),
            ],
            outcomes: [.same("breakouts/mypasswd", "etc/passwd")]),
        Case(
            name: "HardlinkDownAndOut",
            layer: etcPasswd + [
                .dir("breakouts"), .dir("downandout"), .symlink("../downandout/../../etc", "breakouts/d1"),
                .link("/breakouts/d1/passwd", "breakouts/mypasswd"),
            ],
            outcomes: [.same("breakouts/mypasswd", "etc/passwd")]),
        Case(
            name: "HardlinkAbsolute",
            layer: etcPasswd + [.symlink("/etc", "localetc"), .link("/localetc/passwd", "localpasswd")],
            outcomes: [.same("localpasswd", "etc/passwd")]),
        Case(
            name: "HardlinkRelativeLong",
            layer: etcPasswd + [
                .symlink("../../../../../../../etc", "localetc"), .link("/localetc/passwd", "localpasswd"),
            ],
            outcomes: [.same("localpasswd", "etc/passwd")]),
        Case(
            name: "HardlinkRelativeUpAndOut",
            layer: etcPasswd + [
                .symlink("upandout/../../../etc", "localetc"), .link("/localetc/passwd", "localpasswd"),
            ],
            outcomes: [.same("localpasswd", "etc/passwd")]),
        Case(
            name: "HardlinkDirectRelative", layer: etcPasswd + [.link("../../../../../etc/passwd", "localpasswd")],
            outcomes: [.same("localpasswd", "etc/passwd")]),
        Case(
            name: "HardlinkDirectAbsolute", layer: etcPasswd + [.link("/etc/passwd", "localpasswd")],
            outcomes: [.same("localpasswd", "etc/passwd")]),
        // containerd skips the next two. Berth, like umoci, rejects them, because a root that is a link would send all
        // later entries elsewhere.
        Case(
            name: "SymlinkParentDirectory",
            layer: etcPasswd + [.symlink("/etc/", ".."), .link("/etc/passwd", "localpasswd")],
            outcomes: [.refused(.rootIsNotADirectory)]),
        Case(
            name: "SymlinkEmptyFilename",
            layer: etcPasswd + [.symlink("/etc/", ""), .link("/etc/passwd", "localpasswd")],
            outcomes: [.refused(.rootIsNotADirectory)]),
        Case(
            name: "SymlinkParentRelative",
            layer: etcPasswd + [.symlink("/etc/", "localetc/sub/.."), .link("/etc/passwd", "/localetc/localpasswd")],
            outcomes: [.same("localetc/localpasswd", "etc/passwd")]),
        Case(
            name: "SymlinkSlashEnded",
            layer: etcPasswd + [.dir("localetc/", 0o770), .link("/etc/passwd", "/localetc/localpasswd")],
            outcomes: [.same("localetc/localpasswd", "etc/passwd")]),
        Case(
            name: "SymlinkOverrideDirectory", lower: lowerEtc + [.dir("/localetc/")],
            layer: [.symlink("/etc", "localetc"), .link("/etc/passwd", "/localetc/localpasswd")],
            outcomes: [.same("localetc/localpasswd", "etc/passwd"), .symlink("localetc", "/etc")]),
        Case(
            name: "SymlinkOverrideDirectoryRelative", lower: lowerEtc + [.dir("/localetc/")],
            layer: [.symlink("../../etc", "localetc"), .link("/etc/passwd", "/localetc/localpasswd")],
            outcomes: [.same("localetc/localpasswd", "etc/passwd")]),
        Case(
            name: "DirectoryOverrideSymlink", lower: lowerEtc + [.symlink("/etc", "localetc")],
            layer: [.dir("/localetc/"), .link("/etc/passwd", "/localetc/localpasswd")],
            outcomes: [.same("localetc/localpasswd", "etc/passwd"), .absent("etc/localpasswd")]),
        Case(
            name: "DirectoryOverrideSymlinkAndHardlink",
            lower: lowerEtc + [.symlink("etc", "localetc"), .link("/etc/passwd", "/localetc/localpasswd")],
            layer: [.dir("/localetc/"), .file("/localetc/localpasswd", "different")],
            outcomes: [.different("localetc/localpasswd", "etc/passwd"), .content("etc/passwd", "all users")]),
        Case(name: "WhiteoutRootParent", lower: lowerEtc, layer: [.file(".wh...")], outcomes: [.refused(.whiteout)]),
        Case(name: "WhiteoutParent", lower: lowerEtc, layer: [.file("etc/.wh...")], outcomes: [.refused(.whiteout)]),
        Case(name: "WhiteoutRoot", lower: lowerEtc, layer: [.file(".wh..")], outcomes: [.refused(.whiteout)]),
        Case(
            name: "WhiteoutCurrentDirectory", lower: lowerEtc, layer: [.file("etc/.wh..")],
            outcomes: [.refused(.whiteout)]),
        Case(name: "WhiteoutEmpty", lower: lowerEtc, layer: [.file("etc/.wh.")], outcomes: [.refused(.whiteout)]),
        Case(
            name: "WhiteoutSymlink", lower: lowerEtc + [.symlink("/etc", "localetc")], layer: [.file(".wh.localetc")],
            outcomes: [.content("etc/passwd", "all users"), .absent("localetc")]),
        Case(
            name: "WhiteoutSymlinkPath",
            lower: lowerEtc + [.file("/etc/whitedout", "x"), .symlink("/etc", "localetc")],
            layer: [.file("localetc/.wh.whitedout")],
            outcomes: [.content("etc/passwd", "all users"), .absent("etc/whitedout"), .symlink("localetc", "/etc")]),
        Case(
            name: "WhiteoutDirectoryName", lower: lowerEtc, layer: [.file(".wh.etc/somefile", "non-empty")],
            outcomes: [.content("etc/passwd", "all users"), .content(".wh.etc/somefile", "non-empty")]),
        Case(
            name: "WhiteoutDeadSymlinkParent", lower: lowerEtc + [.symlink("/dne", "localetc")],
            layer: [.file("localetc/.wh.etc")], outcomes: [.content("etc/passwd", "all users")]),
        Case(
            name: "WhiteoutRelativePath", lower: lowerEtc + [.symlink("/dne", "localetc")],
            layer: [.file("dne/../.wh.etc")], outcomes: [.absent("etc/passwd"), .absent("etc")]),
        Case(
            name: "SymlinkOverridePath",
            layer: [.dir("a"), .file("a/one", "1"), .symlink("/b", "a"), .dir("a"), .file("a/two", "2")],
            outcomes: [.absent("a/one"), .content("a/two", "2"), .absent("b")]),
        Case(
            name: "HardlinkSymlinkBeforeCreateTarget",
            layer: [
                .dir("etc", 0o770), .symlink("/etc/passwd", "localpasswd"), .link("localpasswd", "localpasswd-dup"),
                .file("/etc/passwd", "after"),
            ],
            outcomes: [.same("localpasswd-dup", "etc/passwd"), .symlink("localpasswd-dup", "/etc/passwd")]),
        Case(
            name: "HardlinkSymlinkRelative",
            layer: etcPasswd + [
                .symlink("../../../../../etc/passwd", "passwdlink"), .link("/passwdlink", "localpasswd"),
            ],
            outcomes: [.symlink("localpasswd", "../../../../../etc/passwd"), .same("localpasswd", "etc/passwd")]),
        Case(
            name: "HardlinkSymlinkAbsolute",
            layer: etcPasswd + [.symlink("/etc/passwd", "passwdlink"), .link("/passwdlink", "localpasswd")],
            outcomes: [.symlink("localpasswd", "/etc/passwd"), .same("localpasswd", "etc/passwd")]),
    ]

    @Test(arguments: cases) func breakout(_ table: Case) throws {
        let place = try Workplace()
        let layers = table.lower.isEmpty ? [table.layer] : [table.lower, table.layer]
        for case .refused(let fault) in table.outcomes {
            let error = #expect(throws: LayerError.self) { _ = try place.flatten(layers) }
            #expect(error?.reason == .archive(fault))
            return
        }
        let flat = try place.flatten(layers)
        for outcome in table.outcomes {
            switch outcome {
            case .same(let one, let other):
                let (first, second) = try (
                    flat.descriptor.resolve(one, .path).status(), flat.descriptor.resolve(other, .path).status()
                )
                #expect(first.inode == second.inode)
            case .different(let one, let other):
                let (first, second) = try (
                    flat.descriptor.resolve(one, .path).status(), flat.descriptor.resolve(other, .path).status()
                )
                #expect(first.inode != second.inode)
            case .content(let path, let content):
                #expect(try flat.descriptor.resolve(path, .readOnly).readAll() == Array(content.utf8))
            case .absent(let path):
                #expect(throws: SystemError.self) { _ = try flat.descriptor.resolve(path, [.path, .noFollow]) }
            case .symlink(let path, let target):
                #expect(try flat.descriptor.linkTarget(path) == Array(target.utf8))
            case .refused: break
            }
        }
    }

    /// HardlinkSymlinkChmod: the mode in the link's own header must be applied neither to the link's target nor to a
    /// file of that name outside.
    @Test func modeIsNotAppliedThroughALink() throws {
        let place = try Workplace()
        for (name, mode) in [("outside", UInt32(0o400)), ("alias", 0o640)] {
            try place.root.descriptor.open(name, [.writeOnly, .create], mode: mode).setPermissions(mode)
        }
        var link = Item.link(place.path + "/alias", "sketchy")
        link.mode = 0o777
        let flat = try place.flatten([[.symlink(place.path + "/outside", place.path + "/alias"), link]])
        #expect(try place.root.descriptor.status(of: "outside").permissions == 0o400)
        #expect(try place.root.descriptor.status(of: "alias").permissions == 0o640)
        // The link has a hard link, so the mode could have been applied through it.
        #expect(try flat.descriptor.linkTarget("sketchy") == Array((place.path + "/outside").utf8))
    }
}
