internal import ImageSpec
internal import LinuxKernel

/// Writes a directory tree as the archive of a layer.
///
/// https://github.com/opencontainers/image-spec/blob/main/layer.md
///
/// Reads everything beneath descriptors without following links. Entries are sorted, so that the same tree always
/// yields the same archive; whiteouts come first in their directory, as layer.md requires.
struct LayerTreeWriter {
    /// The type of a tree, which determines the meaning of special files.
    enum Form: Equatable, Sendable {
        /// The lowest tree. Its root directory belongs to the image.
        case base
        /// A tree with overlayfs's marks. The attributes of its root directory belong to the mount.
        case overlay
        /// A root file system. Other file systems may be mounted in it, which are not exported.
        case plain
    }

    let tree: String
    let form: Form
    let owners: Owners
    let writer: BlobWriter
    /// Files with several links that were written, by device and inode, until all their links were found.
    private var written: [Inode: (path: [UInt8], missing: UInt64)] = [:]
    private(set) var newest: Timestamp?
    private(set) var skipped = Skipped()
    private let chunk: ChunkBuffer

    static let maximumDepth = 900

    private struct Inode: Hashable {
        let device: UInt64
        let number: UInt64
    }

    init(tree: String, form: Form, owners: Owners, writer: BlobWriter) {
        self.tree = tree
        self.form = form
        self.owners = owners
        self.writer = writer
        chunk = ChunkBuffer()
    }

    mutating func writeAll() throws(ExportError) {
        let root = try reading([]) { () throws(SystemError) in
            DescriptorBox(try OwnedFileDescriptor(opening: tree, [.readOnly, .directory]))
        }
        let status = try reading([]) { () throws(SystemError) in try root.descriptor.status() }
        if form != .overlay {
            var header = header(.directory, [UInt8(ascii: ".")], status)
            header.extendedAttributes = try attributes(of: root.descriptor, [])
            try emit(header)
        }
        try writeDirectory(root, [], status, depth: 0)
        try writer.write(TarEntryHeader.end)
    }

    private mutating func writeDirectory(
        _ directory: DescriptorBox, _ path: [UInt8], _ status: FileStatus, depth: Int
    ) throws(ExportError) {
        guard depth < Self.maximumDepth else { throw fault(path, .tooDeep(limit: Self.maximumDepth)) }
        let names = try reading(path) { () throws(SystemError) in
            try directory.descriptor.entries().sorted { $0.lexicographicallyPrecedes($1) }
        }
        var entries: [(name: [UInt8], status: FileStatus)] = []
        entries.reserveCapacity(names.count)
        for name in names {
            let inner = Self.join(path, name)
            let status = try reading(inner) { () throws(SystemError) in try directory.descriptor.status(of: name) }
            if try isWhiteout(name, status, directory, inner) {
                try emit(TarEntryHeader(kind: .regular, path: Self.join(path, Array(".wh.".utf8) + name)))
            } else {
                entries.append((name, status))
            }
        }
        for (name, found) in entries {
            let inner = Self.join(path, name)
            // Unpacking it would remove another file.
            guard !name.starts(with: ".wh.".utf8) else { throw fault(inner, .whiteoutName) }
            if form == .plain,
                try reading(inner, { () throws(SystemError) in try directory.descriptor.isMountPoint(name) })
            {
                try writeMountPoint(inner, found)
                continue
            }
            try write(name, inner, found, in: directory, status, depth: depth)
        }
    }

