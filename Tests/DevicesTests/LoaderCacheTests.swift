import Foundation
import TestSupport
import Testing

@testable import Devices

/// Compares the loader's cache with glibc's own programs.
@Suite struct LoaderCacheTests {
    typealias Library = LoaderCache.Library

    /// `NAME => PATH` as ldconfig(8) prints it for a file.
    static func printed(_ bytes: [UInt8]) throws -> [Library] {
        let place = try TemporaryDirectory()
        let file = try place.write(bytes, to: "cache")
        let ended = try Command(["/sbin/ldconfig", "-p", "-C", file]).run()
        guard ended.status == 0 else { throw TestSupportError("ldconfig: \(ended) \(ended.errors)") }
        return ended.output.split(separator: "\n").dropFirst().compactMap { line in
            let parts = line.components(separatedBy: " => ")
            guard parts.count == 2, let name = parts[0].split(separator: " ").first else { return nil }
            return Library(soname: name.trimmingCharacters(in: .whitespaces), path: parts[1])
        }
    }

    static let host = FileManager.default.contents(atPath: "/etc/ld.so.cache").map { [UInt8]($0) }
    static let hasGlibc = host != nil && FileManager.default.isExecutableFile(atPath: "/sbin/ldconfig")

    static let added = [
        Library(soname: "libcuda.so.1", path: "/usr/local/nvidia/lib64/libcuda.so.1"),
        Library(soname: "libc.so.6", path: "/somewhere/else/libc.so.6"),
        Library(soname: "libaaa.so.10", path: "/x/libaaa.so.10"),
        Library(soname: "libaaa.so.9", path: "/x/libaaa.so.9"), Library(soname: "libzzzz.so", path: "/x/libzzzz.so"),
        Library(soname: "libcuda.so.1", path: "/loses"),
    ]

    @Test(.enabled(if: hasGlibc, "needs glibc's ldconfig")) func theHostsCacheIsReadAsLdconfigReadsIt() throws {
        let bytes = try #require(Self.host)
        let cache = try #require(LoaderCache(bytes))
        let printed = try Self.printed(bytes)
        #expect(Set(cache.libraries.map(\.path)).isSubset(of: Set(printed.map(\.path))))
        #expect(cache.libraries.contains { $0.soname == "libc.so.6" })
        #expect(cache.libraries { $0.elementsEqual("libc.so.6".utf8) }.count == 1)
    }

    @Test(.enabled(if: hasGlibc, "needs glibc's ldconfig")) func whatIsAddedIsThereAndWins() throws {
        let bytes = try #require(Self.host)
        let before = try Self.printed(bytes)
        let result = try #require(LoaderCache.adding(Self.added, to: bytes))
        let after = try Self.printed(result)
        #expect(after.count == before.count + 5)
        #expect(after.first { $0.soname == "libc.so.6" }?.path == "/somewhere/else/libc.so.6")
        #expect(after.first { $0.soname == "libcuda.so.1" }?.path == "/usr/local/nvidia/lib64/libcuda.so.1")
        #expect(before.allSatisfy(after.contains))
        // The loader uses binary search, so the names must be in descending order.
        let names = after.map { Array($0.soname.utf8)[...] }
        for (one, next) in zip(names, names.dropFirst()) { #expect(LoaderCache.compare(one, next) >= 0) }
    }

    /// The loader itself still finds every name of an extended cache. In a separate root with empty default
    /// directories, so that only the cache can lead to the libraries.
    @Test(.enabled(if: hasGlibc && geteuid() == 0, "needs glibc's ldconfig, a compiler and root"))
    func theLoaderFindsWhatWasAdded() throws {
        let place = try TemporaryDirectory()
        let script = """
            mkdir -p root/hidden root/opt/old root/etc root/lib64 root/bin root/proc
            echo 'int answer(void) { return 40; }' > old.c; echo 'int answer(void) { return 42; }' > new.c
            echo 'int answer(void); int main(void) { return answer(); }' > main.c
            cc -shared -fPIC -Wl,-soname,libanswer.so.1 -o root/opt/old/libanswer.so.1 old.c
            cc -shared -fPIC -Wl,-soname,libanswer.so.1 -o root/hidden/libanswer.so.1 new.c
            cc -shared -fPIC -Wl,-soname,libother.so.1 -o root/opt/old/libother.so.1 old.c
            cc -o root/bin/main main.c root/hidden/libanswer.so.1
            loader=$(readelf -l root/bin/main | sed -n 's/.*interpreter: \\(.*\\)]/\\1/p')
            mkdir -p root/$(dirname $loader); cp $loader root/$loader
            cp $(ldd root/bin/main | sed -n 's/.*libc.so.6 => \\([^ ]*\\).*/\\1/p') root/opt/old/
            echo /opt/old > root/etc/ld.so.conf
            /sbin/ldconfig -r root -f /etc/ld.so.conf -C /etc/ld.so.cache
            """
        let made = try Command(["sh", "-ec", script], directory: place.path).run()
        try #require(made.status == 0, "\(made)")
        func answer() throws -> Int32? { try Command(["chroot", place.path + "/root", "/bin/main"]).run().status }
        #expect(try answer() == 40)
        let cache = [UInt8](try #require(FileManager.default.contents(atPath: place.path + "/root/etc/ld.so.cache")))
        let grown = try #require(
            LoaderCache.adding([Library(soname: "libanswer.so.1", path: "/hidden/libanswer.so.1")], to: cache))
        try place.write(grown, to: "root/etc/ld.so.cache")
        #expect(try answer() == 42)
        // An image without a cache, whose C library is in a default directory.
        let fresh = try #require(
            LoaderCache.adding([Library(soname: "libanswer.so.1", path: "/hidden/libanswer.so.1")], to: []))
        try place.write(fresh, to: "root/etc/ld.so.cache")
        _ = try Command(
            [
                "sh", "-ec",
                "mkdir -p root/lib root/usr/lib; cp root/opt/old/libc.so.6 root/lib64/; cp root/opt/old/libc.so.6 root/lib/",
            ], directory: place.path
        ).run()
        #expect(try answer() == 42)
    }

