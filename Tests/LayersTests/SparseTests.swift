import Layers
import LinuxKernel
import TestSupport
import Testing

/// The four formats of sparse files: GNU tar's manual, "Sparse Formats".
@Suite struct SparseTests {
    /// 3000 bytes: data at 0...9, a hole, data at 1000...1511, a hole to the end.
    static let first = [UInt8](repeating: 0x41, count: 10)
    static let second = [UInt8](repeating: 0x42, count: 512)
    static var content: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 3000)
        bytes.replaceSubrange(0..<10, with: first)
        bytes.replaceSubrange(1000..<1512, with: second)
        return bytes
    }

    static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    static let formats: [(String, @Sendable (inout TarWriter) -> Void)] = [
        (
            "GNU",
            { writer in
                var map: [UInt8] = []
                for number: Int64 in [0, 10, 1000, 512, 3000, 0] { map += TarWriter.octal(number, 12) }
                writer.add(
                    .init(
                        name: text("sparse"), size: 522, type: UInt8(ascii: "S"), magic: "ustar  \0",
                        patches: [(386, map), (483, TarWriter.octal(3000, 12))]),
                    first + second)
            }
        ),
        (
            "GNU with an extension block",
            { writer in
                var map: [UInt8] = []
                // Four empty extents in the header, and the real ones in the next block.
                for _ in 0..<4 { map += TarWriter.octal(0, 12) + TarWriter.octal(0, 12) }
                writer.add(
                    .init(
                        name: text("sparse"), size: 522, type: UInt8(ascii: "S"), magic: "ustar  \0",
                        patches: [(386, map), (482, [1]), (483, TarWriter.base256(3000, 12))]))
                var block: [UInt8] = []
                for number: Int64 in [0, 10, 1000, 512] { block += TarWriter.base256(number, 12) }
                writer.pad(block)
                writer.pad(first + second)
            }
        ),
        (
            "PAX 0.0",
            { writer in
                writer.pax([
                    ("GNU.sparse.size", text("3000")), ("GNU.sparse.numblocks", text("2")),
                    ("GNU.sparse.offset", text("0")),
                    ("GNU.sparse.numbytes", text("10")), ("GNU.sparse.offset", text("1000")),
                    ("GNU.sparse.numbytes", text("512")),
                ])
                writer.add(.init(name: text("sparse"), size: 522), first + second)
            }
        ),
        (
            "PAX 0.1",
            { writer in
                writer.pax([
                    ("GNU.sparse.size", text("3000")), ("GNU.sparse.numblocks", text("2")),
                    ("GNU.sparse.name", text("sparse")),
                    ("GNU.sparse.map", text("0,10,1000,512")),
                ])
                writer.add(.init(name: text("./GNUSparseFile.1/sparse"), size: 522), first + second)
            }
        ),
        (
            "PAX 1.0",
            { writer in
                writer.pax([
                    ("GNU.sparse.major", text("1")), ("GNU.sparse.minor", text("0")),
                    ("GNU.sparse.name", text("sparse")),
                    ("GNU.sparse.realsize", text("3000")),
                ])
                let map = text("2\n0\n10\n1000\n512\n")
                let block = map + [UInt8](repeating: 0, count: 512 - map.count)
                writer.add(.init(name: text("./GNUSparseFile.1/sparse"), size: 512 + 522), block + first + second)
            }
        ),
    ]

    @Test(arguments: 0..<5) func readsAll(_ index: Int) throws {
        var writer = TarWriter()
        Self.formats[index].1(&writer)
        writer.add(.init(name: Self.text("next"), size: 1), [9])
        writer.end()
        for chunk in [512, 1024, 1 << 20] {
            let found = try TarReaderTests.read(writer.bytes, chunk: chunk)
            #expect(found.map(\.entry.name) == [Self.text("sparse"), Self.text("next")])
            #expect(found.first?.entry.size == 3000)
            #expect(found.first?.data == Self.content)
        }
        let place = try Workplace()
        let tree = try place.unpack(writer.bytes)
        #expect(try tree.directory.descriptor.open("sparse", .readOnly).readAll() == Self.content)
    }

    @Test func aHoleStaysAHole() throws {
        var writer = TarWriter()
        writer.pax([
            ("GNU.sparse.major", Self.text("1")), ("GNU.sparse.minor", Self.text("0")),
            ("GNU.sparse.name", Self.text("big")),
            ("GNU.sparse.realsize", Self.text("1099511627776")),
        ])
        let map = Self.text("1\n1099511627000\n5\n")
        writer.add(
            .init(name: Self.text("x"), size: 517),
            map + [UInt8](repeating: 0, count: 512 - map.count) + [1, 2, 3, 4, 5])
        writer.end()
        let place = try Workplace()
        let tree = try place.unpack(writer.bytes)
        let file = try tree.directory.descriptor.open("big", .readOnly)
        #expect(try file.status().size == 1 << 40)
        try file.seek(to: 1_099_511_627_000)
        #expect(try file.readAll() == [1, 2, 3, 4, 5] + [UInt8](repeating: 0, count: 771))
    }

    @Test(arguments: [
        "0,10,5,512", "0,10,1000", "0,10,1000,2512", "1000,512,0,10", "0,10,1000,513", "0,-1", "a,b",
        "9223372036854775807,9223372036854775807",
    ])
    func brokenMapsAreRefused(_ map: String) {
        let reason = TarReaderTests.fault {
            $0.pax([
                ("GNU.sparse.size", Self.text("3000")), ("GNU.sparse.numblocks", Self.text("2")),
                ("GNU.sparse.map", Self.text(map)),
            ])
            $0.add(.init(name: Self.text("s"), size: 522), Self.first + Self.second)
        }
        #expect(reason == .archive(.sparseMap) || reason == .archive(.extendedHeader))
    }

    @Test func endlessMapsAreRefused() {
        let reason = TarReaderTests.fault {
            $0.pax([
                ("GNU.sparse.major", Self.text("1")), ("GNU.sparse.minor", Self.text("0")),
                ("GNU.sparse.realsize", Self.text("3000")),
                ("GNU.sparse.name", Self.text("s")),
            ])
            $0.add(.init(name: Self.text("x"), size: 1024), Self.text("999999999999\n0\n"))
        }
        #expect(reason == .limit(.sparseExtents, limit: 1 << 18))
    }
}
