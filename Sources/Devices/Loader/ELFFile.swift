package import LinuxKernel

/// Reads from a shared library what the dynamic loader needs to find it: elf(5). Reads in pieces, because the driver's
/// libraries have tens of megabytes. The file is potentially hostile input.
package struct ELFFile: ~Copyable {
    private let file: OwnedFileDescriptor
    /// The header of a 64-bit little-endian file; other formats are rejected.
    private let header: Bytes

    /// Returns `nil` if this is not such a file.
    package init?(_ file: consuming OwnedFileDescriptor) {
        let read = Self.read(file, at: 0, count: 64)
        self.file = file
        guard let read, read.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) else { return nil }
        header = Bytes(read)
    }

    /// Also returns `nil` if the file cannot be opened.
    package init?(path: String) {
        guard
            let opened = try? OwnedFileDescriptor(  // unreadable: `nil`
                opening: path, [.readOnly, .nonBlocking, .noControllingTerminal])
        else { return nil }
        self.init(opened)
    }

    /// `DT_SONAME`, the name by which programs load the library.
    package var soname: String? { dynamicTexts(14).first.flatMap { $0.contains("/") ? nil : $0 } }

    /// `DT_NEEDED`, the names of the libraries that it loads.
    package var needed: [String] { dynamicTexts(1).filter { !$0.contains("/") } }

    /// `DT_RUNPATH` or `DT_RPATH`, where the loader searches first. Only absolute directories.
    package var searchPath: [String] {
        (dynamicTexts(29) + dynamicTexts(15)).flatMap { $0.split(separator: ":").map(String.init) }
            .filter { $0.hasPrefix("/") }
    }

    /// The strings with one tag in the dynamic section; empty if the section is missing or invalid.
    private func dynamicTexts(_ wanted: UInt64) -> [String] {
        guard let offset = header.u64(32), let size = header.u16(54), let count = header.u16(56), size >= 56,
            let table = read(at: offset, count: Int(size) * Int(count))
        else { return [] }
        var loads: [(address: UInt64, offset: UInt64, size: UInt64)] = []
        var dynamic: (offset: UInt64, size: UInt64)?
        for index in 0..<Int(count) {
            let base = index * Int(size)
            guard let type = table.u32(base), let offset = table.u64(base + 8), let address = table.u64(base + 16),
                let length = table.u64(base + 32)
            else { return [] }
            if type == 1 { loads.append((address, offset, length)) }  // PT_LOAD
            if type == 2 { dynamic = (offset, length) }  // PT_DYNAMIC
        }
        guard let dynamic, dynamic.size < 1 << 16,
            let entries = read(at: dynamic.offset, count: Int(dynamic.size))
        else { return [] }
        var names: [UInt64] = []
        var strings: UInt64?
        for base in stride(from: 0, to: entries.count - 15, by: 16) {
            guard let tag = entries.u64(base), let value = entries.u64(base + 8), tag != 0 else { break }
            if tag == wanted { names.append(value) }
            if tag == 5 { strings = value }  // DT_STRTAB
        }
        guard let strings,
            let load = loads.first(where: { $0.address <= strings && strings - $0.address < $0.size })
        else { return [] }
        var texts: [String] = []
        for name in names.prefix(256) {
            let (place, overflow) = (load.offset &+ (strings - load.address)).addingReportingOverflow(name)
            guard !overflow, let text = Self.read(file, at: place, count: 1024) else { continue }
            let bytes = text.prefix { $0 != 0 }
            if !bytes.isEmpty { texts.append(String(decoding: bytes, as: UTF8.self)) }
        }
        return texts
    }

    /// The description of a note in the section `wanted` whose owner is `owner`.
    package func note(section wanted: String, owner: String) -> [UInt8]? {
        guard let offset = header.u64(40), let size = header.u16(58), let count = header.u16(60),
            let names = header.u16(62), size >= 64, names < count,
            let table = read(at: offset, count: Int(size) * Int(count)),
            let nameOffset = table.u64(Int(names) * Int(size) + 24),
            let nameSize = table.u64(Int(names) * Int(size) + 32), nameSize < 1 << 20,
            let strings = read(at: nameOffset, count: Int(nameSize))
        else { return nil }
        for index in 0..<Int(count) {
            let base = index * Int(size)
            guard let name = table.u32(base), table.u32(base + 4) == 7,  // SHT_NOTE
                let place = table.u64(base + 24), let length = table.u64(base + 32), length < 1 << 16,
                strings.text(Int(name)) == wanted, let data = read(at: place, count: Int(length)),
                let ownerSize = data.u32(0), let size = data.u32(4), ownerSize < 256, size < 1 << 16
            else { continue }
            let align = max(4, Int(min(table.u64(base + 48) ?? 4, 8)))
            let start = 12 + (Int(ownerSize) + align - 1) / align * align
            guard data.text(12) == owner, start + Int(size) <= data.count else { continue }
            return Array(data.bytes[start..<start + Int(size)].prefix { $0 != 0 })
        }
        return nil
    }

    private func read(at offset: UInt64, count: Int) -> Bytes? {
        guard let bytes = Self.read(file, at: offset, count: count), bytes.count == count else { return nil }
        return Bytes(bytes)
    }

    /// Reads up to `count` bytes.
    private static func read(_ file: borrowing OwnedFileDescriptor, at offset: UInt64, count: Int) -> [UInt8]? {
        guard count >= 0, count <= 1 << 20, offset < 1 << 40 else { return nil }
        var buffer = [UInt8](repeating: 0, count: count)
        let outcome: Result<Int, SystemError> = buffer.withUnsafeMutableBytes { bytes in
            do throws(SystemError) { return .success(try file.read(into: bytes, at: Int64(offset))) } catch {
                return .failure(error)
            }
        }
        guard let read = try? outcome.get() else { return nil }  // unreadable: not a library
        return Array(buffer.prefix(read))
    }
}

/// Bounds-checked access to little-endian numbers and C strings.
struct Bytes {
    let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }
    var count: Int { bytes.count }

    func u16(_ at: Int) -> UInt16? {
        guard at >= 0, at + 2 <= bytes.count else { return nil }
        return UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
    }

    func u32(_ at: Int) -> UInt32? {
        guard at >= 0, at + 4 <= bytes.count else { return nil }
        return UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16
            | UInt32(bytes[at + 3]) << 24
    }

    func u64(_ at: Int) -> UInt64? {
        guard let low = u32(at), let high = u32(at + 4) else { return nil }
        return UInt64(low) | UInt64(high) << 32
    }

    func slice(_ at: Int) -> ArraySlice<UInt8>? {
        guard at >= 0, at < bytes.count else { return nil }
        return bytes[at...].prefix { $0 != 0 }
    }

    func text(_ at: Int) -> String? { slice(at).map { String(decoding: $0, as: UTF8.self) } }
}
