import ImageSpec
import Layers
import LinuxKernel
import TestSupport
import Testing

/// Attacks of archives on other programs, by number. In each case, a directory next to the tree must stay unchanged.
@Suite struct CVETests {
    /// Replaced in names and targets by the directory outside.
    static let outside = "OUTSIDE"

    enum Outcome: Sendable {
        /// The expected contents of the tree.
        case tree([String: String])
        case refused(LayerError.Reason)
        /// Any outcome.
        case anything
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let layers: [[Item]]
        var outcome = Outcome.anything
        var testDescription: String { name }
    }

    static let deep = String(repeating: "d", count: 247)

    /// Directories and links whose resolved path is longer than PATH_MAX, then a path out of the tree.
    static let realpathOverflow: [Item] = {
        var items: [Item] = []
        var path = ""
        for letter in "abcdefghijklmnop" {
            items += [.dir(path + deep), .symlink(deep, path + String(letter))]
            path += deep + "/"
        }
        let links = "abcdefghijklmnop".map(String.init).joined(separator: "/")
        let last = links + "/" + String(repeating: "l", count: 254)
        items += [
            .symlink(String(repeating: "../", count: 16), last), .symlink(last + outside, "escape"),
            .file("escape/secret", "overwritten"), .link("escape/secret", "stolen"),
        ]
        return items
    }()

    static let cases: [Case] = [
        Case(
            name: "CVE-2014-6407: written through a link",
            layers: [[.symlink(outside, "l"), .file("l/secret", "overwritten"), .link("\(outside)/secret", "h")]]),
        Case(
            name: "CVE-2014-6407: written through a hard link",
            layers: [[.file("t", "kept"), .link("t", "h"), .file("h", "new")]],
            outcome: .tree(["t": "file 644 kept", "h": "file 644 new"])),
        Case(
            name: "CVE-2014-9356: an absolute link as a way out",
            layers: [[.symlink("/", "root"), .file("root\(outside)/secret", "overwritten")]]),
        Case(
            name: "CVE-2016-7569: dots in layer paths",
            layers: [[.file("../../../../../../..\(outside)/secret", "overwritten")]]),
        Case(
            name: "CVE-2016-6321, CVE-2007-4559: dots in the middle and in front",
            layers: [[.file("a/../../../../../../..\(outside)/secret", "x"), .file("/..\(outside)/secret", "y")]]),
        Case(
            name: "CVE-2016-5418: a hard link with contents",
            layers: [[.file("t", "kept"), Item(name: "h", type: "1", content: "overwritten", link: "t")]],
            outcome: .refused(.archive(.checksum))),
        Case(
            name: "CVE-2018-20969, CVE-2014-9357: an empty target",
            layers: [[.symlink("", "e"), .file("e/secret", "x")]], outcome: .refused(.archive(.emptyName))),
        Case(
            name: "CVE-2021-29136: the root as a link",
            layers: [[.symlink(outside, "/."), .file("secret", "overwritten")]],
            outcome: .refused(.archive(.rootIsNotADirectory))),
        Case(
            name: "CVE-2021-32760: a mode through a hard link to a link",
            layers: [
                [
                    .symlink("\(outside)/secret", "s"), .link("s", "h"),
                    Item(name: "h", type: "1", link: "s", mode: 0o777),
                ]
            ]),
        Case(
            name: "CVE-2021-41091, CVE-2021-41089, CVE-2021-41103: setuid in a shared tree",
            layers: [[.file("su", "x", 0o6755), .dir("d", 0o2755), .file("d/f", "y", 0o4711)]],
            outcome: .tree(["su": "file 755 x", "d": "dir 755", "d/f": "file 711 y"])),
        Case(
            name: "CVE-2021-31566, CVE-2021-23177: a directory's mode and time set after it became a link",
            layers: [[.dir("d", 0o777), .file("d/f", "x"), .symlink(outside, "d")]]),
        Case(
            name: "CVE-2021-32803, CVE-2021-37701, CVE-2026-24842: a known directory becomes a link",
            layers: [[.dir("a"), .file("a/f", "x"), .symlink(outside, "a"), .file("a/secret", "overwritten")]]),
        Case(
            name: "CVE-2021-37712, CVE-2026-23950: names that only look alike",
            layers: [
                [.dir("caf\u{E9}"), .symlink(outside, "cafe\u{301}"), .file("caf\u{E9}/secret", "inside")],
                [.dir("A"), .symlink(outside, "a"), .file("A/secret", "inside")],
            ]),
        Case(
            name: "CVE-2026-23745, CVE-2026-26960, CVE-2026-29786, CVE-2026-31802: a hard link by way of links",
            layers: [[.symlink(outside, "s"), .symlink("s", "t"), .link("t/secret", "stolen")]]),
        Case(
            name: "CVE-2024-12718: a mode for what lies above",
            layers: [
                [
                    .dir("..", 0o777), .dir("../../../../..\(outside)", 0o777),
                    .file("../../../../..\(outside)/secret", "", 0o777),
                ]
            ]),
        Case(
            name: "CVE-2025-4138, CVE-2025-4330, CVE-2025-4517: a link longer than any path",
            layers: [realpathOverflow]),
        Case(
            name: "CVE-2025-4435: what was refused is not linked to",
            layers: [[.device("dev"), .link("dev", "copy")]], outcome: .refused(.archive(.hardLinkTargetMissing))),
        Case(
            name: "a lower layer's link under an upper layer's file",
            layers: [[.symlink(outside, "d")], [.file("d/secret", "overwritten")]]),
        Case(
            name: "a whiteout by way of a link",
            layers: [[.symlink(outside, "d")], [.file("d/.wh.secret"), .file("d/.wh..wh..opq")]]),
        Case(
            name: "AUFS's directory as a link",
            layers: [[.symlink(outside, ".wh..wh.plnk"), .link(".wh..wh.plnk/secret", "stolen")]]),
    ]

