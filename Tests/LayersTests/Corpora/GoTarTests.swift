import Layers
import LinuxKernel
import TestSupport
import Testing

/// The tables of Go's archive/tar (reader_test.go, strconv_test.go, tar_test.go of Go 1.19) with our own data. The
/// tools that build images use it, so Berth accepts what it accepts. docs/reference/corpora.md lists the exceptions.
@Suite struct GoTarTests {
    static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    static func read(_ bytes: [UInt8]) -> Result<[(entry: TarEntry, data: [UInt8])], LayerError> {
        do throws(LayerError) { return .success(try TarReaderTests.read(bytes)) } catch { return .failure(error) }
    }

    static func build(_ make: (inout TarWriter) -> Void) -> [UInt8] {
        var writer = TarWriter()
        make(&writer)
        writer.end()
        return writer.bytes
    }

    static func reason(_ make: (inout TarWriter) -> Void) -> LayerError.Reason? { TarReaderTests.fault(make) }

    // MARK: TestParseNumeric

    typealias Number = (name: String, field: [UInt8], value: Int64?)

    /// Twelve bytes, as in a time field; a single byte of Go's table is the lowest one.
    static func wide(_ byte: UInt8) -> [UInt8] {
        let isNegative = byte & 0x40 != 0
        let rest = [UInt8](repeating: isNegative ? 0xFF : 0, count: 10)
        return [isNegative ? 0xFF : 0x80] + rest + [isNegative ? byte : byte & 0x3F]
    }

    static func binary(_ first: [UInt8], _ rest: UInt8) -> [UInt8] {
        first + [UInt8](repeating: rest, count: 12 - first.count)
    }

    static let small: [Number] = [
        ("binary zero", wide(0x80), 0), ("binary 63", wide(0xBF), 63), ("binary -1", wide(0xFF), -1),
        ("binary -64", wide(0xC0), -64), ("empty", binary([], 0), 0),
    ]

    static let large: [Number] = [
        ("large", [0x80, 0, 0, 0, 0x07, 0x76, 0xA2, 0x22, 0xEB, 0x8A, 0x72, 0x61], 537_795_476_381_659_745),
        (
            "large, negative", [0xFF, 0xFF, 0xFF, 0xFF, 0xF7, 0x76, 0xA2, 0x22, 0xEB, 0x8A, 0x72, 0x61],
            -615_126_028_225_187_231
        ),
        ("the largest", binary([0x80, 0, 0, 0, 0x7F], 0xFF), Int64.max),
        ("one more", binary([0x80, 0, 0, 0, 0x80], 0), nil),
        ("the smallest", binary([0xFF, 0xFF, 0xFF, 0xFF, 0x80], 0), Int64.min),
        ("one less", binary([0xFF, 0xFF, 0xFF, 0xFF, 0x7F], 0xFF), nil),
        ("far too large", [0xF5, 0xEC, 0xD1, 0xC7, 0x7E, 0x5F, 0x26, 0x48, 0x81, 0x9F, 0x8F, 0x9B], nil),
    ]

    static let octal: [Number] = [
        ("octal zero", text("0000000\0"), 0), ("blank, NUL, zeros", text(" \u{0}000000\0"), 0),
        ("blank, NUL, three", text(" \u{0}000003\0"), 3), ("octal", text("00000000227\0"), 0o227),
        ("NUL and blank behind", text("032033\0 "), 0o32033), ("six digits", text("320330\0 "), 0o320330),
        ("a mode", text("0000660\0 "), 0o660), ("NUL and blank in front", text("\0 0000660\0 "), 0o660),
        ("no octal digits", text("0123456789ab"), nil), ("no octal digits before the NUL", text("0123456789\0a"), nil),
        ("junk behind the NUL", text("01234567\u{0}89a"), 0o1234567), ("junk among digits", text("0123~_&4123"), nil),
    ]

    static let numbers = small + large + octal

