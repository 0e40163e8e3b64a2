import ImageSpec
import Layers
import LinuxKernel
import TestSupport
import Testing

/// The tree of one layer, entry by entry.
@Suite struct UnpackTests {
    static func tree(_ items: [Item]) throws -> (lines: [String: String], summary: LayerSummary) {
        let place = try Workplace()
        let tree = try place.unpack(archive(items))
        return (try listing(tree.directory.descriptor), tree.summary)
    }

    static func refusal(_ items: [Item], _ limits: UnpackLimits = UnpackLimits()) throws -> LayerError? {
        let place = try Workplace()
        var unpacker = LayerUnpacker.several
        unpacker.limits = limits
        let tar = archive(items)
        do throws(LayerError) {
            _ = try unpacker.unpack(BytesSource(tar), diffID: digest(tar), into: place.root)
            return nil
        } catch { return error }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let items: [Item]
        let expected: [String: String]
        var whiteouts: [String] = []
        var opaque: [String] = []
        var implicit: [String] = [""]
        var testDescription: String { name }
    }

    static let cases: [Case] = [
        Case(
            name: "names",
            items: [
                .dir("./"), .dir("./a/"), .file("/a//b", "1"), .file("a/./c", "2"), .file("x/../a/d", "3"),
                .file("../../up", "4"),
            ],
            expected: [
                "a": "dir 755", "a/b": "file 644 1", "a/c": "file 644 2", "a/d": "file 644 3", "up": "file 644 4",
            ], implicit: []),
        Case(name: "last entry wins", items: [.file("a", "1"), .file("a", "2", 0o600)], expected: ["a": "file 600 2"]),
        Case(
            name: "file to directory", items: [.file("a", "1"), .dir("a", 0o700), .file("a/b", "2")],
            expected: ["a": "dir 700", "a/b": "file 644 2"]),
        Case(
            name: "directory to file", items: [.dir("a"), .dir("a/b"), .file("a/b/c", "1"), .file("a", "2")],
            expected: ["a": "file 644 2"]),
        Case(
            name: "directory to link",
            items: [.dir("a"), .file("a/f", "1"), .dir("b"), .symlink("b", "a"), .file("a/g", "2")],
            expected: ["a": "symlink b", "b": "dir 755", "b/g": "file 644 2"]),
        Case(
            name: "link to directory", items: [.dir("b"), .symlink("b", "a"), .dir("a"), .file("a/f", "1")],
            expected: ["a": "dir 755", "a/f": "file 644 1", "b": "dir 755"]),
        Case(
            name: "link to file", items: [.file("t", "safe"), .symlink("t", "a"), .file("a", "new")],
            expected: ["t": "file 644 safe", "a": "file 644 new"]),
        Case(
            name: "replacing one name of a file leaves the other",
            items: [.file("a", "1"), .link("a", "b"), .file("a", "2")],
            expected: ["a": "file 644 2", "b": "file 644 1"]),
        Case(
            name: "directory twice keeps what is in it",
            items: [.dir("a", 0o700), .file("a/f", "1"), .dir("a", 0o711)],
            expected: ["a": "dir 711", "a/f": "file 644 1"]),
        Case(
            name: "file as a parent gives way", items: [.file("a", "1"), .file("a/b/c", "2")],
            expected: ["a": "dir 755", "a/b": "dir 755", "a/b/c": "file 644 2"], implicit: ["", "a", "a/b"]),
        Case(
            name: "parents without entries", items: [.file("a/b/c", "1"), .dir("a/b", 0o750)],
            expected: ["a": "dir 755", "a/b": "dir 750", "a/b/c": "file 644 1"], implicit: ["", "a"]),
        Case(
            name: "link on the way, target missing", items: [.symlink("/usr/lib", "lib"), .file("lib/x", "1")],
            expected: ["lib": "symlink /usr/lib", "usr": "dir 755", "usr/lib": "dir 755", "usr/lib/x": "file 644 1"],
            implicit: ["", "usr", "usr/lib"]),
        Case(
            name: "links through links",
            items: [.dir("a"), .symlink("../a", "a/b"), .symlink("a/b/b", "c"), .file("c/f", "1")],
            expected: ["a": "dir 755", "a/b": "symlink ../a", "a/f": "file 644 1", "c": "symlink a/b/b"]),
        Case(
            name: "setuid and setgid go, sticky stays on directories",
            items: [
                .file("su", "x", 0o4755), .file("sg", "x", 0o2755), .file("st", "x", 0o1644), .dir("tmp", 0o1777),
                .dir("sgd", 0o2775),
            ],
            expected: ["su": "file 755 x", "sg": "file 755 x", "st": "file 644 x", "tmp": "dir 1777", "sgd": "dir 775"]),
        Case(
            name: "unwritable directories",
            items: [
                .dir("ro", 0o555), .file("ro/f", "1"), .dir("none", 0), .dir("none/below", 0o755),
                .file("none/below/f", "2"),
            ],
            expected: [
                "ro": "dir 555", "ro/f": "file 644 1", "none": "dir 500", "none/below": "dir 755",
                "none/below/f": "file 644 2",
            ]),
        Case(
            name: "unreadable files", items: [.file("shadow", "s", 0), .file("w", "", 0o200)],
            expected: ["shadow": "file 0 s", "w": "file 200 "]),
        Case(
            name: "FIFO made, device skipped", items: [.fifo("pipe"), .device("dev/null"), .dir("dev")],
            expected: ["pipe": "fifo 644", "dev": "dir 755"]),
        Case(
            name: "whiteout", items: [.dir("etc"), .file("etc/.wh.gone")],
            expected: ["etc": "dir 755", "etc/gone": "char 0:0"], whiteouts: ["etc/gone"]),
        Case(
            name: "whiteout of what the layer has, before it", items: [.file(".wh.a"), .file("a", "1")],
            expected: ["a": "file 644 1"]),
        Case(
            name: "whiteout of what the layer has, behind it", items: [.file("a", "1"), .file(".wh.a")],
            expected: ["a": "file 644 1"]),
        Case(
            name: "whiteout and directory are an opaque directory", items: [.file(".wh.a"), .file("a/f", "1")],
            expected: ["a": "dir 755", "a/f": "file 644 1"], opaque: ["a"]),
        Case(
            name: "opaque, last", items: [.dir("a"), .file("a/f", "1"), .file("a/.wh..wh..opq")],
            expected: ["a": "dir 755", "a/f": "file 644 1"], opaque: ["a"]),
        Case(
            name: "opaque, first, without a directory", items: [.file("a/.wh..wh..opq"), .file("a/f", "1")],
            expected: ["a": "dir 755", "a/f": "file 644 1"], opaque: ["a"], implicit: ["", "a"]),
        Case(
            name: "opaque and whiteout",
            items: [.dir("a"), .file("a/.wh.b/.wh.c"), .file("a/.wh..wh..opq"), .file("a/.wh.b")],
            expected: ["a": "dir 755", "a/.wh.b": "dir 755"], opaque: ["a"], implicit: ["", "a/.wh.b"]),
        Case(
            name: "whiteouts below a file are moot", items: [.file("a", "1"), .file("a/.wh.b")],
            expected: ["a": "file 644 1"]),
        Case(
            name: "whiteouts of a replaced directory are moot",
            items: [.dir("a"), .file("a/.wh.b"), .file("a/.wh..wh..opq"), .file("a", "1")],
            expected: ["a": "file 644 1"]),
        Case(
            name: "AUFS bookkeeping", items: [.file(".wh..wh.aufs"), .dir(".wh..wh.plnk"), .file("a", "1")],
            expected: ["a": "file 644 1"]),
        Case(
            name: "whiteout through a link of the layer",
            items: [.dir("real"), .symlink("real", "alias"), .file("alias/.wh.x")],
            expected: ["real": "dir 755", "real/x": "char 0:0", "alias": "symlink real"], whiteouts: ["real/x"]),
        Case(
            name: "hard link before its target", items: [.link("b", "a"), .file("b", "1")],
            expected: ["a": "file 644 1", "b": "file 644 1"]),
        Case(name: "hard link to itself", items: [.file("a", "1"), .link("./a", "a")], expected: ["a": "file 644 1"]),
        Case(
            name: "hard link in place of a file", items: [.file("a", "1"), .file("b", "2"), .link("a", "b")],
            expected: ["a": "file 644 1", "b": "file 644 1"]),
        Case(
            name: "hard link to a FIFO", items: [.fifo("p"), .link("p", "q")],
            expected: ["p": "fifo 644", "q": "fifo 644"]),
        Case(
            name: "hard link whose parent has no entry", items: [.file("a", "1"), .link("a", "x/y/z")],
            expected: ["a": "file 644 1", "x": "dir 755", "x/y": "dir 755", "x/y/z": "file 644 1"],
            implicit: ["", "x", "x/y"]),
    ]

