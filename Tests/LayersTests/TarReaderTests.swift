import Layers
import LinuxKernel
import TestSupport
import Testing

/// Unusual archives: the cases of the Go, CPython and libarchive suites with our own data.
@Suite struct TarReaderTests {
    static func read(
        _ bytes: [UInt8], chunk: Int = 1 << 20, _ limits: UnpackLimits = UnpackLimits()
    ) throws(LayerError) -> [(entry: TarEntry, data: [UInt8])] {
        let reader = TarReader(BytesSource(bytes, stride: chunk), limits: limits)
        var found: [(TarEntry, [UInt8])] = []
        while try reader.advance() {
            var data = [UInt8](repeating: 0, count: Int(min(reader.entry.size, 1 << 20)))
            while let (offset, bytes) = try reader.nextData() {
                // Compare at most one MiB of each file.
                guard offset + Int64(bytes.count) <= data.count else { continue }
                data.replaceSubrange(Int(offset)..<Int(offset) + bytes.count, with: Array(bytes))
            }
            found.append((reader.entry, data))
        }
        return found
    }

    static func single(_ build: (inout TarWriter) -> Void) throws -> (entry: TarEntry, data: [UInt8]) {
        var writer = TarWriter()
        build(&writer)
        writer.end()
        let found = try read(writer.bytes)
        try #require(found.count == 1)
        return found[0]
    }

    static func fault(_ build: (inout TarWriter) -> Void) -> LayerError.Reason? {
        var writer = TarWriter()
        build(&writer)
        writer.end()
        do throws(LayerError) {
            _ = try read(writer.bytes)
            return nil
        } catch {
            return error.reason
        }
    }

