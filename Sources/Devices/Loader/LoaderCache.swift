/// /etc/ld.so.cache in the format of glibc 2.2 and later, `glibc-ld.so.cache1.1`, which maps library names to files.
/// See ld.so(8); glibc's sysdeps/generic/dl-cache.h has the layout.
///
/// Berth reads the host's cache to find the driver, and writes the container's so that the loader finds mounted
/// libraries. This needs no program of the image and no variable that would affect all programs in the container.
package struct LoaderCache: Sendable {
    package struct Library: Equatable, Sendable {
        /// The name by which programs load the library: `libcuda.so.1`.
        package let soname: String
        package let path: String
        package init(soname: String, path: String) {
            self.soname = soname
            self.path = path
        }
    }

    private let bytes: Bytes
    /// The offset of the new format's header. In a file with both formats, it follows the old format's entries.
    private let base: Int
    private let count: Int

    private static let magic = Array("glibc-ld.so.cache1.1".utf8)
    private static let oldMagic = Array("ld.so-1.7.0\0".utf8)
    private static let headerSize = 48
    private static let entrySize = 24

    /// `FLAG_ELF_LIBC6` with the flag of this program's architecture.
    private static var nativeFlags: UInt32 {
        #if arch(arm64)
            0x0A03
        #elseif arch(powerpc64le)
            0x0503
        #else
            0x0303
        #endif
    }

    /// Returns `nil` if the file has another format or is truncated.
    package init?(_ file: [UInt8]) {
        let bytes = Bytes(file)
        var base = 0
        if file.starts(with: Self.oldMagic) {
            guard let old = bytes.u32(12), old < 1 << 20 else { return nil }
            base = (16 + Int(old) * 12 + 7) / 8 * 8
        }
        guard file.count >= base + Self.headerSize, file[base...].starts(with: Self.magic),
            let count = bytes.u32(base + 20), let strings = bytes.u32(base + 24), count < 1 << 20,
            base + Self.headerSize + Int(count) * Self.entrySize + Int(strings) <= file.count
        else { return nil }
        self.bytes = bytes
        self.base = base
        self.count = Int(count)
    }

    /// The libraries for this architecture, in the file's order.
    package var libraries: [Library] {
        (0..<count).compactMap { index in
            let entry = base + Self.headerSize + index * Self.entrySize
            guard bytes.u32(entry) == Self.nativeFlags, let key = bytes.u32(entry + 4),
                let value = bytes.u32(entry + 8), let soname = bytes.text(base + Int(key)),
                let path = bytes.text(base + Int(value))
            else { return nil }
            return Library(soname: soname, path: path)
        }
    }

    /// The libraries whose names satisfy a condition. Creates no strings for the others, because caches have thousands.
    package func libraries(where isWanted: (ArraySlice<UInt8>) -> Bool) -> [Library] {
        (0..<count).compactMap { index in
            let entry = base + Self.headerSize + index * Self.entrySize
            guard bytes.u32(entry) == Self.nativeFlags, let key = bytes.u32(entry + 4),
                let name = bytes.slice(base + Int(key)), isWanted(name), let value = bytes.u32(entry + 8),
                let path = bytes.text(base + Int(value))
            else { return nil }
            return Library(soname: String(decoding: name, as: UTF8.self), path: path)
        }
    }

    // MARK: Writing

    /// Adds libraries to the image's cache. A new library precedes an old one of the same name, and the first of two
    /// new ones precedes the second. Returns `nil` if the image's cache has an unknown format, which must not be
    /// overwritten.
    package static func adding(_ added: [Library], to image: [UInt8]) -> [UInt8]? {
        if image.isEmpty { return LoaderCache.empty.adding(added) }
        return LoaderCache(image)?.adding(added)
    }

    private static var empty: LoaderCache {
        guard let cache = LoaderCache(magic + [UInt8](repeating: 0, count: headerSize - magic.count)) else {
            preconditionFailure("a header without entries is a cache")
        }
        return cache
    }

    private func adding(_ libraries: [Library]) -> [UInt8] {
        var added: [Library] = []
        for library in libraries where !added.contains(where: { $0.soname == library.soname }) {
            added.append(library)
        }
        added.sort { Self.compare(Array($0.soname.utf8)[...], Array($1.soname.utf8)[...]) > 0 }
        let entriesEnd = base + Self.headerSize + count * Self.entrySize
        let stringsSize = Int(bytes.u32(base + 24) ?? 0)
        let shift = UInt32(added.count * Self.entrySize)

        var strings = Array(bytes.bytes[entriesEnd..<entriesEnd + stringsSize])
        let stringsStart = Self.headerSize + (count + added.count) * Self.entrySize
        func store(_ text: String) -> UInt32 {
            let place = UInt32(stringsStart + strings.count)
            strings += text.utf8
            strings.append(0)
            return place
        }
        var entries: [UInt8] = []
        entries.reserveCapacity((count + added.count) * Self.entrySize)
        var next = 0
        // Even in an unsorted cache, each new entry must be inserted on the way.
        var positions: [Int] = []
        for library in added {
            positions.append(max(position(of: Array(library.soname.utf8)[...]), positions.last ?? 0))
        }
        for index in 0...count {
            while next < added.count, positions[next] == index {
                entries += Self.word(Self.nativeFlags) + Self.word(store(added[next].soname))
                entries += Self.word(store(added[next].path))
                entries += [UInt8](repeating: 0, count: 12)
                next += 1
            }
            guard index < count else { break }
            let entry = base + Self.headerSize + index * Self.entrySize
            entries += bytes.bytes[entry..<entry + 4]
            entries += Self.word((bytes.u32(entry + 4) ?? 0) &+ shift) + Self.word((bytes.u32(entry + 8) ?? 0) &+ shift)
            entries += bytes.bytes[entry + 12..<entry + Self.entrySize]
        }
        var result = Self.magic + Self.word(UInt32(count + added.count)) + Self.word(UInt32(strings.count))
        // The endianness byte, which glibc writes since 2.33, then padding.
        let body = Self.headerSize + entries.count + strings.count
        let padding = (4 - body % 4) % 4
        let extensions = self.extensions(at: body + padding, shift: shift)
        result += [2, 0, 0, 0] + Self.word(extensions.isEmpty ? 0 : UInt32(body + padding))
        result += [UInt8](repeating: 0, count: Self.headerSize - result.count)
        result += entries
        result += strings
        result += [UInt8](repeating: 0, count: padding)
        return result + extensions
    }

    /// The extension section at its new offset. It has the names of the glibc-hwcaps directories that entries refer to.
    private func extensions(at place: Int, shift: UInt32) -> [UInt8] {
        guard let offset = bytes.u32(base + 32), offset != 0, bytes.u32(Int(offset)) == 0xEAA4_2174,
            let count = bytes.u32(Int(offset) + 4), count < 16
        else { return [] }
        var sections: [(tag: UInt32, flags: UInt32, data: [UInt8])] = []
        for index in 0..<Int(count) {
            let entry = Int(offset) + 8 + index * 16
            guard let tag = bytes.u32(entry), let flags = bytes.u32(entry + 4), let start = bytes.u32(entry + 8),
                let size = bytes.u32(entry + 12), Int(start) + Int(size) <= bytes.count
            else { return [] }
            var data = Array(bytes.bytes[Int(start)..<Int(start) + Int(size)])
            if tag == 1 {
                // The data are offsets of strings, which have moved.
                data = stride(from: 0, to: data.count - 3, by: 4).flatMap { at in
                    Self.word((Bytes(data).u32(at) ?? 0) &+ shift)
                }
            }
            sections.append((tag, flags, data + [UInt8](repeating: 0, count: (4 - data.count % 4) % 4)))
        }
        var directory = Self.word(0xEAA4_2174) + Self.word(UInt32(sections.count))
        var data: [UInt8] = []
        let start = place + 8 + sections.count * 16
        for section in sections {
            directory += Self.word(section.tag) + Self.word(section.flags)
            directory += Self.word(UInt32(start + data.count)) + Self.word(UInt32(section.data.count))
            data += section.data
        }
        return directory + data
    }

    /// Finds where to insert a name: entries are in descending order, and a new entry precedes those of the same name.
    private func position(of name: ArraySlice<UInt8>) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            let entry = base + Self.headerSize + middle * Self.entrySize
            let key = bytes.u32(entry + 4).flatMap { bytes.slice(base + Int($0)) } ?? []
            if Self.compare(key, name) > 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private static func word(_ value: UInt32) -> [UInt8] {
        [
            UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8),
            UInt8(truncatingIfNeeded: value >> 16), UInt8(truncatingIfNeeded: value >> 24),
        ]
    }

    /// glibc's `_dl_cache_libcmp`, which the loader's binary search uses: runs of digits compare as numbers, and a
    /// digit is greater than any other character.
    static func compare(_ one: ArraySlice<UInt8>, _ other: ArraySlice<UInt8>) -> Int {
        var (one, other) = (one, other)
        while let left = one.first {
            let right = other.first ?? 0
            switch (QualifiedName.isDigit(left), QualifiedName.isDigit(right)) {
            case (true, true):
                let (leftValue, rightValue) = (number(&one), number(&other))
                if leftValue != rightValue { return leftValue < rightValue ? -1 : 1 }
            case (true, false): return 1
            case (false, true): return -1
            default:
                if left != right { return Int(left) - Int(right) }
                one.removeFirst()
                other.removeFirst()
            }
        }
        return other.isEmpty ? 0 : -1
    }

    private static func number(_ text: inout ArraySlice<UInt8>) -> UInt64 {
        var value: UInt64 = 0
        while let digit = text.first, QualifiedName.isDigit(digit) {
            value = value &* 10 &+ UInt64(digit - UInt8(ascii: "0"))
            text.removeFirst()
        }
        return value
    }
}
