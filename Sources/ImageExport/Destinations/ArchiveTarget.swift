internal import ImageSpec
internal import LinuxKernel
internal import Synchronization

/// Writes a tar of an OCI image layout sequentially under a temporary name. A complete archive is renamed without
/// replacing an existing file.
///
/// A blob's header comes first and contains its digest, so space is reserved for it until the blob is complete.
final class ArchiveTarget: ExportTarget {
    private let path: String
    private let tag: String
    private let parent: DescriptorBox
    private let name: String
    private let draftName: String
    private let file: DescriptorBox
    private let state = Mutex(State())

    private struct State {
        /// The offset of the header of the current blob, or of the next one.
        var offset: Int64 = 0
        var blobs: Set<Digest> = []
        var isDone = false
    }

    init(path: String, tag: String) throws(ExportError) {
        self.path = path
        self.tag = tag
        var components = path.split(separator: "/", omittingEmptySubsequences: true).filter { $0 != "." }
        guard let name = components.popLast().map(String.init) else { throw .destination(path, .exists) }
        self.name = name
        if (try? FileStatus(of: path, followLinks: false)) != nil {  // absent, as required
            throw .destination(path, .exists)
        }
        do throws(SystemError) {
            parent = DescriptorBox(
                try OwnedFileDescriptor(opening: "/" + components.joined(separator: "/"), [.readOnly, .directory]))
            Self.sweep(parent)
            draftName = ".\(name.prefix(200)).berth-" + (try Random.hexadecimal(bytes: 6))
            // Locked while this object exists, so that the next export does not remove it as abandoned.
            file = DescriptorBox(try parent.descriptor.createLocked(draftName, .exclusive, mode: 0o644))
        } catch {
            throw .destination(path, .system(error))
        }
        do throws(ExportError) {
            for directory in ["blobs", "blobs/sha256"] {
                try append(TarEntryHeader(kind: .directory, path: Array(directory.utf8), permissions: 0o755), [])
            }
            try append(name: "oci-layout", LayoutIndex.layoutFile)
        } catch {
            abandon()
            throw error
        }
    }

    /// Whether a name has the form of a draft: `.NAME.berth-1a2b3c4d5e6f`, while it is created with `.new`.
    private static func isDraft(_ name: [UInt8]) -> Bool {
        let text = name.suffix(4).elementsEqual(".new".utf8) ? name.dropLast(4) : name[...]
        let digits = text.reversed().prefix { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        return name.first == UInt8(ascii: ".") && digits.count >= 8
            && text.dropLast(digits.count).suffix(7).elementsEqual(".berth-".utf8)
    }

    /// Removes drafts of killed exports to this directory, whatever their archive's name.
    private static func sweep(_ parent: DescriptorBox) {
        // Best effort: a failure must not prevent an export.
        guard let names = try? parent.descriptor.entries() else { return }  // best effort
        for name in names where isDraft(name) {
            guard let file = try? parent.descriptor.open(name, [.readWrite, .noFollow, .nonBlocking]),  // gone
                let status = try? file.status(), status.kind == .regular, status.userID == Identity.userID,  // likewise
                // Just created and not locked yet.
                !name.suffix(4).elementsEqual(".new".utf8) || Clock.now.seconds - status.modified.seconds > 3600,
                (try? file.tryLock(.exclusive)) == true  // in use, or no locks
            else { continue }
            try? parent.descriptor.removeFile(name)  // likewise
        }
    }

    func holds(_ layers: [Descriptor], pulledFrom origin: Reference?) async throws(ExportError) -> Bool { false }

    func open() throws(ExportError) -> DescriptorBox {
        let offset = state.withLock { $0.offset }
        // Reserve space for the header, which must fit for any size of the blob.
        try mapError { () throws(SystemError) in
            try file.descriptor.setSize(offset + Self.reserved)
            try file.descriptor.seek(to: offset + Self.reserved)
        }
        return file
    }

    func writeFailed(_ error: SystemError) -> ExportError { .destination(path, .system(error)) }

    func add(_ blob: Descriptor, _ file: DescriptorBox) async throws(ExportError) {
        let (offset, isNew) = state.withLock { ($0.offset, $0.blobs.insert(blob.digest).inserted) }
        // A blob that occurs twice in the image is stored once: the next blob overwrites it.
        guard isNew else { return }
        try mapError { () throws(SystemError) in
            try file.descriptor.seek(to: offset)
            try file.descriptor.writeAll(Self.header(blob))
            let end = offset + Self.reserved + blob.size + Int64(TarEntryHeader.padding(after: blob.size))
            try file.descriptor.setSize(end)
            try file.descriptor.seek(to: end)
            state.withLock { $0.offset = end }
        }
    }

    /// One block for a PAX header, one for its data, and one for the entry's header.
    private static let reserved: Int64 = 3 * 512

    /// Always has the reserved length, because it always records the size.
    static func header(_ blob: Descriptor) -> [UInt8] {
        var entry = TarEntryHeader(
            kind: .regular, path: Array("blobs/\(blob.digest.algorithm.rawValue)/\(blob.digest.hex)".utf8))
        entry.size = blob.size
        entry.alwaysRecordsSize = true
        var bytes: [UInt8] = []
        entry.append(to: &bytes)
        precondition(bytes.count == Int(reserved), "a blob's header is of one length")
        return bytes
    }

    func publish(_ manifest: Descriptor, _ bytes: [UInt8]) async throws(ExportError) {
        try await add(bytes, as: manifest)
        var index = LayoutIndex()
        index.add(manifest, tag: tag)
        try append(name: "index.json", index.encoded())
        try mapError { () throws(SystemError) in
            let offset = state.withLock { $0.offset }
            try file.descriptor.setSize(offset)
            try file.descriptor.seek(to: offset)
            try file.descriptor.writeAll(TarEntryHeader.end)
            try file.descriptor.synchronize()
        }
        do throws(SystemError) {
            do throws(SystemError) {
                try parent.descriptor.moveWithoutReplacing(draftName, to: name, in: parent.descriptor)
            } catch {
                // EINVAL: the file system lacks RENAME_NOREPLACE. link(2) replaces nothing, either.
                guard error.errno == Errno.EINVAL else { throw error }
                try parent.descriptor.makeHardLink(name, to: draftName, in: parent.descriptor)
                try parent.descriptor.removeFile(draftName)
            }
        } catch {
            throw .destination(path, error.errno == Errno.EEXIST ? .exists : .system(error))
        }
        state.withLock { $0.isDone = true }
    }

    func abandon() {
        if state.withLock({ $0.isDone }) { return }
        try? parent.descriptor.removeFile(draftName)  // best effort
    }

    private func append(name: String, _ bytes: [UInt8]) throws(ExportError) {
        try append(TarEntryHeader(kind: .regular, path: Array(name.utf8), size: Int64(bytes.count)), bytes)
    }

    private func append(_ header: TarEntryHeader, _ bytes: [UInt8]) throws(ExportError) {
        var all: [UInt8] = []
        header.append(to: &all)
        all += bytes
        all += [UInt8](repeating: 0, count: TarEntryHeader.padding(after: Int64(bytes.count)))
        let offset = state.withLock { $0.offset }
        try mapError { () throws(SystemError) in
            try file.descriptor.seek(to: offset)
            try file.descriptor.writeAll(all)
        }
        state.withLock { $0.offset = offset + Int64(all.count) }
    }

    private func mapError<Value: ~Copyable>(
        _ body: () throws(SystemError) -> Value
    ) throws(ExportError) -> Value {
        do throws(SystemError) { return try body() } catch { throw .destination(path, .system(error)) }
    }
}