    /// Of two members of one name, tools read the first or the last. Directories are often repeated.
    @Test func anIndexRefusesAMemberThatOccursTwice() throws {
        func index(_ entries: [Item]) throws -> ArchiveIndex {
            let place = try TemporaryDirectory()
            let path = try place.write(archive(entries), to: "archive.tar")
            return try ArchiveIndex(DescriptorBox(try OwnedFileDescriptor(opening: path, .readOnly)))
        }
        _ = try index([.dir("blobs"), .dir("blobs"), .file("manifest.json", "one")])
        for again in ["manifest.json", "./manifest.json"] {
            #expect {
                try index([.file("manifest.json", "one"), .file(again, "two")])
            } throws: { error in
                (error as? LayerError)?.reason == .archive(.memberTwice)
            }
        }
        #expect(throws: LayerError.self) { try index([.file("a", "one"), .file("b", "two"), .symlink("a", "b")]) }
    }

    /// The same archive must give the same result for all chunk sizes.
    @Test(arguments: [7, 100, 511, 512, 513, 700, 4096, 1 << 20])
    func chunkBoundariesDoNotMatter(_ chunk: Int) throws {
        let bytes = archive([
            .dir("a"), .file("a/" + String(repeating: "n", count: 300), String(repeating: "data", count: 700)),
            .symlink("target", "a/l"), .file("z", "end"),
        ])
        let found = try Self.read(bytes, chunk: chunk)
        #expect(found.map(\.entry.name.count) == [1, 302, 3, 1])
        #expect(found[1].data == Array(String(repeating: "data", count: 700).utf8))
        #expect(found[3].data == Array("end".utf8))
    }

    @Test func numbers() throws {
        let big = try Self.single {
            $0.add(.init(name: Array("big".utf8), user: 0x1234_5678, group: 3_000_000, modified: -86_400))
        }.entry
        #expect(big.userID == 0x1234_5678)
        #expect(big.groupID == 3_000_000)
        #expect(big.modified == Timestamp(seconds: -86_400))
        // Year 2200, in base-256 and in octal.
        for modified: Int64 in [7_258_118_400, 8_589_934_591, 8_589_934_592] {
            #expect(
                try Self.single { $0.add(.init(name: [0x61], modified: modified)) }.entry.modified.seconds == modified)
        }
        // Leading blanks and no final NUL, as in v7; an empty field.
        #expect(
            try Self.single {
                $0.add(
                    .init(name: [0x61], patches: [(100, Array("   644 \0".utf8)), (108, [0, 0, 0, 0, 0, 0, 0, 0])]))
            }
            .entry.permissions == 0o644)
        #expect(
            Self.fault { $0.add(.init(name: [0x61], patches: [(124, Array("00000009000\0".utf8))])) }
                == .archive(.number(field: "size")))
        #expect(
            Self.fault { $0.add(.init(name: [0x61], patches: [(136, Array("12a45678901\0".utf8))])) }
                == .archive(.number(field: "mtime")))
        #expect(Self.fault { $0.add(.init(name: [0x61], size: -1)) } == .archive(.number(field: "size")))
        #expect(
            Self.fault { $0.add(.init(name: [0x61], patches: [(124, [0x80] + [UInt8](repeating: 0xFF, count: 11))])) }
                == .archive(.number(field: "size")))
    }

    @Test func checksums() throws {
        #expect(Self.fault { $0.add(.init(name: [0x61], hasWrongChecksum: true)) } == .archive(.checksum))
        #expect(
            try Self.single { $0.add(.init(name: [0xC3, 0xA4, 0xFF], hasSignedChecksum: true)) }.entry.name == [
                0xC3, 0xA4, 0xFF,
            ])
    }

    @Test func names() throws {
        let prefix = try Self.single { $0.add(.init(name: Array("name".utf8), prefix: Array("some/where".utf8))) }.entry
        #expect(prefix.name == Array("some/where/name".utf8))
        // A full field has no terminator.
        let full = [UInt8](repeating: 0x78, count: 100)
        #expect(try Self.single { $0.add(.init(name: full)) }.entry.name == full)
        // star's shorter prefix, followed by times.
        let star = try Self.single {
            $0.add(
                .init(
                    name: [0x62], prefix: [0x61],
                    patches: [(476, Array("00000000001 ".utf8)), (508, Array("tar\0".utf8))]))
        }.entry
        #expect(star.name == Array("a/b".utf8))
        // GNU has times in place of ustar's prefix, but old Go versions wrote a prefix there.
        let times = try Self.single {
            $0.add(
                .init(
                    name: [0x62], magic: "ustar  \0",
                    patches: [(345, Array("14000000000\0".utf8)), (357, Array("14000000000\0".utf8))]))
        }.entry
        #expect(times.name == [0x62])
        let oldGo = try Self.single { $0.add(.init(name: [0x62], magic: "ustar  \0", prefix: Array("var/lib".utf8))) }
            .entry
        #expect(oldGo.name == Array("var/lib/b".utf8))
    }

    @Test func longNames() throws {
        let name = [UInt8](repeating: 0xE9, count: 4000)
        let gnu = try Self.single {
            $0.add(
                .init(name: Array("././@LongLink".utf8), size: 4001, type: UInt8(ascii: "L"), magic: "ustar  \0"),
                name + [0])
            $0.add(
                .init(name: Array("././@LongLink".utf8), size: 301, type: UInt8(ascii: "K"), magic: "ustar  \0"),
                [UInt8](repeating: 0x6C, count: 300) + [0])
            $0.add(.init(name: [0x61], type: UInt8(ascii: "2"), link: [0x62], magic: "ustar  \0"))
        }.entry
        #expect(gnu.name == name)
        #expect(gnu.linkName.count == 300)
        #expect(gnu.kind == .symlink)
        let pax = try Self.single {
            $0.pax([("path", name), ("linkpath", [0xFF, 0x0A])])
            $0.add(.init(name: [0x61], type: UInt8(ascii: "2"), link: [0x62]))
        }.entry
        #expect(pax.name == name)
        #expect(pax.linkName == [0xFF, 0x0A])
        // Neither applies to the next entry.
        var writer = TarWriter()
        writer.pax([("path", name), ("mtime", Array("5".utf8))])
        writer.add(.init(name: [0x61]))
        writer.add(.init(name: [0x62]))
        writer.end()
        let found = try Self.read(writer.bytes)
        #expect(found.map(\.entry.name) == [name, [0x62]])
        #expect(found[1].entry.modified.seconds == 1_700_000_000)
        #expect(
            Self.fault {
                $0.pax([("path", [UInt8](repeating: 0x61, count: 4096))]); $0.add(.init(name: [0x61]))
            } == .limit(.pathBytes, limit: 4095))
        #expect(
            Self.fault {
                $0.pax([("path", [0x61, 0, 0x62])]); $0.add(.init(name: [0x61]))
            } == .archive(.nulInName))
    }

    @Test(arguments: [
        ("12.5", Timestamp(seconds: 12, nanoseconds: 500_000_000)), ("12", Timestamp(seconds: 12)),
        ("-1.25", Timestamp(seconds: -2, nanoseconds: 750_000_000)), ("-3", Timestamp(seconds: -3)),
        ("1.1234567899999", Timestamp(seconds: 1, nanoseconds: 123_456_789)), ("4.", Timestamp(seconds: 4)),
        ("7258118400.000000001", Timestamp(seconds: 7_258_118_400, nanoseconds: 1)),
    ])
    func paxTimes(_ row: (String, Timestamp)) throws {
        #expect(
            try Self.single {
                $0.pax([("mtime", Array(row.0.utf8))]); $0.add(.init(name: [0x61]))
            }.entry.modified == row.1)
    }

    @Test(arguments: [
        "", "0 a=b\n", "5 a=b", "6 a=b", "99 a=b\n", "5 =b\n", "06\n", "x a=b\n", "6 a=b\n\0",
        "18446744073709551622 a=b\n",
    ])
    func brokenPAXRecords(_ text: String) {
        let data = Array(text.utf8)
        let reason = Self.fault {
            $0.add(.init(name: Array("pax".utf8), size: Int64(data.count), type: UInt8(ascii: "x")), data)
            $0.add(.init(name: [0x61]))
        }
        #expect(text.isEmpty ? reason == nil : reason == .archive(.extendedHeader))
    }

    @Test func paxNumbersAndGlobals() throws {
        #expect(
            Self.fault {
                $0.pax([("size", Array("-1".utf8))]); $0.add(.init(name: [0x61]))
            } == .archive(.extendedHeader))
        #expect(
            Self.fault {
                $0.pax([("mtime", Array("soon".utf8))]); $0.add(.init(name: [0x61]))
            } == .archive(.extendedHeader))
        // A global header is ignored.
        let found = try Self.single {
            $0.pax(
                [("comment", Array("git".utf8)), ("path", Array("evil".utf8)), ("size", Array("512".utf8))], type: "g")
            $0.add(.init(name: [0x61], size: 2), [1, 2])
        }
        #expect(found.entry.name == [0x61])
        #expect(found.data == [1, 2])
    }

    /// POSIX pax: an empty value cancels an earlier one. Go's `pax-*` archives rely on it.
    @Test func emptyPAXValuesTakeBack() throws {
        let found = try Self.single {
            $0.pax(
                [
                    ("path", Array("other".utf8)), ("path", []), ("linkpath", []), ("mtime", Array("7".utf8)),
                    ("mtime", []), ("uid", []), ("gid", []), ("size", []), ("SCHILY.xattr.user.gone", [1]),
                    ("SCHILY.xattr.user.kept", [2]), ("SCHILY.xattr.user.gone", []), ("SCHILY.xattr.user.never", []),
                ])
            $0.add(.init(name: [0x61], user: 5, group: 6, size: 2), [1, 2])
        }
        #expect(found.entry.name == [0x61])
        #expect(found.entry.modified.seconds == 1_700_000_000)
        #expect((found.entry.userID, found.entry.groupID) == (5, 6))
        #expect(found.data == [1, 2])
        #expect(found.entry.extendedAttributes.map(\.name) == [Array("user.kept".utf8)])
        #expect(found.entry.extendedAttributes.map(\.value) == [[2]])
    }

    /// CVE-2025-62518 and similar: a PAX size applies to the entry itself and never to a header before it.
    @Test func paxSizeHidesNothing() throws {
        var writer = TarWriter()
        var inner = TarWriter()
        inner.add(.init(name: Array("smuggled".utf8), size: 1), [7])
        writer.pax([("size", Array("\(inner.bytes.count)".utf8))])
        writer.add(.init(name: Array("carrier".utf8), size: 0), inner.bytes)
        writer.add(.init(name: Array("last".utf8)))
        writer.end()
        #expect(try Self.read(writer.bytes).map(\.entry.name) == [Array("carrier".utf8), Array("last".utf8)])

        var second = TarWriter()
        second.pax([("size", Array("3".utf8))])
        second.add(
            .init(name: Array("././@LongLink".utf8), size: 5, type: UInt8(ascii: "L"), magic: "ustar  \0"),
            Array("long\0".utf8))
        second.add(.init(name: [0x61], size: 0), [1, 2, 3])
        second.add(.init(name: Array("last".utf8)))
        second.end()
        let found = try Self.read(second.bytes)
        #expect(found.map(\.entry.name) == [Array("long".utf8), Array("last".utf8)])
        #expect(found[0].data == [1, 2, 3])
    }

    @Test func sizesWithoutDataAreIgnored() throws {
        // Directories, links and similar entries have no data, whatever the header's size.
        for type in "125346" {
            var writer = TarWriter()
            writer.add(.init(name: [0x61], size: 4096, type: type.asciiValue ?? 0, link: [0x62]))
            writer.add(.init(name: [0x62]))
            writer.end()
            #expect(try Self.read(writer.bytes).count == 2)
        }
    }

    @Test func kinds() throws {
        let rows: [(UInt8, String, TarEntry.Kind)] = [
            (UInt8(ascii: "0"), "a", .regular), (0, "a", .regular), (0, "a/", .directory),
            (UInt8(ascii: "7"), "a", .regular),
            (UInt8(ascii: "0"), "a/", .regular), (UInt8(ascii: "1"), "a", .hardLink),
            (UInt8(ascii: "2"), "a", .symlink),
            (UInt8(ascii: "3"), "a", .characterDevice), (UInt8(ascii: "4"), "a", .blockDevice),
            (UInt8(ascii: "5"), "a", .directory), (UInt8(ascii: "6"), "a", .fifo),
        ]
        for (type, name, kind) in rows {
            #expect(
                try Self.single { $0.add(.init(name: Array(name.utf8), type: type, link: [0x62])) }.entry.kind == kind)
        }
        #expect(
            Self.fault { $0.add(.init(name: [0x61], type: UInt8(ascii: "M"))) }
                == .archive(.entryType(UInt8(ascii: "M"))))
        // A volume label is not an entry.
        #expect(
            try Self.single {
                $0.add(.init(name: [0x76], type: UInt8(ascii: "V"))); $0.add(.init(name: [0x61]))
            }.entry.name == [0x61])
    }

    @Test func endings() throws {
        let whole = archive([.file("a", "x")])
        #expect(try Self.read([]).isEmpty)
        #expect(try Self.read(Array(whole.dropLast(1024))).count == 1)
        #expect(try Self.read(Array(whole.dropLast(512))).count == 1)
        // Anything may follow the end marker.
        #expect(try Self.read(whole + [UInt8](repeating: 0xAA, count: 3000)).count == 1)
        #expect(throws: LayerError.self) { _ = try Self.read(Array(whole.dropLast(512)) + archive([.file("b")])) }
        // The entry of an extended header must follow it.
        var writer = TarWriter()
        writer.pax([("path", [0x61])])
        #expect(throws: LayerError.self) { _ = try Self.read(writer.bytes) }
        writer.end()
        #expect(throws: LayerError.self) { _ = try Self.read(writer.bytes) }
    }

    @Test func truncationAnywhereIsNoticedOrLosesWholeEntriesOnly() throws {
        let whole = archive([
            .dir("d"), .file("d/one", String(repeating: "1", count: 1500)), .symlink("one", "d/two"),
            .file("d/" + String(repeating: "l", count: 200), "long"),
            .file("d/three", String(repeating: "3", count: 600)),
        ])
        let complete = try Self.read(whole)
        var paddings: [Range<Int>] = []
        let reader = TarReader(BytesSource(whole))
        while try reader.advance() {
            let end = Int(reader.dataPosition) + Int(reader.entry.size)
            paddings.append(end..<(end + 511) & ~511)
        }
        for cut in stride(from: 0, to: whole.count, by: 256) {
            do throws(LayerError) {
                let found = try Self.read(Array(whole[..<cut]))
                #expect(cut % 512 == 0 || paddings.contains { $0.contains(cut) })
                for (entry, reference) in zip(found, complete) { #expect(entry.data == reference.data) }
            } catch {
                guard case .archive(let fault) = error.reason else { Issue.record("\(error)"); continue }
                #expect([.truncatedData, .truncatedHeader].contains(fault))
            }
        }
    }

    @Test func junkIsRefused() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<50 {
            let junk = (0..<2048).map { _ in UInt8.random(in: 1...255, using: &generator) }
            #expect(throws: LayerError.self) { _ = try Self.read(junk) }
        }
    }

    @Test func limits() {
        var limits = UnpackLimits()
        limits.entries = 2
        limits.extendedHeaderBytes = 600
        func reason(_ bytes: [UInt8]) -> LayerError.Reason? {
            do throws(LayerError) { _ = try Self.read(bytes, limits); return nil } catch { return error.reason }
        }
        #expect(reason(archive([.file("a"), .file("b")])) == nil)
        #expect(reason(archive([.file("a"), .file("b"), .file("c")])) == .limit(.entries, limit: 2))
        #expect(
            reason(archive([.file(String(repeating: "p", count: 700))])) == .limit(.extendedHeaderBytes, limit: 600))
        // A size of exabytes is rejected before memory is allocated.
        #expect(
            Self.fault {
                $0.pax([("size", Array("9223372036854775807".utf8))]); $0.add(.init(name: [0x61]))
            } == .limit(.totalBytes, limit: 4 << 40))
        #expect(
            Self.fault {
                $0.pax([("SCHILY.xattr.user.big", [UInt8](repeating: 1, count: 70_000))]); $0.add(.init(name: [0x61]))
            } == .limit(.extendedAttributeBytes, limit: 65_536))
    }

    @Test func errorsNameTheEntryAndItsPlace() {
        var writer = TarWriter()
        writer.add(.init(name: Array("fine".utf8)))
        writer.add(.init(name: Array("cut".utf8), size: 4000), [1])
        let error = #expect(throws: LayerError.self) { _ = try Self.read(writer.bytes) }
        #expect(error?.entry == Array("cut".utf8))
        #expect(error?.offset == 512)
    }
}