    @Test(arguments: 0..<numbers.count) func parsesNumbers(_ index: Int) {
        let (name, field, expected) = Self.numbers[index]
        let padded = field + [UInt8](repeating: 0, count: 12 - field.count)
        let found = Self.read(Self.build { $0.add(.init(name: [0x61], patches: [(136, padded)])) })
        switch found {
        case .success(let entries): #expect(entries.first?.entry.modified.seconds == expected, "\(name)")
        case .failure(let error):
            #expect(expected == nil, "\(name)")
            #expect(error.reason == .archive(.number(field: "mtime")), "\(name)")
        }
    }

    // MARK: TestParsePAXTime

    static let times: [(String, Int64, Int32)] = [
        ("1350244992.023960108", 1_350_244_992, 23_960_108), ("1350244992.02396010", 1_350_244_992, 23_960_100),
        ("1350244992.0239601089", 1_350_244_992, 23_960_108), ("1350244992.3", 1_350_244_992, 300_000_000),
        ("1350244992", 1_350_244_992, 0), ("-1.000000001", -2, 999_999_999), ("-1.000001", -2, 999_999_000),
        ("-1.001000", -2, 999_000_000), ("-1", -1, 0), ("-1.999000", -2, 1_000_000), ("-1.999999", -2, 1000),
        ("-1.999999999", -2, 1), ("0.000000001", 0, 1), ("0.000001", 0, 1000), ("0.001000", 0, 1_000_000), ("0", 0, 0),
        ("0.999000", 0, 999_000_000), ("0.999999", 0, 999_999_000), ("0.999999999", 0, 999_999_999),
        ("1.000000001", 1, 1), ("1.000001", 1, 1000), ("1.001000", 1, 1_000_000), ("1", 1, 0),
        ("1.999000", 1, 999_000_000), ("1.999999", 1, 999_999_000), ("1.999999999", 1, 999_999_999),
        ("-1350244992.023960108", -1_350_244_993, 976_039_892), ("-1350244992.02396010", -1_350_244_993, 976_039_900),
        ("-1350244992.0239601089", -1_350_244_993, 976_039_892), ("-1350244992.3", -1_350_244_993, 700_000_000),
        ("-1350244992", -1_350_244_992, 0), ("1.", 1, 0), ("0.0", 0, 0), ("-1.3", -2, 700_000_000), ("-1.0", -1, 0),
        ("-0.0", 0, 0), ("-0.1", -1, 900_000_000), ("-0.01", -1, 990_000_000), ("-0.99", -1, 10_000_000),
        ("-0.98", -1, 20_000_000), ("-1.1", -2, 900_000_000), ("-1.01", -2, 990_000_000), ("-2.99", -3, 10_000_000),
        ("-5.98", -6, 20_000_000),
    ]

    @Test(arguments: times) func parsesTimes(_ row: (String, Int64, Int32)) throws {
        let found = try TarReaderTests.single {
            $0.pax([("mtime", Self.text(row.0))])
            $0.add(.init(name: [0x61]))
        }
        #expect(found.entry.modified == Timestamp(seconds: row.1, nanoseconds: row.2))
    }