    @Test(arguments: cases) func unpacks(_ table: Case) throws {
        let (lines, summary) = try Self.tree(table.items)
        #expect(lines == table.expected)
        #expect(summary.whiteouts.map(\.displayPath) == table.whiteouts)
        #expect(summary.opaqueDirectories.map(\.displayPath) == table.opaque)
        #expect(summary.implicitDirectories.map(\.displayPath) == table.implicit)
        #expect(summary.areMarksMade)
        #expect(summary.openHardLinks.isEmpty)
    }

    @Test func openLinks() throws {
        let (lines, summary) = try Self.tree([
            .link("lower", "a"), .link("a", "b"), .file("c", "1"), .link("usr/lib/x", "c"),
        ])
        #expect(lines.isEmpty)
        #expect(
            summary.openHardLinks == [
                .init(path: Array("a".utf8), target: Array("lower".utf8)),
                .init(path: Array("b".utf8), target: Array("lower".utf8)),
                .init(path: Array("c".utf8), target: Array("usr/lib/x".utf8)),
            ])
    }

    @Test func refusals() throws {
        let rows: [([Item], LayerError.ArchiveFault)] = [
            ([.dir("d"), .link("d", "e")], .hardLinkToDirectory), ([.link("/", "e")], .hardLinkToDirectory),
            ([.symlink("/etc", ".")], .rootIsNotADirectory), ([.file("./", "x")], .rootIsNotADirectory),
            ([.symlink("x", "a/..")], .rootIsNotADirectory),
            ([.link("etc", "/")], .rootIsNotADirectory), ([.fifo("..")], .rootIsNotADirectory),
            ([.symlink("b", "a"), .symlink("a", "b"), .file("a/f", "x")], .symlinkLoop),
            ([.symlink("", "a")], .emptyName), ([.file("f", "x"), .link("f/g", "h")], .hardLinkTargetMissing),
        ]
        for (items, fault) in rows {
            let error = try Self.refusal(items)
            #expect(error?.reason == .archive(fault), "\(items)")
            #expect(error?.offset != nil)
        }
        var limits = UnpackLimits()
        limits.pathDepth = 3
        #expect(try Self.refusal([.file("a/b/c/d")], limits)?.reason == .limit(.pathDepth, limit: 3))
        limits = UnpackLimits()
        limits.totalBytes = 4096
        #expect(
            try Self.refusal([.file("a", String(repeating: "z", count: 8000))], limits)?.reason
                == .limit(.totalBytes, limit: 4096))
        limits = UnpackLimits()
        limits.marks = 2
        #expect(
            try Self.refusal([.file(".wh.a"), .file(".wh.b"), .file(".wh.c")], limits)?.reason
                == .limit(.marks, limit: 2))
        #expect(
            try Self.refusal([.dir(String(repeating: "n", count: 256))])?.reason
                == .system(SystemError(call: "mkdirat", errno: 36, subject: String(repeating: "n", count: 256))))
    }

    @Test func bytesInNames() throws {
        let names: [[UInt8]] = [
            [0xFF, 0xFE], [0x61, 0x0A, 0x62], [0x5C, 0x5C], Array("é".utf8), [0x65, 0xCC, 0x81],
            [UInt8](repeating: 0x80, count: 255), Array("A".utf8), Array("a".utf8), [0x20],
        ]
        let place = try Workplace()
        let tree = try place.unpack(archive(names.map { Item(name: "", type: "0", content: "x", rawName: $0) }))
        #expect(Set(try tree.directory.descriptor.entries()) == Set(names))
    }

    @Test func longPaths() throws {
        // 4095 bytes, the maximum.
        let path = (0..<16).map { _ in String(repeating: "d", count: 255) }.joined(separator: "/").dropLast()
        #expect(path.utf8.count == 4094)
        let place = try Workplace()
        let tree = try place.unpack(archive([.file(String(path), "deep")]))
        #expect(tree.summary.implicitDirectories.count == 16)
    }

    @Test func timesAreRestored() throws {
        var writer = TarWriter()
        writer.add(.init(name: Array("d/".utf8), mode: 0o755, modified: 1000, type: UInt8(ascii: "5")))
        writer.pax([("mtime", Array("2000.5".utf8))])
        writer.add(.init(name: Array("d/f".utf8), size: 1), [1])
        writer.add(.init(name: Array("d/l".utf8), modified: 3000, type: UInt8(ascii: "2"), link: [0x66]))
        writer.add(.init(name: Array("old".utf8), modified: -5000))
        writer.add(.init(name: Array("i/p".utf8), modified: 4000, type: UInt8(ascii: "6")))
        writer.add(.init(name: Array("j/k/new".utf8), modified: 7000))
        writer.add(.init(name: Array("j/old".utf8), modified: 6000))
        writer.end()
        let place = try Workplace()
        let tree = try place.unpack(writer.bytes)
        #expect(try tree.directory.descriptor.status(of: "d").modified == Timestamp(seconds: 1000))
        #expect(
            try tree.directory.descriptor.status(of: "d/f").modified
                == Timestamp(seconds: 2000, nanoseconds: 500_000_000))
        #expect(try tree.directory.descriptor.status(of: "d/l").modified == Timestamp(seconds: 3000))
        #expect(try tree.directory.descriptor.status(of: "old").modified == Timestamp(seconds: -5000))
        #expect(try tree.directory.descriptor.status(of: "i/p").modified == Timestamp(seconds: 4000))
        // Directories without an entry are as new as their newest entry.
        for (name, time) in [("i", Int64(4000)), ("j/k", 7000), ("j", 7000)] {
            #expect(try tree.directory.descriptor.status(of: name).modified == Timestamp(seconds: time), "\(name)")
        }
    }

    @Test func attributes() throws {
        var writer = TarWriter()
        let names = [
            "user.kept", "user.overlay.opaque", "user.overlay.redirect", "trusted.overlay.opaque",
            "security.capability", "security.selinux", "system.posix_acl_access",
        ]
        writer.pax(names.map { ("SCHILY.xattr." + $0, [1, 0, 2]) })
        writer.add(.init(name: Array("f".utf8)))
        writer.pax(names.map { ("SCHILY.xattr." + $0, Array("y".utf8)) })
        writer.add(.init(name: Array("d".utf8), mode: 0o500, type: UInt8(ascii: "5")))
        writer.end()
        let place = try Workplace()
        let tree = try place.unpack(writer.bytes)
        #expect(tree.summary.droppedAttributes == 12)
        let file = try tree.directory.descriptor.open("f", .readOnly)
        #expect(try file.extendedAttributeNames() == [Array("user.kept".utf8)])
        #expect(try file.extendedAttribute("user.kept") == [1, 0, 2])
        #expect(
            try tree.directory.descriptor.open("d", .readOnly).extendedAttributeNames() == [Array("user.kept".utf8)])
    }

    /// Users other than root need write permission by the mode. `FlattenerTests` covers this as another user.
    @Test func attributesOfWhatItsOwnerMayNotWrite() throws {
        let place = try Workplace()
        let items = [0o444, 0o555, 0o400, 0].map { Item.file("f\($0)", "x", $0).having("user.a", [1]) }
        let tree = try FileTree(reading: place.unpack(archive(items)).directory.descriptor)
        for mode in [0o444, 0o555, 0o400, 0] as [UInt32] {
            let file = try #require(tree.entries[Array("f\(mode)".utf8)])
            #expect(file.permissions == mode)
            #expect(file.attributes == [Array("user.a".utf8): [1]])
        }
    }

    /// The later of two entries for a directory determines all its attributes; its contents stay.
    @Test func aSecondEntryForADirectoryReplacesAllAttributes() throws {
        let place = try Workplace()
        let first = Item.dir("d", 0o700).having("user.old", [1]).having("user.both", [1]).at(1000)
        let tree = try place.unpack(
            archive([first, .file("d/f"), Item.dir("d", 0o711).having("user.both", [2]).at(2000, 5)]))
        let found = try FileTree(reading: tree.directory.descriptor)
        let directory = try #require(found.entries[Array("d".utf8)])
        #expect(directory.attributes == [Array("user.both".utf8): [2]])
        #expect(directory.permissions == 0o711)
        #expect(directory.modified == Timestamp(seconds: 2000, nanoseconds: 5))
        #expect(found.entries[Array("d/f".utf8)]?.kind == .regular)
    }

    /// A whiteout and entries below recreate a directory, which is as new as the newest entry far below.
    @Test func aDirectoryMadeAnewIsAsNewAsWhatIsInIt() throws {
        let place = try Workplace()
        let tree = try place.unpack(archive([.file(".wh.a"), Item.file("a/b/f").at(5000)]))
        #expect(try tree.directory.descriptor.status(of: "a").modified == Timestamp(seconds: 5000))
        #expect(try tree.directory.descriptor.status(of: "a/b").modified == Timestamp(seconds: 5000))
    }

    @Test func opaqueMark() throws {
        let place = try Workplace()
        let tree = try place.unpack(archive([.dir("a", 0o555), .file("a/.wh..wh..opq")]))
        #expect(
            try tree.directory.descriptor.open("a", .readOnly).extendedAttribute("user.overlay.opaque")
                == Array("y".utf8))
        #expect(try tree.directory.descriptor.status(of: "a").permissions == 0o555)
    }

    @Test func summariesReadBackOrAreRefused() throws {
        var summary = LayerSummary(diffID: digest([1], .sha512))
        summary.archiveBytes = 1 << 40
        summary.areMarksMade = false
        summary.whiteouts = [[0xFF], [], [UInt8](repeating: 7, count: 300)]
        summary.openHardLinks = [.init(path: [1], target: [2])]
        let bytes = summary.encoded
        #expect(try LayerSummary(decoding: bytes) == summary)
        for cut in 0..<bytes.count {
            #expect(throws: LayerSummary.DecodingFailure.self) { _ = try LayerSummary(decoding: Array(bytes[..<cut])) }
        }
        #expect(throws: LayerSummary.DecodingFailure.self) { _ = try LayerSummary(decoding: bytes + [0]) }
    }
}