    /// The directory outside, and its expected state.
    struct Outside {
        let path: String
        private let before: [String: String]
        private let status: FileStatus

        init(_ place: Workplace) throws {
            path = place.path + "/outside"
            let directory = try place.directory("outside")
            try directory.descriptor.open("secret", [.writeOnly, .create], mode: 0o600).writeAll(Array("safe".utf8))
            try directory.descriptor.setPermissions(of: "secret", 0o400)
            try directory.descriptor.setTimes(of: "secret", modified: Timestamp(seconds: 1_000_000))
            try directory.descriptor.setTimes(modified: Timestamp(seconds: 2_000_000))
            before = try listing(directory.descriptor)
            status = try FileStatus(of: path + "/secret")
        }

        func check() throws {
            let directory = try OwnedFileDescriptor(opening: path, [.readOnly, .directory])
            #expect(try listing(directory) == before)
            #expect(try directory.status().modified == Timestamp(seconds: 2_000_000))
            let now = try FileStatus(of: path + "/secret")
            #expect(now.modified == status.modified && now.links == 1 && now.permissions == 0o400)
        }
    }

    @Test(arguments: cases) func nothingOutsideChanges(_ table: Case) throws {
        let place = try Workplace()
        let outside = try Outside(place)
        let layers = table.layers.map { items in
            items.map { item in
                var item = item
                item.name = item.name.replacing(Self.outside, with: outside.path)
                item.link = item.link.replacing(Self.outside, with: outside.path)
                return item
            }
        }
        var found: Result<[String: String], LayerError>?
        do {
            found = .success(try listing(place.flatten(layers).descriptor))
        } catch let error as LayerError {
            found = .failure(error)
        }
        try outside.check()
        switch (table.outcome, found) {
        case (.tree(let expected), .success(let tree)?): #expect(tree == expected)
        case (.refused(let reason), .failure(let error)?): #expect(error.reason == reason)
        case (.anything, _): break
        default: Issue.record("\(String(describing: found))")
        }
        // No content from outside was read: no case's own files have this word.
        if case .success(let tree)? = found { #expect(!tree.values.contains { $0.hasSuffix(" safe") }, "\(tree)") }
    }

    // MARK: Resources

    /// CVE-2017-14992: endless zeros after the end of the archive.
    @Test func cve_2017_14992_paddingWithoutEnd() throws {
        final class Endless: ChunkSource {
            let head = BytesSource(archive([.file("f", "x")]))
            let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
            init() { zeros.initializeMemory(as: UInt8.self, repeating: 0) }
            deinit { zeros.deallocate() }
            func next() throws(LayerError) -> UnsafeRawBufferPointer {
                let chunk = try head.next()
                return chunk.isEmpty ? UnsafeRawBufferPointer(zeros) : chunk
            }
        }
        let place = try Workplace()
        var unpacker = LayerUnpacker.several
        unpacker.limits.totalBytes = 64 << 20
        let error = #expect(throws: LayerError.self) {
            let blob = VerifyingSource(Endless(), digest: digest([]), size: 1 << 30)
            _ = try unpacker.unpack(blob, diffID: digest([]), into: place.root)
        }
        // Unpacking stops at the limit, and reading for the digest stops at the blob's size.
        guard case .blobSize? = error?.reason else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    /// CVE-2022-2879: an extended header that would exhaust the memory.
    @Test(arguments: ["x", "g", "L", "K"]) func cve_2022_2879_headersWithoutEnd(_ type: Character) throws {
        var writer = TarWriter()
        writer.add(.init(name: Array("h".utf8), size: 8 << 30, type: type.asciiValue ?? 0))
        let reader = TarReader(BytesSource(writer.bytes))
        let error = #expect(throws: LayerError.self) { _ = try reader.advance() }
        #expect(error?.reason == .limit(.extendedHeaderBytes, limit: 1 << 20))
    }

    /// CVE-2025-58183: a sparse map that would exhaust the memory.
    @Test func cve_2025_58183_sparseMapsWithoutEnd() throws {
        var writer = TarWriter()
        writer.pax([
            ("GNU.sparse.major", [0x31]), ("GNU.sparse.minor", [0x30]), ("GNU.sparse.realsize", Array("99".utf8)),
        ])
        writer.add(.init(name: Array("s".utf8), size: 1 << 40))
        writer.bytes += Array("99999999\n".utf8)
        writer.bytes += [UInt8](repeating: 0x30, count: 4096)
        let reader = TarReader(BytesSource(writer.bytes))
        let error = #expect(throws: LayerError.self) { _ = try reader.advance() }
        #expect(error?.reason == .limit(.sparseExtents, limit: 1 << 18))
    }

    /// CVE-2025-62518, CVE-2026-33055, GHSA-3cv2-h65g-fgmm, RUSTSEC-2026-0112: two sizes hide an entry from other
    /// readers.
    @Test(arguments: ["L", "K", "x"]) func cve_2025_62518_sizesThatDisagree(_ between: Character) throws {
        var inner = TarWriter()
        inner.add(.init(name: Array("smuggled".utf8)))
        var writer = TarWriter()
        writer.pax([("size", Array("\(inner.bytes.count)".utf8))])
        if between == "x" {
            writer.pax([("comment", Array("again".utf8)), ("size", Array("\(inner.bytes.count)".utf8))])
        } else {
            writer.add(.init(name: Array("@".utf8), size: 5, type: between.asciiValue ?? 0), Array("name\u{0}".utf8))
        }
        // The header's size is 0 and the record's is right, so the following data are the file's contents.
        writer.add(.init(name: Array("outer".utf8)))
        writer.bytes += inner.bytes
        writer.add(.init(name: Array("after".utf8)))
        writer.end()
        let reader = TarReader(BytesSource(writer.bytes))
        var names: [String] = []
        while try reader.advance() { names.append(reader.entry.name.displayPath) }
        #expect(names == [between == "L" ? "name" : "outer", "after"])
    }

    /// CVE-2014-9357: unsupported compressions are reported, and no other program runs.
    @Test func cve_2014_9357_noOtherProgramIsRun() throws {
        let place = try Workplace()
        let error = #expect(throws: LayerError.self) {
            _ = try LayerUnpacker().unpack(
                BytesSource([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00, 0, 0, 0, 0]), diffID: digest([]), into: place.root)
        }
        #expect(error?.reason == .unsupportedCompression("xz"))
    }