    private mutating func write(
        _ name: [UInt8], _ path: [UInt8], _ status: FileStatus, in parent: DescriptorBox, _ parentStatus: FileStatus,
        depth: Int
    ) throws(ExportError) {
        switch status.kind {
        case .directory:
            let directory = try reading(path) { () throws(SystemError) in
                DescriptorBox(try parent.descriptor.open(name, [.readOnly, .directory, .noFollow]))
            }
            // A mount point.
            guard status.device == parentStatus.device else { return try writeMountPoint(path, status) }
            var header = header(.directory, path, status)
            header.extendedAttributes = try attributes(of: directory.descriptor, path)
            try emit(header)
            if form == .overlay, try isOpaque(directory.descriptor, path) {
                try emit(TarEntryHeader(kind: .regular, path: path + Array("/.wh..wh..opq".utf8)))
            }
            try writeDirectory(directory, path, status, depth: depth + 1)
        case .regular:
            if try !linked(path, status) { try writeFile(name, path, in: parent) }
        case .symlink:
            if try linked(path, status) { return }
            var header = header(.symlink, path, status)
            header.linkTarget = try reading(path) { () throws(SystemError) in try parent.descriptor.linkTarget(name) }
            header.permissions = 0o777
            try emit(header)
        case .fifo:
            if try !linked(path, status) { try emit(header(.fifo, path, status)) }
        case .socket: skipped.sockets += 1
        case .characterDevice, .blockDevice, .unknown: skipped.devices += 1
        }
    }

    /// Exports a mount point as an empty directory, because what is mounted does not belong to the tree. Skips a file.
    private mutating func writeMountPoint(_ path: [UInt8], _ status: FileStatus) throws(ExportError) {
        skipped.mounts += 1
        guard status.kind == .directory else { return }
        try emit(TarEntryHeader(kind: .directory, path: path, permissions: status.permissions))
    }

    private mutating func writeFile(
        _ name: [UInt8], _ path: [UInt8], in parent: DescriptorBox
    ) throws(ExportError) {
        // Non-blocking, because a pipe may have replaced the file.
        let file = try reading(path) { () throws(SystemError) in
            DescriptorBox(
                try parent.descriptor.open(name, [.readOnly, .noFollow, .nonBlocking, .noControllingTerminal]))
        }
        let status = try reading(path) { () throws(SystemError) in try file.descriptor.status() }
        guard status.kind == .regular else { throw fault(path, .changed) }
        var header = header(.regular, path, status)
        header.size = status.size
        header.extendedAttributes = try attributes(of: file.descriptor, path)
        try emit(header)
        var left = status.size
        while left > 0 {
            let part = UnsafeMutableRawBufferPointer(rebasing: chunk.bytes[..<Int(min(left, Int64(chunk.bytes.count)))])
            let count = try reading(path) { () throws(SystemError) in try file.descriptor.read(into: part) }
            guard count > 0 else { throw fault(path, .changed) }
            try writer.write(UnsafeRawBufferPointer(rebasing: part[..<count]))
            left -= Int64(count)
        }
        try writer.write([UInt8](repeating: 0, count: TarEntryHeader.padding(after: status.size)))
    }

    /// Writes a hard link to a file written before; returns `false` for the first link.
    private mutating func linked(_ path: [UInt8], _ status: FileStatus) throws(ExportError) -> Bool {
        guard status.links > 1 else { return false }
        let inode = Inode(device: status.device, number: status.inode)
        guard let first = written[inode] else {
            written[inode] = (path, status.links - 1)
            return false
        }
        written[inode] = first.missing > 1 ? (first.path, first.missing - 1) : nil
        var header = header(.hardLink, path, status)
        header.linkTarget = first.path
        try emit(header)
        return true
    }

    // MARK: Helpers

    private func header(_ kind: TarEntryHeader.Kind, _ path: [UInt8], _ status: FileStatus) -> TarEntryHeader {
        let (user, group) = owners.inImage(status)
        return TarEntryHeader(
            kind: kind, path: path, permissions: status.permissions, userID: user, groupID: group,
            modified: status.modified)
    }

    private mutating func emit(_ header: TarEntryHeader) throws(ExportError) {
        let (old, new) = (newest, header.modified)
        if old.map({ ($0.seconds, $0.nanoseconds) < (new.seconds, new.nanoseconds) }) ?? true { newest = new }
        var bytes: [UInt8] = []
        header.append(to: &bytes)
        try writer.write(bytes)
    }

