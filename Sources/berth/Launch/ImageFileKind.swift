internal import Diagnostics
internal import LinuxKernel

/// The kind of an image file, by its content.
enum ImageFileKind {
    case squashfs
    case sif(SIFContent)
    case ociArchive, dockerArchive
    /// A tar file that holds no image.
    case otherArchive
    case unknown

    /// - Parameter known: The kind of an archive, where it is known without reading it.
    init(_ file: borrowing OwnedFileDescriptor, known: () -> ImageFileKind?) throws(SystemError) {
        let head = try file.bytes(at: 0, count: 512)
        if head.starts(with: "hsqs".utf8) {
            self = .squashfs
        } else if let header = SIFHeader(head) {
            self = .sif(try header.content(of: file))
        } else if head.count >= 262, head[257..<262].elementsEqual("ustar".utf8) {
            if let kind = known() { self = kind } else { self = try Self.archive(file) }
        } else {
            self = .unknown
        }
    }

    /// Looks at the names in a tar file, without reading what they hold. POSIX.1-2017, pax, "ustar Interchange Format".
    private static func archive(_ file: borrowing OwnedFileDescriptor) throws(SystemError) -> ImageFileKind {
        var found = ImageFileKind.otherArchive
        var offset: UInt64 = 0
        // `docker save` writes a few entries for each layer.
        for _ in 0..<20_000 {
            let header = try file.bytes(at: offset, count: 512)
            guard header.count == 512, header[257..<262].elementsEqual("ustar".utf8),
                let size = tarSize(header[124..<136])
            else { break }
            var name = header.prefix(100).prefix { $0 != 0 }
            if name.starts(with: "./".utf8) { name = name.dropFirst(2) }
            if name.elementsEqual("oci-layout".utf8) { return .ociArchive }
            if name.elementsEqual("manifest.json".utf8) { found = .dockerArchive }
            let (next, overflows) = offset.addingReportingOverflow(512 + (size + 511) / 512 * 512)
            if overflows { break }
            offset = next
        }
        return found
    }

    /// Octal digits, or a binary number where the first bit is set.
    private static func tarSize(_ field: ArraySlice<UInt8>) -> UInt64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            guard first == 0x80, field.dropFirst().prefix(4).allSatisfy({ $0 == 0 }) else { return nil }
            return field.suffix(7).reduce(0) { $0 << 8 | UInt64($1) }
        }
        var size: UInt64 = 0
        for byte in field.drop(while: { $0 == UInt8(ascii: " ") }) {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(byte) else {
                return byte == 0 || byte == UInt8(ascii: " ") ? size : nil
            }
            size = size << 3 | UInt64(byte & 7)
        }
        return size
    }
}

/// What the primary partition of a SIF file is.
enum SIFContent {
    /// At this offset, in bytes.
    case squashfs(offset: UInt64)
    case encrypted
    case otherFileSystem
    case none
    case damaged

    func report(_ path: String) -> Report {
        let reason =
            switch self {
            case .squashfs: "its partition cannot be read"
            case .encrypted: "its root file system is encrypted"
            case .otherFileSystem: "its root file system is not squashfs"
            case .none: "it holds no root file system"
            case .damaged: "its table of contents is damaged"
            }
        return Report(
            "cannot run the SIF file \(path): \(reason)",
            hint:
                "unpack it with `apptainer build --sandbox rootfs \(path)` and run dir:rootfs, or use the image that it was made of"
        )
    }
}

/// The header of a SIF file (Singularity Image Format, version 01), little-endian.
/// https://github.com/apptainer/sif/blob/main/docs/design-docs/sif-format.md
struct SIFHeader {
    /// Launch script, magic, version, architecture, UUID, two times, and six numbers.
    static let size = 32 + 10 + 3 + 3 + 16 + 8 * 8
    private static let descriptorSize = 585
    private static let partition: UInt64 = 0x4004

    private let descriptorCount: UInt64
    private let descriptorsAt: UInt64

    init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.size, bytes[32..<42].elementsEqual("SIF_MAGIC\0".utf8) else { return nil }
        let numbers = 32 + 10 + 3 + 3 + 16 + 2 * 8  // past the times: free, total, offset and length of descriptors
        descriptorCount = Self.number(bytes[(numbers + 8)..<(numbers + 16)])
        descriptorsAt = Self.number(bytes[(numbers + 16)..<(numbers + 24)])
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    func content(of file: borrowing OwnedFileDescriptor) throws(SystemError) -> SIFContent {
        // Apptainer makes room for 48.
        guard descriptorCount <= 4096 else { return .damaged }
        let size = Int(descriptorCount) * Self.descriptorSize
        let table = try file.bytes(at: descriptorsAt, count: size)
        guard table.count == size else { return .damaged }
        for start in stride(from: 0, to: size, by: Self.descriptorSize) {
            let descriptor = table[start..<(start + Self.descriptorSize)]
            func field(_ offset: Int, _ size: Int) -> UInt64 {
                Self.number(descriptor[(start + offset)..<(start + offset + size)])
            }
            // Data type, whether it is used; behind 73 bytes of numbers and a name the kind of file system and of partition.
            guard field(0, 4) == Self.partition, field(4, 1) != 0, field(205, 4) == 2 else { continue }
            switch field(201, 4) {
            case 1:
                let offset = field(17, 8)
                return try file.bytes(at: offset, count: 4).elementsEqual("hsqs".utf8)
                    ? .squashfs(offset: offset) : .damaged
            case 5: return .encrypted
            default: return .otherFileSystem
            }
        }
        return .none
    }
}

extension OwnedFileDescriptor {
    /// Fewer than `count` at the end of the file, none past any offset that a file can have.
    fileprivate borrowing func bytes(at offset: UInt64, count: Int) throws(SystemError) -> [UInt8] {
        guard offset <= UInt64(Int64.max - Int64(count)) else { return [] }
        return try read(exactly: count, at: Int64(offset))
    }
}
