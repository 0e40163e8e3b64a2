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
        /// What overlayfs shows of a container that runs. Only what differs from the image is written.
        case merged
    }

    let tree: String
    let form: Form
    let owners: Owners
    let writer: BlobWriter
    /// The image's trees, the lowest first, if the form is `merged`.
    let lower: [String]
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

    init(tree: String, form: Form, owners: Owners, writer: BlobWriter, lower: [String] = []) {
        self.tree = tree
        self.lower = lower
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
        if form == .base || form == .plain {
            var header = header(.directory, [UInt8(ascii: ".")], status)
            header.extendedAttributes = try attributes(of: root.descriptor, [])
            try emit(header)
        }
        var image: MergedDirectory?
        if form == .merged {
            do throws(SystemError) { image = try MergedDirectory(trees: lower) } catch {
                throw .entry(tree: lower.last ?? "", path: [], .system(error))
            }
        }
        try writeDirectory(root, [], status, over: image, depth: 0)
        try writer.write(TarEntryHeader.end)
    }

    /// - Parameter lower: What the image has there, where the form is `merged` and it has a directory.
    private mutating func writeDirectory(
        _ directory: DescriptorBox, _ path: [UInt8], _ status: FileStatus, over lower: MergedDirectory?, depth: Int
    ) throws(ExportError) {
        guard depth < Self.maximumDepth else { throw fault(path, .tooDeep(limit: Self.maximumDepth)) }
        let names = try reading(path) { () throws(SystemError) in
            try directory.descriptor.entries().sorted { $0.lexicographicallyPrecedes($1) }
        }
        let below = try reading(path) { () throws(SystemError) in try lower?.entries() ?? [:] }
        for name in Set(below.keys).subtracting(names).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            try emit(whiteout: name, in: path)
        }
        var entries: [(name: [UInt8], status: FileStatus)] = []
        entries.reserveCapacity(names.count)
        for name in names {
            let inner = Self.join(path, name)
            let status = try reading(inner) { () throws(SystemError) in try directory.descriptor.status(of: name) }
            if form == .overlay,
                try reading(inner, { () throws(SystemError) in
                    try OverlayMarks.isWhiteout(name, status, in: directory.descriptor)
                })
            {
                try emit(whiteout: name, in: path)
            } else {
                entries.append((name, status))
            }
        }
        for (name, found) in entries {
            let inner = Self.join(path, name)
            if let old = below[name], found.isUncopied(old) { continue }
            if form == .merged,
                try reading(inner, { () throws(SystemError) in try directory.descriptor.isMountPoint(name) })
            {
                skipped.mounts += 1
                continue
            }
            // Unpacking it would remove another file.
            guard !name.starts(with: ".wh.".utf8) else { throw fault(inner, .whiteoutName) }
            if form == .plain,
                try reading(inner, { () throws(SystemError) in try directory.descriptor.isMountPoint(name) })
            {
                try writeMountPoint(inner, found)
                continue
            }
            var image: MergedDirectory?
            if below[name]?.kind == .directory, found.kind == .directory {
                image = try reading(inner) { () throws(SystemError) in try lower?.directory(name) }
            }
            try write(name, inner, found, in: directory, status, over: image, depth: depth)
        }
    }

    private mutating func write(
        _ name: [UInt8], _ path: [UInt8], _ status: FileStatus, in parent: DescriptorBox, _ parentStatus: FileStatus,
        over lower: MergedDirectory?, depth: Int
    ) throws(ExportError) {
        switch status.kind {
        case .directory:
            let directory = try reading(path) { () throws(SystemError) in
                DescriptorBox(try parent.descriptor.open(name, [.readOnly, .directory, .noFollow]))
            }
            // A mount point.
            guard status.device == parentStatus.device else {
                if form != .merged { return try writeMountPoint(path, status) }
                skipped.mounts += 1
                return
            }
            var header = header(.directory, path, status)
            header.extendedAttributes = try attributes(of: directory.descriptor, path)
            try emit(header)
            if form == .overlay,
                try reading(path, { () throws(SystemError) in try OverlayMarks.isOpaque(directory.descriptor) })
            {
                try emit(TarEntryHeader(kind: .regular, path: path + Array("/.wh..wh..opq".utf8)))
            }
            try writeDirectory(directory, path, status, over: lower, depth: depth + 1)
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

    private mutating func emit(whiteout name: [UInt8], in path: [UInt8]) throws(ExportError) {
        try emit(TarEntryHeader(kind: .regular, path: Self.join(path, Array(".wh.".utf8) + name)))
    }

    /// The `user.` attributes except those of overlayfs, and the capabilities of a program.
    private mutating func attributes(
        of file: borrowing OwnedFileDescriptor, _ path: [UInt8]
    ) throws(ExportError) -> [(name: [UInt8], value: [UInt8])] {
        var found: [(name: [UInt8], value: [UInt8])] = []
        do throws(SystemError) {
            for name in try file.extendedAttributeNames() {
                if form == .overlay, let reference = Self.overlayReferences.first(where: { name == Array($0.utf8) }) {
                    throw SystemError(call: Self.isOverlayReference, errno: 0, subject: reference)
                }
                let isCapability = name.elementsEqual("security.capability".utf8)
                guard isCapability || name.starts(with: "user.".utf8), !name.starts(with: "user.overlay.".utf8) else {
                    continue
                }
                // A PAX keyword ends at the first equals sign.
                guard !name.contains(UInt8(ascii: "=")) else { skipped.attributes += 1; continue }
                guard let value = try file.extendedAttribute(name) else { continue }
                found.append((name, isCapability ? Self.capabilities(value) : value))
            }
        } catch {
            if error.call == Self.isOverlayReference { throw fault(path, .overlayReference(error.subject)) }
            throw fault(path, .system(error))
        }
        return found.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    /// Revision 3 ends with the root of the user namespace that set it. In the image, the capabilities are those of its own
    /// root: revision 2. See capabilities(7) and linux/capability.h.
    private static func capabilities(_ value: [UInt8]) -> [UInt8] {
        guard value.count == 24, value[3] == 3 else { return value }
        var value = Array(value[..<20])
        value[3] = 2
        return value
    }

    private static let overlayReferences = ["user", "trusted"].flatMap { space in
        ["redirect", "metacopy"].map { "\(space).overlay.\($0)" }
    }
    private static let isOverlayReference = "overlay"

    private func fault(_ path: [UInt8], _ fault: ExportError.EntryFault) -> ExportError {
        .entry(tree: form == .merged ? "" : tree, path: path, fault)
    }

    private func reading<Value: ~Copyable>(
        _ path: [UInt8], _ body: () throws(SystemError) -> Value
    ) throws(ExportError) -> Value {
        do throws(SystemError) { return try body() } catch { throw fault(path, .system(error)) }
    }

    static func join(_ parent: [UInt8], _ name: [UInt8]) -> [UInt8] {
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