    /// The `user.` attributes except those of overlayfs.
    private mutating func attributes(
        of file: borrowing OwnedFileDescriptor, _ path: [UInt8]
    ) throws(ExportError) -> [(name: [UInt8], value: [UInt8])] {
        var found: [(name: [UInt8], value: [UInt8])] = []
        do throws(SystemError) {
            for name in try file.extendedAttributeNames() {
                if form == .overlay, let reference = Self.overlayReferences.first(where: { name == Array($0.utf8) }) {
                    throw SystemError(call: Self.isOverlayReference, errno: 0, subject: reference)
                }
                guard name.starts(with: "user.".utf8), !name.starts(with: "user.overlay.".utf8) else { continue }
                // A PAX keyword ends at the first equals sign.
                guard !name.contains(UInt8(ascii: "=")) else { skipped.attributes += 1; continue }
                if let value = try file.extendedAttribute(name) { found.append((name, value)) }
            }
        } catch {
            if error.call == Self.isOverlayReference { throw fault(path, .overlayReference(error.subject)) }
            throw fault(path, .system(error))
        }
        return found.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    private static let overlayReferences = ["user", "trusted"].flatMap { space in
        ["redirect", "metacopy"].map { "\(space).overlay.\($0)" }
    }
    private static let isOverlayReference = "overlay"

    private func isOpaque(_ directory: borrowing OwnedFileDescriptor, _ path: [UInt8]) throws(ExportError) -> Bool {
        do throws(SystemError) {
            for name in ["user.overlay.opaque", "trusted.overlay.opaque"] {
                if try Self.attribute(name, of: directory) == [UInt8(ascii: "y")] { return true }
            }
            return false
        } catch {
            throw fault(path, .system(error))
        }
    }

    /// Recognizes overlayfs's two types of whiteouts: a character device 0:0, and an empty file with an attribute.
    private func isWhiteout(
        _ name: [UInt8], _ status: FileStatus, _ directory: DescriptorBox, _ path: [UInt8]
    ) throws(ExportError) -> Bool {
        guard form == .overlay else { return false }
        if status.kind == .characterDevice { return status.majorNumber == 0 && status.minorNumber == 0 }
        guard status.kind == .regular, status.size == 0 else { return false }
        do throws(SystemError) {
            let file = try directory.descriptor.open(name, [.readOnly, .noFollow, .nonBlocking])
            for name in ["user.overlay.whiteout", "trusted.overlay.whiteout"] {
                if try Self.attribute(name, of: file) != nil { return true }
            }
            return false
        } catch {
            throw fault(path, .system(error))
        }
    }

    /// Also returns `nil` if the file system does not support such attributes.
    private static func attribute(
        _ name: String, of file: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) { return try file.extendedAttribute(name) } catch {
            if [Errno.EPERM, Errno.EOPNOTSUPP].contains(error.errno) { return nil }
            throw error
        }
    }

    private func fault(_ path: [UInt8], _ fault: ExportError.EntryFault) -> ExportError {
        .entry(tree: tree, path: path, fault)
    }

    private func reading<Value: ~Copyable>(
        _ path: [UInt8], _ body: () throws(SystemError) -> Value
    ) throws(ExportError) -> Value {
        do throws(SystemError) { return try body() } catch { throw fault(path, .system(error)) }
    }

    private static func join(_ parent: [UInt8], _ name: [UInt8]) -> [UInt8] {
        parent.isEmpty ? name : parent + [UInt8(ascii: "/")] + name
    }
}

/// Counts of what a layer cannot contain.
package struct Skipped: Equatable, Sendable {
    package var sockets = 0
    package var devices = 0
    /// Mount points.
    package var mounts = 0
    package var attributes = 0

    static func += (left: inout Skipped, right: Skipped) {
        left.sockets += right.sockets
        left.devices += right.devices
        left.mounts += right.mounts
        left.attributes += right.attributes
    }
}

/// The owners of files in the image.
package enum Owners: Equatable, Sendable {
    /// Root, for all files. In a user's store, all files belong to the user.
    case root
    /// The original owners, except that this user and group become root.
    case preserved(rootUser: UInt32, rootGroup: UInt32)

    func inImage(_ status: FileStatus) -> (user: UInt32, group: UInt32) {
        switch self {
        case .root: (0, 0)
        case .preserved(let user, let group):
            (status.userID == user ? 0 : status.userID, status.groupID == group ? 0 : status.groupID)
        }
    }
}

/// A read buffer, allocated once for a whole tree.
private final class ChunkBuffer {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
    deinit { bytes.deallocate() }
}
