import Layers
import LinuxKernel
import TestSupport
import Testing

/// The cases of CPython's test_tarfile.py and libarchive's test_read_format_tar*, _gtar*, _pax* and test_compat_* with
/// our own data, unless `TarReaderTests`, `SparseTests` and `GoTarTests` have them. docs/reference/corpora.md is the
/// list.
@Suite struct OtherTarTests {
    static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    // MARK: CPython

    /// test_read_number_fields: eight bytes, as in a user ID.
    @Test(
        arguments: [
            (text("0000001\0"), 1), (text("7777777\0"), 0o7777777), ([0x80, 0, 0, 0, 0, 0x20, 0, 0], 0o10000000),
            ([0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], 0xFFFF_FFFF),
            ([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 0xFFFF_FFFF),
            ([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x9C], 0xFFFF_FF9C), ([0xFF, 0, 0, 0, 0, 0, 0, 0], 0),
            ([0, 0, 0, 0, 0, 0, 0, 0], 0), (text("       \0"), 0),
        ] as [([UInt8], UInt32)])
    func numbersOfUsers(_ row: ([UInt8], UInt32)) throws {
        #expect(
            try TarReaderTests.single { $0.add(.init(name: [0x61], patches: [(108, row.0)])) }.entry.userID == row.1)
    }