    /// CVE-2014-8178: the digest identifies a layer, whatever its name.
    @Test func cve_2014_8178_layersAreNamedByTheirContent() throws {
        let place = try Workplace()
        let error = #expect(throws: LayerError.self) {
            _ = try LayerUnpacker().unpack(
                BytesSource(archive([.file("f", "poisoned")])), diffID: digest(archive([.file("f", "real")])),
                into: place.root)
        }
        guard case .diffID? = error?.reason else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    /// CVE-2025-47290: a directory is replaced by a link while the archive is unpacked into it.
    @Test func cve_2025_47290_directoriesSwappedMeanwhile() throws {
        let place = try Workplace()
        let outside = try Outside(place)
        let target = try place.directory("tree")
        let items = (0..<800).flatMap { [Item.dir("d"), .file("d/secret", "overwritten"), .file("d/new\($0)", "x")] }
        let tar = archive(items)
        let done = Flag()
        let swaps = Counter()
        let (root, path) = (target, outside.path)
        try concurrently(2) { number in
            if number == 0 {
                defer { done.set() }
                // Repeat until there were enough replacements, whatever the scheduling.
                for _ in 0..<100 where swaps.value < 20 {
                    // It may fail; only the place of its writes matters.
                    _ = try? LayerUnpacker().unpack(BytesSource(tar), diffID: digest(tar), into: root)
                }
            } else {
                while !done.isSet {
                    try? root.descriptor.makeSymlink("link", to: path)  // exists already
                    try? root.descriptor.move("d", to: "aside", in: root.descriptor)  // absent so far
                    do {
                        try root.descriptor.move("link", to: "d", in: root.descriptor)
                        swaps.add()
                    } catch {}  // a new directory exists already
                    try? root.descriptor.removeTree("aside")  // filled again
                }
            }
        }
        #expect(swaps.value >= 20, "the directory was hardly ever a link")
        try outside.check()
    }
}

import Synchronization

private final class Counter: Sendable {
    private let count = Atomic(0)
    func add() { count.add(1, ordering: .relaxed) }
    var value: Int { count.load(ordering: .relaxed) }
}

private final class Flag: Sendable {
    private let value = Atomic(false)
    func set() { value.store(true, ordering: .relaxed) }
    var isSet: Bool { value.load(ordering: .relaxed) }
}
