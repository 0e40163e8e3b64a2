import ImageSpec
import Layers
import LinuxKernel
import TestSupport
import Testing

/// Archives that attack by their size and structure.
@Suite struct HostileTests {
    /// Replaces directories by files and recreates them while many others are known: the work must grow linearly with
    /// the entries, not quadratically.
    @Test func replacingDirectoriesOverAndOverIsLinear() throws {
        func seconds(_ count: Int) throws -> Double {
            var items = (0..<count).map { Item.dir("many/d\($0)") }
            for index in 0..<count { items += [.dir("x"), .dir("x/y\(index)"), .file("x", "")] }
            let place = try Workplace()
            let started = Clock.monotonicNanoseconds
            let tree = try place.unpack(archive(items))
            #expect(try tree.directory.descriptor.status(of: "x").kind == .regular)
            return Double(Clock.monotonicNanoseconds - started) / 1e9
        }
        _ = try seconds(100)
        // Eight times the entries: quadratic work would be 64 times as much and take minutes.
        let (small, large) = (try seconds(500), try seconds(4000))
        #expect(large < small * 40 + 2, "\(small) s for 500, \(large) s for 4000")
    }

    @Test func manyAttributesOfOneFileAreLinear() throws {
        var writer = TarWriter()
        let records = (0..<40_000).map { ("SCHILY.xattr.user.\($0)", [UInt8(1)]) }
        for _ in 0..<4 {
            writer.pax(records)
            writer.add(.init(name: Array("f".utf8)))
        }
        writer.end()
        var limits = UnpackLimits()
        limits.extendedHeaderBytes = 4 << 20
        let reader = TarReader(BytesSource(writer.bytes), limits: limits)
        let started = Clock.monotonicNanoseconds
        while try reader.advance() { #expect(reader.entry.extendedAttributes.count == 40_000) }
        #expect(Clock.monotonicNanoseconds - started < 60_000_000_000)
    }

    static func refusal(_ bytes: [UInt8], _ change: (inout UnpackLimits) -> Void) throws -> LayerError? {
        let place = try Workplace()
        var unpacker = LayerUnpacker.several
        change(&unpacker.limits)
        do throws(LayerError) {
            _ = try unpacker.unpack(BytesSource(bytes), diffID: digest(bytes), into: place.root)
            return nil
        } catch { return error }
    }

    static let limited: [(UnpackLimits.Kind, Int64, [Item])] = [
        (.totalBytes, 2000, [.file("f", String(repeating: "x", count: 4000))]),
        (.entries, 3, [.file("a"), .file("b"), .file("c"), .file("d")]),
        (.pathDepth, 4, [.file("a/b/c/d/e")]),
        (.pathBytes, 200, [.file(String(repeating: "x", count: 90) + "/" + String(repeating: "y", count: 150))]),
        (.marks, 2, [.file(".wh.a"), .file(".wh.b"), .file(".wh.c")]),
    ]

    @Test(arguments: limited) func eachLimitIsOne(_ row: (kind: UnpackLimits.Kind, limit: Int64, items: [Item])) throws
    {
        let bytes = archive(row.items)
        let error = try Self.refusal(bytes) { $0[row.kind] = row.limit }
        #expect(error?.reason == .limit(row.kind, limit: row.limit))
        #expect(try Self.refusal(bytes) { _ in } == nil)
    }

    @Test func limitsOfHeadersAndAttributes() throws {
        var writer = TarWriter()
        writer.pax([("SCHILY.xattr.user.a", [UInt8](repeating: 65, count: 5000))])
        writer.add(.init(name: Array("f".utf8)))
        writer.end()
        #expect(
            try Self.refusal(writer.bytes) { $0.extendedAttributeBytes = 4999 }?.reason
                == .limit(.extendedAttributeBytes, limit: 4999))
        #expect(
            try Self.refusal(writer.bytes) { $0.extendedHeaderBytes = 5000 }?.reason
                == .limit(.extendedHeaderBytes, limit: 5000))
    }

    @Test func everyLimitHasAName() {
        var limits = UnpackLimits()
        for (index, kind) in UnpackLimits.Kind.allCases.enumerated() {
            limits[kind] = Int64(index + 7)
            #expect(limits[kind] == Int64(index + 7))
        }
        #expect(Set(UnpackLimits.Kind.allCases.map { limits[$0] }).count == UnpackLimits.Kind.allCases.count)
    }

    // MARK: AUFS

    /// Old images contain `.wh..wh.plnk/INODE.NUMBER` and hard links to it.
    @Test func linksIntoAUFSsOwnDirectoryAreFilesAndItIsGone() throws {
        let place = try Workplace()
        let tree = try place.unpack(
            archive([
                .dir("bin"), .link(".wh..wh.plnk/22.9", "bin/early"), .file(".wh..wh.aufs"), .dir(".wh..wh.orph"),
                .dir(".wh..wh.plnk"), .file(".wh..wh.plnk/11.7", "shared", 0o755),
                .link(".wh..wh.plnk/11.7", "bin/one"),
                .link("/.wh..wh.plnk/11.7", "bin/two"), .file(".wh..wh.plnk/22.9", "late"),
                .file(".wh..wh.orph/x", "y"),
            ]))
        #expect(
            try listing(tree.directory.descriptor) == [
                "bin": "dir 755", "bin/early": "file 644 late", "bin/one": "file 755 shared",
                "bin/two": "file 755 shared",
            ])
        let (one, two) = try (
            tree.directory.descriptor.status(of: "bin/one"), tree.directory.descriptor.status(of: "bin/two")
        )
        #expect(one.inode == two.inode && one.links == 2)
        #expect(tree.summary.implicitDirectories == [[]] && tree.summary.openHardLinks.isEmpty)
        #expect(tree.summary.whiteouts.isEmpty && tree.summary.opaqueDirectories.isEmpty)
    }

    // MARK: Shared trees

    @Test func whatIsForEverybodyEverybodyMayRead() throws {
        let place = try Workplace()
        var unpacker = LayerUnpacker.several
        unpacker.isReadableByAll = true
        let tree = try place.unpack(
            archive([
                .dir("root", 0o700), .file("root/secret", "s", 0o600), .file("root/tool", "t", 0o710),
                .file("root/none", "n", 0), .dir("tmp", 0o1777), .fifo("root/p"),
            ]), unpacker)
        #expect(
            try listing(tree.directory.descriptor) == [
                "root": "dir 755", "root/secret": "file 644 s", "root/tool": "file 755 t", "root/none": "file 444 n",
                "tmp": "dir 1777", "root/p": "fifo 644",
            ])
    }
}