    /// OffsetValidationTests: a negative size that is not a valid number, in each format.
    @Test(arguments: ["ustar\u{0}00", "ustar  \0", ""]) func sizesThatWouldGoBackwards(_ magic: String) {
        let size = [UInt8](repeating: 0xFF, count: 11) + [0x20]
        #expect(
            TarReaderTests.fault { $0.add(.init(name: [0x61], magic: magic, patches: [(124, size)])) }
                == .archive(.number(field: "size")))
    }

    /// test_length_zero_header, CVE-2019-20907: a record of length 0 causes an endless loop.
    @Test func aRecordWithoutLength() {
        let data = [UInt8](repeating: 0, count: 512)
        #expect(
            TarReaderTests.fault {
                $0.add(.init(name: [0x61], size: 512, type: UInt8(ascii: "x")), data)
                $0.add(.init(name: [0x62]))
            } == .archive(.extendedHeader))
    }

    /// test_premature_end_of_archive, and AppendTest's incomplete archives.
    @Test(arguments: [13, 512, 525, 600, 1024, 1200]) func prematureEnds(_ length: Int) {
        var writer = TarWriter()
        writer.add(.init(name: Self.text("foo"), size: 1024), [UInt8](repeating: 0x61, count: 1024))
        #expect(throws: LayerError.self) { _ = try TarReaderTests.read(Array(writer.bytes[..<length])) }
    }

    /// test_longname_directory, test_longname_file_not_directory, test_truncated_longname.
    @Test(arguments: [true, false]) func longNames(_ isGNU: Bool) throws {
        func single(_ name: String, _ type: UInt8, short: String) throws -> TarEntry {
            try TarReaderTests.single { Self.long(&$0, name, type, short: short, isGNU: isGNU) }.entry
        }
        let directory = try single(String(repeating: "a", count: 101) + "/", UInt8(ascii: "5"), short: "a")
        #expect(directory.kind == .directory && directory.name.count == 102)
        // The slash of an old directory is part of the long name. A slash only in the truncated name does not count.
        #expect(try single(String(repeating: "a", count: 101) + "/", 0, short: "aa").kind == .directory)
        let cut = String(repeating: "a", count: 99) + "/"
        #expect(try single(cut + "bbb", 0, short: cut).kind == .regular)
        // GNUWriteTest: lengths close to a block's.
        for length in [1023, 1024, 1025] {
            #expect(
                try single(String(repeating: "n", count: length), UInt8(ascii: "0"), short: "n").name.count == length)
        }
        var writer = TarWriter()
        Self.long(&writer, String(repeating: "n", count: 600), UInt8(ascii: "0"), short: "n", isGNU: isGNU)
        for blocks in 1...3 where blocks * 512 < writer.bytes.count {
            #expect(throws: LayerError.self) { _ = try TarReaderTests.read(Array(writer.bytes[..<(blocks * 512)])) }
        }
    }

    static func long(_ writer: inout TarWriter, _ name: String, _ type: UInt8, short: String, isGNU: Bool) {
        let magic = isGNU ? "ustar  \0" : "ustar\u{0}00"
        if isGNU {
            writer.add(
                .init(
                    name: text("././@LongLink"), size: Int64(name.utf8.count + 1), type: UInt8(ascii: "L"), magic: magic
                ),
                text(name) + [0])
        } else {
            writer.pax([("path", text(name))])
        }
        writer.add(.init(name: text(short), type: type, magic: magic))
    }

    /// test_pax_global_headers, PAXUnicodeTest.test_binary_header: names are bytes, whatever encoding is declared.
    @Test func charactersAreNotConverted() throws {
        let name: [UInt8] = Self.text("pax/hdrcharset-") + [0xE4, 0xF6, 0xFC]
        #expect(
            try TarReaderTests.single {
                $0.pax([("hdrcharset", Self.text("BINARY")), ("path", name)])
                $0.add(.init(name: [0x61]))
            }.entry.name == name)
        #expect(
            try TarReaderTests.single {
                $0.pax([("uname", Self.text("foo")), ("VENDOR.umlauts", [0xC4])], type: "g")
                $0.pax([("hdrcharset", Self.text("ISO-IR 10646 2000 UTF-8")), ("path", name)])
                $0.add(.init(name: [0x61]))
            }.entry.name == name)
    }

    /// test_xstar_type: times in place of ustar's prefix.
    @Test func xstar() throws {
        let entry = try TarReaderTests.single {
            $0.add(
                .init(
                    name: Self.text("misc/regtype-xstar"),
                    patches: [(476, Self.text("07606136617 07606136617 ")), (508, Self.text("tar\0"))]))
        }.entry
        #expect(entry.name == Self.text("misc/regtype-xstar"))
    }

    // MARK: libarchive

    /// test_read_format_tar_V_negative_size, _invalid_pax_size.
    @Test func negativeSizesOfHeaders() {
        for type in [UInt8(ascii: "V"), UInt8(ascii: "L"), UInt8(ascii: "x"), UInt8(ascii: "g")] {
            #expect(
                TarReaderTests.fault {
                    $0.add(.init(name: [0x61], size: -512, type: type))
                    $0.add(.init(name: [0x62]))
                } == .archive(.number(field: "size")))
        }
        #expect(
            TarReaderTests.fault {
                $0.pax([("size", Self.text("-9223372036854775808"))])
                $0.add(.init(name: [0x62]))
            } == .archive(.extendedHeader))
    }

    /// test_read_format_tar_timestamp_overflow: NULs before a number, and a time after 2^33.
    @Test func numbersBehindNULs() throws {
        let found = try TarReaderTests.single {
            $0.add(
                .init(
                    name: Self.text("tmp/f.txt"), magic: "ustar  \0",
                    patches: [(124, [0, 0, 0, 0, 0, 0, 0] + Self.text("0003\0")), (136, Self.text("115155542402"))]),
                [1, 2, 3])
        }
        #expect(found.data == [1, 2, 3])
        #expect(found.entry.modified.seconds == 0o115155542402)
    }

    /// _concatenated, _empty_with_gnulabel, _empty_pax, _pax_g_large, _large_attr.
    @Test func archivesWithLittleInThem() throws {
        #expect(
            try TarReaderTests.read(archive([.file("file1")]) + archive([.file("file2")])).map(\.entry.name)
                == [Self.text("file1")])
        var label = TarWriter()
        label.add(.init(name: Self.text("label"), type: UInt8(ascii: "V"), magic: "ustar  \0"))
        label.end()
        #expect(try TarReaderTests.read(label.bytes).isEmpty)
        var global = TarWriter()
        global.pax([("comment", Self.text("nothing"))], type: "g")
        #expect(try TarReaderTests.read(global.bytes).isEmpty)
        // The maximum size, and one byte more.
        let limit = 1 << 20
        for (type, size) in [("g", limit), ("g", limit + 1), ("x", limit), ("x", limit + 1)] as [(Character, Int)] {
            let value = [UInt8](repeating: 0x76, count: size - Self.text("1048576 comment=\n").count)
            let reason = TarReaderTests.fault {
                $0.pax([("comment", value)], type: type)
                $0.add(.init(name: [0x61]))
            }
            #expect(reason == (size > limit ? .limit(.extendedHeaderBytes, limit: Int64(limit)) : nil))
        }
    }

    /// _empty_filename: a directory without a name is the root.
    @Test func anEmptyName() throws {
        let found = try TarReaderTests.single { $0.add(.init(name: [], mode: 0o775, type: UInt8(ascii: "5"))) }
        #expect(found.entry.name == [])
        let (lines, summary) = try UnpackTests.tree([Item(name: "", type: "5", mode: 0o711), .file("a", "1")])
        #expect(lines == ["a": "file 644 1"])
        #expect(summary.implicitDirectories == [])
        #expect(try UnpackTests.refusal([.file("", "x")])?.reason == .archive(.rootIsNotADirectory))
    }

    /// _pax_negative_time, _pax_timestamps, _pax_empty_val_no_nl, _acl_oob_read: invalid records are errors.
    @Test func recordsThatAreWrong() throws {
        #expect(
            try TarReaderTests.single {
                $0.pax([
                    ("mtime", Self.text("-2146608000")), ("atime", Self.text("-2146608000")),
                    ("ctime", Self.text("1748089464.951928467")),
                ])
                $0.add(.init(name: Self.text("empty")))
            }.entry.modified.seconds == -2_146_608_000)
        for records in [
            "20 mtime=22416592O\n", "12 mtime=1e3\n", "9 mtime=", "11 mtime=-\n", "25 SCHILY.acl.access=u\n33",
        ] {
            let data = Self.text(records)
            #expect(
                TarReaderTests.fault {
                    $0.add(.init(name: [0x70], size: Int64(data.count), type: UInt8(ascii: "x")), data)
                    $0.add(.init(name: [0x61]))
                } == .archive(.extendedHeader), "\(records)")
        }
    }

    /// test_acl_pax_*, test_compat_star_acl_*, test_pax_xattr_header_*, _rht_security_selinux, _mac_metadata: records
    /// of other programs are ignored, and a Macintosh's companion files are ordinary files.
    @Test func recordsOfOthers() throws {
        let found = try TarReaderTests.single {
            $0.pax([
                ("SCHILY.acl.access", Self.text("user::rwx,group::r-x,other::---")),
                ("SCHILY.acl.default", Self.text("u")),
                ("SCHILY.acl.ace", Self.text("owner@:rwx:allow")), ("LIBARCHIVE.xattr.user.data1", Self.text("QUJD")),
                ("RHT.security.selinux", Self.text("system_u:object_r:unlabeled_t:s0\0")),
                ("LIBARCHIVE.creationtime", Self.text("1")), ("SCHILY.fflags", Self.text("nodump")),
                ("SCHILY.xattr.user.data2", Self.text("\0\n=value")),
            ])
            $0.add(.init(name: Self.text("._file"), size: 3), [1, 2, 3])
        }
        #expect(found.entry.extendedAttributes.map(\.name) == [Self.text("user.data2")])
        #expect(found.entry.extendedAttributes.map(\.value) == [Self.text("\0\n=value")])
        #expect(found.data == [1, 2, 3])
    }

    /// test_compat_solaris_pax_sparse_*, _sun_holesdata: holes are declared, but the archive also contains them as
    /// zeros.
    @Test func holesOfSolaris() throws {
        let content =
            [UInt8](repeating: 0x61, count: 512) + [UInt8](repeating: 0, count: 512)
            + [UInt8](repeating: 0x63, count: 512)
        let found = try TarReaderTests.single {
            $0.pax([("SUN.holesdata", Self.text(" 0 512 1024 1536"))])
            $0.add(.init(name: Self.text("hole"), size: 1536), content)
        }
        #expect(found.data == content)
    }

    /// _gtar_sparse_length: a map of empty extents only. _sparse_skip_entry: one byte more data than the map covers;
    /// libarchive ignores it, Go and Berth reject it. _1_17_posix10_modified: comments between the numbers, which no
    /// tool writes.
    @Test func oddMaps() throws {
        let records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "1279")]
            .map { ($0.0, Self.text($0.1)) }
        func read(_ map: String, _ data: [UInt8]) -> Result<[(entry: TarEntry, data: [UInt8])], LayerError> {
            GoTarTests.read(
                GoTarTests.build {
                    $0.pax(records)
                    $0.add(.init(name: Self.text("file1"), size: Int64(512 + data.count)), GoTarTests.block(map) + data)
                })
        }
        let holes = try read("2\n0\n0\n1279\n0\n", []).get()
        #expect(holes[0].entry.size == 1279 && holes[0].data == [UInt8](repeating: 0, count: 1279))
        for (map, data) in [("1\n0\n3\n", 4), ("#remark\n1\n0\n3\n", 3)] {
            guard case .failure(let error) = read(map, [UInt8](repeating: 1, count: data)) else {
                Issue.record("\(map)")
                continue
            }
            #expect(error.reason == .archive(.sparseMap))
        }
    }

    /// test_compat_plexus_archiver_tar (one zero block and garbage: rejected, as in Go), test_compat_tar_directory (a
    /// directory with a size), test_compat_solaris_tar_acl, GNU's incremental 'D', types of Cray and others: not
    /// allowed in layers.
    @Test func whatNoLayerHolds() throws {
        var writer = TarWriter()
        writer.add(.init(name: [0x61], size: 1), [1])
        writer.bytes += [UInt8](repeating: 0, count: 512) + [UInt8](repeating: 0x2E, count: 512)
        #expect(throws: LayerError.self) { _ = try TarReaderTests.read(writer.bytes) }
        for kind in "ADMNZ8" {
            let flag = kind.asciiValue ?? 0
            #expect(TarReaderTests.fault { $0.add(.init(name: [0x61], type: flag)) } == .archive(.entryType(flag)))
        }
    }
}