    /// ldconfig never writes an unsorted cache, but an image may contain one.
    @Test func ofACacheThatIsNotSortedNothingIsLost() throws {
        func word(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
        let names = ["liba.so.1", "libz.so.1", "libm.so.6"]
        var strings: [UInt8] = []
        var entries: [UInt8] = []
        for name in names {
            let place = 48 + names.count * 24 + strings.count
            strings += Array(name.utf8) + [0]
            entries += word(0x0303) + word(place) + word(place) + [UInt8](repeating: 0, count: 12)
        }
        let header = Array("glibc-ld.so.cache1.1".utf8) + word(names.count) + word(strings.count)
        let image = header + [UInt8](repeating: 0, count: 20) + entries + strings
        let result = try #require(LoaderCache.adding(Self.added, to: image))
        let after = try #require(LoaderCache(result)).libraries
        #expect(after.count == names.count + 5)
        for library in Self.added.dropLast() { #expect(after.contains(library), "\(library.soname)") }
        for name in names { #expect(after.contains(Library(soname: name, path: name)), "\(name)") }
    }

    @Test func badFilesAreLeftAlone() throws {
        for bytes in [
            [UInt8](repeating: 0, count: 100), Array("glibc-ld.so.cache1.1".utf8),
            Array("ld.so-1.7.0\0\u{FF}\u{FF}".utf8),
        ] {
            #expect(LoaderCache(bytes) == nil)
            #expect(LoaderCache.adding(Self.added, to: bytes) == nil)
        }
        // A table that is longer than the file.
        var header = Array("glibc-ld.so.cache1.1".utf8) + [UInt8](repeating: 0, count: 28)
        header[20] = 9
        #expect(LoaderCache(header) == nil)
        // Offsets beyond the file.
        let lying = try #require(LoaderCache.adding([Library(soname: "liba.so", path: "/liba.so")], to: []))
        var broken = lying
        broken[52] = 0xFF
        broken[53] = 0xFF
        broken[55] = 0x7F
        #expect(LoaderCache(broken)?.libraries == [])
        #expect(LoaderCache.adding(Self.added, to: broken) != nil)
        for length in 0..<lying.count { _ = LoaderCache(Array(lying.prefix(length)))?.libraries }
    }

    /// An image may contain any bytes. Deterministic mutations of a real cache must not crash the launcher.
    @Test(.enabled(if: host != nil, "needs glibc's cache")) func mutationsOfACacheDoNoHarm() throws {
        let whole = try #require(Self.host)
        // The header, some entries, their strings and the extensions, so that mutations hit relevant bytes.
        let small = try #require(LoaderCache.adding(Self.added, to: []))
        var state: UInt64 = 1
        func random(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }
        for round in 0..<600 {
            var bytes = round % 8 == 0 ? whole : small
            for _ in 0...random(6) {
                let place = random(3) == 0 ? random(bytes.count) : random(min(96, bytes.count))
                bytes[place] = [0, 0xFF, 0x7F, 0x80, UInt8(random(256))][random(5)]
            }
            if random(4) == 0 { bytes.removeLast(random(bytes.count)) }
            let result = LoaderCache.adding(Self.added, to: bytes)
            if let result { _ = LoaderCache(result)?.libraries.count }
            _ = LoaderCache(bytes)?.libraries { !$0.isEmpty }.count
        }
    }

    @Test(arguments: [
        ("libb.so.1", "liba.so.1", 1), ("liba.so.10", "liba.so.9", 1), ("liba.so.2", "liba.so.2", 0),
        ("liba.so", "liba.so.1", -1),
        ("lib1.so", "liba.so", 1), ("liba.so.007", "liba.so.7", 0), ("liba1b", "liba1a", 1),
    ]) func namesCompareAsInGlibc(_ one: String, _ other: String, _ sign: Int) {
        #expect(LoaderCache.compare(Array(one.utf8)[...], Array(other.utf8)[...]).signum() == sign)
        #expect(LoaderCache.compare(Array(other.utf8)[...], Array(one.utf8)[...]).signum() == -sign)
    }

    // MARK: Notes of libraries

    @Test func sonameAndNote() throws {
        let place = try TemporaryDirectory()
        let note = #"{"Format":1,"CUDA Version":"12.4","Driver":[535,550],"Device":[1]}"#
        try place.write(
            """
            __attribute__((section(".note.cuda.fwd_compatibility"), aligned(4), used))
            static const struct { unsigned n, d, t; char name[20]; char text[\(note.utf8.count + 1)]; } note =
                { 19, sizeof(note.text), 1, "NVIDIA Corporation", "\(note.replacingOccurrences(of: "\"", with: "\\\""))" };
            int x;
            """, to: "a.c")
        let made = try Command(
            ["cc", "-shared", "-fPIC", "-Wl,-soname,libfoo.so.3", "-o", "a.so", "a.c"], directory: place.path
        ).run()
        try #require(made.status == 0, "\(made)")
        guard let library = ELFFile(path: place.path + "/a.so") else {
            Issue.record("a library is not taken for one")
            return
        }
        let soname = library.soname
        #expect(library.needed.isEmpty || library.needed == ["libc.so.6"])
        let description = library.note(section: CUDACompatibility.section, owner: CUDACompatibility.owner)
        #expect(soname == "libfoo.so.3")
        let found = try #require(description)
        #expect(String(decoding: found, as: UTF8.self) == note)
        for path in [place.path + "/a.c", "/nonexistent"] {
            if ELFFile(path: path) != nil { Issue.record("\(path) is taken for a library") }
        }
        // Every prefix of a library is an invalid library.
        let whole = [UInt8](try #require(FileManager.default.contents(atPath: place.path + "/a.so")))
        for length in stride(from: 0, to: whole.count, by: 97) {
            let path = try place.write(Array(whole.prefix(length)), to: "cut.so")
            if let cut = ELFFile(path: path) {
                _ = cut.soname
                _ = cut.needed
                _ = cut.searchPath
                _ = cut.note(section: CUDACompatibility.section, owner: CUDACompatibility.owner)
            }
        }
    }

    struct Compatible: Sendable {
        let library: String
        let driver: String
        let cuda: String
        let note: String?
        let isUsable: Bool
    }

    @Test(arguments: [
        Compatible(library: "560.35.03", driver: "550.54.15", cuda: "", note: nil, isUsable: true),
        Compatible(library: "550.54.15", driver: "550.54.15", cuda: "", note: nil, isUsable: false),
        Compatible(library: "535.1", driver: "550.54.15", cuda: "", note: nil, isUsable: false),
        Compatible(
            library: "560.35.03", driver: "550.54.15", cuda: "", note: #"{"Driver": [ 535, 550 ]}"#, isUsable: true),
        Compatible(library: "560.35.03", driver: "545.1", cuda: "", note: #"{"Driver":[535,550]}"#, isUsable: false),
        Compatible(library: "550.54.14", driver: "550.54.15", cuda: "", note: #"{"Driver":[550]}"#, isUsable: false),
        Compatible(
            library: "560.35.03", driver: "", cuda: "12.2", note: #"{"CUDA Version":"12.4","Driver":[]}"#,
            isUsable: true),
        Compatible(
            library: "560.35.03", driver: "", cuda: "12.4", note: #"{"CUDA Version":"12.4","Driver":[]}"#,
            isUsable: false),
        Compatible(library: "560.35.03", driver: "", cuda: "12.2", note: nil, isUsable: false),
        Compatible(library: "x", driver: "550.54.15", cuda: "", note: nil, isUsable: false),
        Compatible(library: "560.1", driver: "550.1", cuda: "", note: #"{"Driver":[535,"#, isUsable: true),
    ]) func newerLibrariesAreUsedWhereTheyWork(_ row: Compatible) {
        let compatibility = CUDACompatibility(hostDriverVersion: row.driver, hostCUDAVersion: row.cuda)
        #expect(compatibility.isUsable(version: row.library, note: row.note.map { Array($0.utf8) }) == row.isUsable)
    }
}