    @Test(arguments: [
        ".5", "-", "+", "-1.-1", "99999999999999999999999999999999999999999999999", "0.123456789abcdef", "foo", "\0",
        "𝟵𝟴𝟳𝟲𝟱.𝟰𝟯𝟮𝟭𝟬", "98765﹒43210",
    ])
    func refusesTimes(_ value: String) {
        #expect(
            Self.reason {
                $0.pax([("mtime", Self.text(value))])
                $0.add(.init(name: [0x61]))
            } == .archive(.extendedHeader))
    }

    // MARK: TestParsePAXRecord, TestParsePAX, TestMergePAX

    /// The records in the archive and the resulting name; `nil` if they are rejected.
    static let records: [(String, String?)] = [
        ("", "plain"), ("19 path=/etc/hosts\n", "/etc/hosts"),
        ("210 path=" + String(repeating: "AB", count: 100) + "\n", String(repeating: "AB", count: 100)),
        ("110 path=" + String(repeating: "CD", count: 50) + "\n", String(repeating: "CD", count: 50)),
        ("9 foo=ba\n", "plain"), ("18 foo=b=\nar=\n==\0\n", "plain"), ("27 foo=hello9 foo=ba\nworld\n", "plain"),
        ("27 ☺☻☹=日a本b語ç\n", "plain"), ("6 k=v\n\n", nil), ("11 foo=bar\n\0", nil), ("17 \0hello=\0world\n", nil),
        ("1 k=1\n", nil), ("6 k~1\n", nil), ("6_k=1\n", nil), ("6 k=1 ", nil), ("632 k=1\n", nil),
        ("16 longkeyname=hahaha\n", nil), ("3 somelongkey=\n", nil), ("50 tooshort=\n", nil),
        ("0000000000000000000000000000000030 mtime=1432668921.098285006\n30 ctime=2147483649.15163319", nil),
        ("06 k=v\n", nil), ("00006 k=v\n", nil), ("000006 k=v\n", nil), ("000000 k=v\n", nil), ("0 k=v\n", nil),
        ("+0000005 x=\n", nil), ("6 k=1\n", "plain"), ("10 a=name\n", "plain"), ("9 a=name\n", "plain"),
        ("13 key1=haha\n13 key2=nana\n13 key3=kaka\n", "plain"),
        // Values that a later record cancels.
        ("12 path=one\n12 path=two\n8 path=\n", "plain"), ("12 path=one\n12 path=two\n", "two"),
        ("24 gid=gtgergergersagersge\n", nil), ("14 path=a/b/c\n12 uid=1000\n", "a/b/c"),
        ("11 path=x\0\n", nil), ("15 linkpath=\0\n", nil),
        // CPython's test_pax_header_bad_formats, except leading zeros in a correct length, which Go accepts, too.
        (" foo=bar\n", nil), ("0 \n", nil), ("1 \n", nil), ("2 \n", nil), ("3 =\n", nil), ("4 =a\n", nil),
        ("1000000 foo=bar\n", nil), ("0 foo=bar\n", nil), ("-12 foo=bar\n", nil),
        ("000000000000000000000000036 foo=bar\n", "plain"),
    ]

    @Test(arguments: records) func parsesRecords(_ row: (String, String?)) {
        let data = Self.text(row.0)
        let found = Self.read(
            Self.build {
                $0.add(.init(name: Self.text("pax"), size: Int64(data.count), type: UInt8(ascii: "x")), data)
                $0.add(.init(name: Self.text("plain")))
            })
        switch found {
        case .success(let entries): #expect(entries.map { String(decoding: $0.entry.name, as: UTF8.self) } == [row.1])
        case .failure(let error):
            #expect(row.1 == nil)
            #expect(error.reason == .archive(.extendedHeader) || error.reason == .archive(.nulInName))
        }
    }

    /// testdata/pax-nul-xattrs: the kernel would use the name up to the NUL, which differs from the checked one.
    @Test func aNULInAnAttributesNameIsRefused() {
        #expect(
            Self.reason {
                $0.pax([("SCHILY.xattr.user.a\0b", [1])])
                $0.add(.init(name: [0x61]))
            } == .archive(.extendedHeader))
    }

    /// testdata/pax-pos-size-file: more digits than necessary.
    @Test func leadingZerosAreNoHarm() throws {
        let found = try TarReaderTests.single {
            $0.pax([("size", Self.text("000000000000000000000003"))])
            $0.add(.init(name: [0x61], size: 0), [1, 2, 3])
        }
        #expect(found.data == [1, 2, 3])
    }

    // MARK: TestReadTruncation

    static let first = [UInt8](repeating: 0x41, count: 684)

    static func plain(_ name: String, _ data: [UInt8]) -> [UInt8] {
        var writer = TarWriter()
        writer.add(.init(name: text(name), size: Int64(data.count)), data)
        return writer.bytes
    }

    enum End: Sendable { case complete, cut, junk }

    static let truncations: [(String, [UInt8], Int, End)] = {
        let two = plain("a", [1]) + plain("b", [2])  // 1024 each
        let one = plain("c", first)  // 512 + 684 + 340 of padding
        let zero = [UInt8](repeating: 0, count: 512)
        let junk = [UInt8](repeating: 0x67, count: 512)
        var extended = TarWriter()
        extended.pax([("path", text("p"))])
        return [
            ("nothing", [], 0, .complete), ("a header cut", Array(two[..<511]), 0, .cut),
            ("no data", Array(two[..<512]), 1, .cut), ("one entry, no end", Array(two[..<1024]), 1, .complete),
            ("the second's data missing", Array(two[..<1536]), 2, .cut), ("two entries, no end", two, 2, .complete),
            ("two and one more", two + one, 3, .complete), ("header of a large one cut", Array(one[..<511]), 0, .cut),
            ("header of a large one alone", Array(one[..<512]), 1, .cut),
            ("the last byte missing", Array(one[..<1195]), 1, .cut),
            ("no padding", Array(one[..<1196]), 1, .complete), ("some padding", Array(one[..<1200]), 1, .complete),
            ("almost all padding", Array(one[..<1535]), 1, .complete), ("all padding", one, 1, .complete),
            ("a byte of junk", one + junk[..<1], 1, .cut), ("511 bytes of junk", one + junk[..<511], 1, .cut),
            ("a block of junk", one + junk, 1, .junk), ("one zero block", one + zero, 1, .complete),
            ("one zero block, a byte of junk", one + zero + junk[..<1], 1, .cut),
            ("one zero block, 511 bytes", one + zero + junk[..<511], 1, .cut),
            ("one zero block, a block of junk", one + zero + junk, 1, .junk),
            ("two zero blocks", one + zero + zero, 1, .complete),
            ("two zero blocks, a byte of junk", one + zero + zero + junk[..<1], 1, .complete),
            ("two zero blocks, 511 bytes", one + zero + zero + junk[..<511], 1, .complete),
            ("two zero blocks, a block", one + zero + zero + junk, 1, .complete),
            ("three zero blocks", one + zero + zero + zero, 1, .complete),
            // Go treats an extended header without an entry as the end. Berth reports the missing entry.
            ("an extended header alone", extended.bytes, 0, .cut),
            ("an extended header and a byte", extended.bytes + junk[..<1], 0, .cut),
            ("an extended header and 511 bytes", extended.bytes + junk[..<511], 0, .cut),
        ]
    }()

    @Test(arguments: 0..<truncations.count, [1 << 20, 512, 700]) func ends(_ index: Int, _ chunk: Int) {
        let (name, bytes, count, end) = Self.truncations[index]
        for isRead in [true, false] {
            let reader = TarReader(BytesSource(bytes, stride: chunk))
            var found = 0
            var error: LayerError?
            do throws(LayerError) {
                while try reader.advance() {
                    found += 1
                    while isRead, try reader.nextData() != nil {}
                }
            } catch let caught { error = caught }
            #expect(found == count, "\(name)")
            switch (end, error?.reason) {
            case (.complete, nil): break
            case (.cut, .archive(.truncatedData)), (.cut, .archive(.truncatedHeader)), (.cut, .archive(.loneZeroBlock)):
                break
            case (.junk, .archive(.checksum)), (.junk, .archive(.loneZeroBlock)): break
            default: Issue.record("\(name): \(String(describing: error))")
            }
        }
    }

    // MARK: Repeated headers (testdata/gnu-multi-hdrs, pax-multi-hdrs, gnu-long-nul)

    @Test func theLastOfSeveralHolds() throws {
        func long(_ writer: inout TarWriter, _ type: UInt8, _ value: String) {
            let data = Self.text(value + "\0")
            writer.add(
                .init(name: Self.text("././@LongLink"), size: Int64(data.count), type: type, magic: "ustar  \0"), data)
        }
        let gnu = try TarReaderTests.single {
            long(&$0, UInt8(ascii: "L"), "GNU1/long-path-name")
            long(&$0, UInt8(ascii: "L"), "GNU2/long-path-name")
            long(&$0, UInt8(ascii: "K"), "GNU3/long-linkpath-name")
            long(&$0, UInt8(ascii: "K"), "GNU4/long-linkpath-name\0junk")
            $0.add(.init(name: Self.text("foo"), type: UInt8(ascii: "2"), link: Self.text("bar"), magic: "ustar  \0"))
        }.entry
        #expect(gnu.name == Self.text("GNU2/long-path-name"))
        #expect(gnu.linkName == Self.text("GNU4/long-linkpath-name"))
        // A header replaces the previous one entirely.
        let pax = try TarReaderTests.single {
            $0.pax([("path", Self.text("PAX1")), ("linkpath", Self.text("PAX3"))])
            $0.pax([("linkpath", Self.text("PAX4"))])
            $0.add(.init(name: Self.text("bar"), type: UInt8(ascii: "2"), link: Self.text("x")))
        }.entry
        #expect(pax.name == Self.text("bar"))
        #expect(pax.linkName == Self.text("PAX4"))
    }

    // MARK: TestReadGNUSparsePAXHeaders, TestReadOldGNUSparseMap, TestSparseEntries, TestFileReader

    static func sparse(_ records: [(String, String)], _ data: [UInt8]) -> Result<(TarEntry, [UInt8]), LayerError> {
        read(
            build {
                $0.pax(records.map { ("GNU.sparse." + $0.0, text($0.1)) })
                $0.add(.init(name: text("header"), size: Int64(data.count)), data)
            }
        ).map { ($0[0].entry, $0[0].data) }
    }

    static func extents(_ found: Result<(TarEntry, [UInt8]), LayerError>) -> [[Int64]]? {
        guard case .success(let (entry, _)) = found else { return nil }
        return entry.extents.map { $0.map { [$0.offset, $0.count] } } ?? []
    }

    static func block(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        return bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }

    @Test func mapsInRecords() {
        typealias Row = (blocks: String?, map: String, data: Int, more: [(String, String)], expected: [[Int64]]?)
        let rows: [Row] = [
            ("9223372036854775807", "0,1,2,3", 4, [], nil), ("4\0", "0,1,2,3", 4, [], nil),
            ("4", "0,1,2,3", 4, [], nil),
            ("2", "0,1,2,3", 4, [], [[0, 1], [2, 3]]), ("2", "0, 1,2,3", 4, [], nil),
            ("2", "0,1,02,3", 4, [("realsize", "4321")], [[0, 1], [2, 3]]), ("2", "0,one1,2,3", 4, [], nil),
            (
                "2", "0,1,2,3", 4, [("major", "0"), ("minor", "0"), ("realsize", "4321"), ("name", "real")],
                [[0, 1], [2, 3]]
            ),
            ("0", "", 0, [("major", "0"), ("minor", "0")], []),
            (
                "4", "0,5,10,5,20,5,30,5", 20, [("major", "0"), ("minor", "1")],
                [[0, 5], [10, 5], [20, 5], [30, 5]]
            ),
            ("-4", "0,1", 1, [], nil), ("fee ", "0,1", 1, [], nil), ("1", "0.5,1", 1, [], nil),
            (nil, "0,1", 1, [], [[0, 1]]),
            // More extents than data, and more data than extents (errMissData, errUnrefData).
            ("2", "1,3,6,5", 5, [], nil), ("2", "1,3,6,5", 13, [], nil),
        ]
        for row in rows {
            let records = row.blocks.map { [("numblocks", $0)] } ?? []
            let found = Self.sparse(
                [("size", "1234")] + records + [("map", row.map)] + row.more, [UInt8](repeating: 7, count: row.data))
            #expect(Self.extents(found) == row.expected, "\(row)")
            if case .success(let (entry, _)) = found {
                // The record's size overrides the real one, and its name overrides the header's.
                #expect(entry.size == 1234)
                if row.more.contains(where: { $0.0 == "name" }) { #expect(entry.name == Self.text("real")) }
            }
        }
        // An extent that starts at the end of the file.
        #expect(
            Self.extents(
                Self.sparse(
                    [("size", "10737418240"), ("numblocks", "1"), ("map", "10737418240,0")], [])) == [
                    [10_737_418_240, 0]
                ])
        // Separate records of offsets and lengths in the wrong order.
        for records in [
            [("numbytes", "2"), ("offset", "1")], [("offset", "1,2"), ("numbytes", "2")],
            [("offset", "1"), ("offset", "2")],
            [("offset", "1")],
        ] {
            #expect(Self.extents(Self.sparse([("size", "10"), ("numblocks", "1")] + records, [1, 2])) == nil)
        }
        // No sparse records.
        #expect(Self.extents(Self.sparse([], [1])) == [])
    }

    @Test func mapsInData() {
        func extents(_ map: [UInt8], _ data: Int, size: String = "99999999999") -> [[Int64]]? {
            Self.extents(
                Self.sparse(
                    [("major", "1"), ("minor", "0"), ("realsize", size)], map + [UInt8](repeating: 1, count: data)))
        }
        #expect(extents([], 0) == nil)
        #expect(extents(Self.block("0\n"), 0) == [])
        #expect(extents(Self.block("0\n").dropLast() + Self.text("#"), 0) == [])
        #expect(extents(Self.block("0"), 0) == nil)
        #expect(extents(Self.block("ab\n"), 0) == nil)
        #expect(extents(Self.block("1\n2\n3\n"), 3) == [[2, 3]])
        #expect(extents(Self.block("1\n2\n"), 0) == nil)
        #expect(extents(Self.block("1\n2\n\n"), 0) == nil)
        #expect(extents(Self.block("1\nk\n2\n"), 0) == nil)
        #expect(extents(Self.block("-1\n2\n\n"), 0) == nil)
        #expect(extents([UInt8](repeating: 0, count: 512) + Self.block("0\n"), 0) == nil)
        #expect(extents([UInt8](repeating: 0x0A, count: 512), 0) == nil)
        #expect(extents(Self.block("9223372036854775807\n"), 0) == nil)
        #expect(
            extents(Self.block("2\n10737418240\n512\n21474836480\n512\n"), 1024)
                == [[10_737_418_240, 512], [21_474_836_480, 512]])
        let hundred = (0..<100).map { [Int64($0) << 20, 5] }
        let lines = "100\n" + hundred.map { "\($0[0])\n\($0[1])\n" }.joined()
        #expect(extents(Self.block(lines), 500) == hundred)
        // Go skips blocks of leading zeros. No tool writes them, and Berth rejects endless ones.
        #expect(extents(Self.block(String(repeating: "0", count: 512) + "1\n5\n1\n"), 1) == nil)
    }

    static func oldGNU(
        realSize: String, _ fields: [[UInt8]], extended: [[UInt8]] = [], magic: String = "ustar  \0", data: Int,
        cut: Int? = nil
    ) -> Result<(TarEntry, [UInt8]), LayerError> {
        var writer = TarWriter()
        var map = Array(fields.joined())
        map += [UInt8](repeating: 0, count: 96 - map.count)
        writer.add(
            .init(
                name: text("s"), size: Int64(data), type: UInt8(ascii: "S"), magic: magic,
                patches: [(386, map), (482, [extended.isEmpty ? 0 : 1]), (483, text(realSize))]))
        if !extended.isEmpty { writer.pad(Array(extended.joined())) }
        writer.pad([UInt8](repeating: 7, count: data))
        writer.end()
        return read(cut.map { Array(writer.bytes[..<$0]) } ?? writer.bytes).map { ($0[0].entry, $0[0].data) }
    }

    @Test func mapsInHeaders() {
        func at(_ offset: Int64, _ count: Int64) -> [UInt8] {
            TarWriter.number(offset, 12) + TarWriter.number(count, 12)
        }
        let four = [at(0, 1), at(2, 1), at(4, 1), at(6, 1)]
        #expect(Self.extents(Self.oldGNU(realSize: "1234", [], magic: "ustar\u{0}00", data: 0)) == nil)
        #expect(Self.extents(Self.oldGNU(realSize: "1234", [Self.text("fewa")], data: 0)) == nil)
        #expect(Self.extents(Self.oldGNU(realSize: "0031", [], data: 0)) == [])
        #expect(Self.extents(Self.oldGNU(realSize: "80", [], data: 0)) == nil)
        #expect(Self.extents(Self.oldGNU(realSize: "1234", [at(0, 0), at(1, 1)], data: 1)) == [[0, 0], [1, 1]])
        // Ignore the map after an empty extent, because writers do not clear it.
        #expect(
            Self.extents(
                Self.oldGNU(
                    realSize: "1234", [at(0, 0), at(1, 1), [UInt8](repeating: 0, count: 24), Self.text("blah")], data: 1
                ))
                == [[0, 0], [1, 1]])
        #expect(Self.extents(Self.oldGNU(realSize: "3333", four, data: 4)) == [[0, 1], [2, 1], [4, 1], [6, 1]])
        #expect(
            Self.extents(Self.oldGNU(realSize: "100", [at(0, 1), at(2, 1)], extended: [at(4, 1), at(6, 1)], data: 4))
                == [[0, 1], [2, 1], [4, 1], [6, 1]])
        for cut in [512, 768] {
            #expect(
                Self.extents(
                    Self.oldGNU(realSize: "100", four, extended: [at(8, 1), at(10, 1)], data: 6, cut: cut)) == nil)
        }
        #expect(Self.extents(Self.oldGNU(realSize: "100", four, extended: [at(8, 1), at(10, 1)], data: 6))?.count == 6)
        let large = Self.oldGNU(
            realSize: String(30 << 30, radix: 8), [at(10 << 30, 512), at(20 << 30, 512)], data: 1024)
        #expect(Self.extents(large) == [[10 << 30, 512], [20 << 30, 512]])
    }

    @Test func stretchesAreInOrderAndInside() {
        let valid: [([[Int64]], Int64)] = [
            ([], 0), ([], 5000), ([[0, 5000]], 5000), ([[1000, 4000]], 5000), ([[0, 3000]], 5000),
            ([[3000, 2000]], 5000),
            ([[2000, 2000]], 5000), ([[0, 2000], [8000, 2000]], 10_000),
            ([[0, 2000], [2000, 2000], [4000, 0], [4000, 3000], [7000, 1000], [8000, 0], [8000, 2000]], 10_000),
            ([[0, 0], [1000, 0], [2000, 0], [3000, 0], [4000, 0], [5000, 0]], 5000),
            // From TestFileReader.
            ([[0, 2], [5, 3]], 8), ([[0, 2], [5, 3]], 10), ([[1, 3], [6, 2]], 8),
            ([[1, 3], [6, 0], [6, 0], [6, 2]], 8),
            ([[1, 3], [6, 2]], 10), ([[1, 3], [6, 2], [8, 0], [8, 0], [8, 0], [8, 0]], 10), ([], 2),
        ]
        func found(_ map: [[Int64]], _ size: Int64) -> Result<(TarEntry, [UInt8]), LayerError> {
            let sum = map.reduce(0) { $0 + max(0, min($1[1], 20_000)) }
            return Self.sparse(
                [
                    ("size", "\(size)"), ("numblocks", "\(map.count)"),
                    ("map", map.map { "\($0[0]),\($0[1])" }.joined(separator: ",")),
                ], (0..<sum).map { UInt8(truncatingIfNeeded: $0 % 251 + 1) })
        }
        for (map, size) in valid {
            guard case .success(let (entry, data)) = found(map, size) else {
                Issue.record("\(map)")
                continue
            }
            #expect(entry.size == size)
            var expected = [UInt8](repeating: 0, count: Int(size))
            var next = 0
            for part in map {
                for index in 0..<part[1] {
                    expected[Int(part[0] + index)] = UInt8(truncatingIfNeeded: next % 251 + 1)
                    next += 1
                }
            }
            #expect(data == expected)
        }
        let invalid: [([[Int64]], Int64)] = [
            ([[1, 0]], 0), ([[-1, 0]], 100), ([[0, -1]], 100), ([[0, 0]], -100), ([[.max, 3], [6, -5]], 35),
            ([[1, 3], [6, -5]], 35), ([[.max, .max]], .max), ([[3, 3]], 5), ([[2, 0], [1, 0], [0, 0]], 3),
            ([[1, 3], [2, 2]], 10),
        ]
        for (map, size) in invalid { #expect(Self.extents(found(map, size)) == nil, "\(map)") }
    }
}
