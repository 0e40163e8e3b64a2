internal import ImageSpec
internal import LinuxKernel
internal import Synchronization

/// Writes to an OCI image layout in a new directory or in an existing layout.
///
/// Blobs are written to a draft directory and moved when all are complete; index.json is replaced last. A new layout is
/// renamed when it is complete.
final class LayoutTarget: ExportTarget {
    private let path: String
    private let tag: String
    /// The directory that contains the layout.
    private let parent: DescriptorBox
    private let name: String
    /// The existing layout; `nil` for a new one.
    private let existing: DescriptorBox?
    /// Below an existing layout; next to a new one, which it becomes.
    private let draftName: String
    private let draft: DescriptorBox
    /// Locked while this object exists, so that other exports do not remove the draft as abandoned.
    private let alive: DescriptorBox
    private let state = Mutex(State())

    private struct State {
        var blobs: [Digest] = []
        var files = 0
        /// Blobs that were moved to the layout but are not in its index yet.
        var moved: [Digest] = []
        var isDone = false
    }

    static let draftPrefix = ".berth-export-"

    init(path: String, tag: String) throws(ExportError) {
        func mapError<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(ExportError) -> Value {
            do throws(SystemError) { return try body() } catch { throw .destination(path, .system(error)) }
        }
        self.path = path
        self.tag = tag
        var components = path.split(separator: "/", omittingEmptySubsequences: true).filter { $0 != "." }
        name = components.popLast().map(String.init) ?? "."
        let parentPath = "/" + components.joined(separator: "/")
        let parent = try mapError { () throws(SystemError) in
            DescriptorBox(try OwnedFileDescriptor(opening: parentPath, [.readOnly, .directory]))
        }
        self.parent = parent
        var existing: DescriptorBox?
        do throws(SystemError) {
            existing = DescriptorBox(try OwnedFileDescriptor(opening: path, [.readOnly, .directory]))
        } catch {
            if error.errno != Errno.ENOENT { throw .destination(path, .system(error)) }
        }
        if let existing {
            let names = try mapError { () throws(SystemError) in try existing.descriptor.entries().map(\.displayPath) }
            let others = names.filter { !$0.hasPrefix(Self.draftPrefix) }
            guard others.isEmpty || others.contains("oci-layout") else { throw .destination(path, .notALayout) }
        }
        // Remove drafts of killed exports in the layout and next to it.
        for place in [existing, parent].compactMap({ $0 }) { Self.sweep(in: place) }
        self.existing = existing
        let draftName = try mapError { () throws(SystemError) in
            Self.draftPrefix + (try Random.hexadecimal(bytes: 8))
        }
        self.draftName = draftName
        let place = existing ?? parent
        let draft = try mapError { () throws(SystemError) in
            try place.descriptor.makeDirectory(draftName, mode: 0o755)
            return DescriptorBox(try place.descriptor.open(draftName, [.readOnly, .directory, .noFollow]))
        }
        self.draft = draft
        do throws(SystemError) {
            alive = DescriptorBox(try draft.descriptor.createLocked("alive", .exclusive, mode: 0o600))
            try draft.descriptor.makeDirectory("blobs", mode: 0o755)
            try draft.descriptor.makeDirectory("blobs/sha256", mode: 0o755)
        } catch {
            try? place.descriptor.removeTree(draftName)  // report the first error
            throw .destination(path, .system(error))
        }
    }

    /// Removes drafts of killed exports.
    private static func sweep(in place: DescriptorBox) {
        // Best effort: a failure must not prevent an export.
        guard let names = try? place.descriptor.entries(startingWith: ".berth-export-") else { return }  // best effort
        for name in names where isDead(name, in: place) {
            try? place.descriptor.removeTree(name)  // likewise
        }
    }

    private static func isDead(_ name: String, in place: DescriptorBox) -> Bool {
        guard let draft = try? place.descriptor.open(name, [.readOnly, .directory, .noFollow]),  // gone
            let status = try? draft.status(), status.userID == Identity.userID  // another user's
        else { return false }
        if let alive = try? draft.open("alive", [.readWrite, .noFollow, .nonBlocking]) {  // see below
            return (try? alive.tryLock(.exclusive)) == true  // in use, or no locks
        }
        // Just created, about to be published, or its export was killed in between.
        return Clock.now.seconds - status.modified.seconds > 3600
    }

    func holds(_ layers: [Descriptor], pulledFrom origin: Reference?) async throws(ExportError) -> Bool {
        guard let existing else { return false }
        return layers.allSatisfy { layer in
            let status = try? existing.descriptor.status(of: Self.place(layer.digest))  // absent
            return status?.kind == .regular && status?.size == layer.size
        }
    }

    func open() throws(ExportError) -> DescriptorBox {
        let number = state.withLock { state in
            state.files += 1
            return state.files
        }
        return try mapError { () throws(SystemError) in
            DescriptorBox(try draft.descriptor.open("\(number)", [.writeOnly, .create, .exclusive], mode: 0o644))
        }
    }

    func writeFailed(_ error: SystemError) -> ExportError { .destination(path, .system(error)) }

    func add(_ blob: Descriptor, _ file: DescriptorBox) async throws(ExportError) {
        try mapError { () throws(SystemError) in
            // Flush each blob, because index.json must not refer to a missing blob after a crash.
            try file.descriptor.synchronize()
            let number = state.withLock { $0.files }
            try draft.descriptor.move("\(number)", to: Self.place(blob.digest), in: draft.descriptor)
            state.withLock { $0.blobs.append(blob.digest) }
        }
    }

    func publish(_ manifest: Descriptor, _ bytes: [UInt8]) async throws(ExportError) {
        try await add(bytes, as: manifest)
        if let existing {
            try publish(manifest, into: existing)
        } else {
            try publishNew(manifest)
        }
        state.withLock { $0.isDone = true }
    }

    private func publishNew(_ manifest: Descriptor) throws(ExportError) {
        var index = LayoutIndex()
        index.add(manifest, tag: tag)
        let bytes = index.encoded()
        try mapError { () throws(SystemError) in
            try Self.write(LayoutIndex.layoutFile, "oci-layout", in: draft)
            try Self.write(bytes, "index.json", in: draft)
            try draft.descriptor.removeFile("alive")
            do throws(SystemError) {
                try parent.descriptor.moveWithoutReplacing(draftName, to: name, in: parent.descriptor)
            } catch {
                // EINVAL: the file system lacks RENAME_NOREPLACE. A directory can replace only an empty one.
                guard error.errno == Errno.EINVAL else { throw error }
                try parent.descriptor.move(draftName, to: name, in: parent.descriptor)
            }
        }
    }

    private func publish(_ manifest: Descriptor, into layout: DescriptorBox) throws(ExportError) {
        // Only one process at a time updates the index; without locks, the last one wins. Lock the layout file, which
        // is never replaced and is opened for writing, as an exclusive lock requires.
        let lock = try mapError { () throws(SystemError) in
            if !layout.descriptor.holds("oci-layout") {
                try Self.write(LayoutIndex.layoutFile, "oci-layout", in: draft)
                do throws(SystemError) {
                    try layout.descriptor.makeHardLink("oci-layout", to: "oci-layout", in: draft.descriptor)
                } catch {
                    // EEXIST: another export was faster. EPERM, EOPNOTSUPP, EXDEV, EMLINK: hard links are not
                    // supported.
                    if error.errno != Errno.EEXIST {
                        try draft.descriptor.move("oci-layout", to: "oci-layout", in: layout.descriptor)
                    }
                }
            }
            do throws(SystemError) {
                let file = DescriptorBox(
                    try layout.descriptor.open("oci-layout", [.readWrite, .noFollow, .nonBlocking]))
                try file.descriptor.lock(.exclusive)
                return file
            } catch {
                // EACCES, EROFS, ELOOP: the layout file is not writable.
                guard error.meansNoLocks || [Errno.EACCES, Errno.EROFS, Errno.ELOOP].contains(error.errno) else {
                    throw error
                }
                return layout
            }
        }
        defer { withExtendedLifetime(lock) {} }
        let names = try mapError { () throws(SystemError) in try layout.descriptor.entries().map(\.displayPath) }
        var index = LayoutIndex()
        if names.contains("index.json") {
            let bytes = try mapError { () throws(SystemError) in
                try layout.descriptor.open("index.json", [.readOnly]).readAll()
            }
            guard let found = LayoutIndex(bytes) else { throw .destination(path, .damagedIndex("index.json")) }
            index = found
        }
        index.add(manifest, tag: tag)
        let bytes = index.encoded()
        try mapError { () throws(SystemError) in
            for directory in ["blobs", "blobs/sha256"] {
                do throws(SystemError) { try layout.descriptor.makeDirectory(directory, mode: 0o755) } catch {
                    if error.errno != Errno.EEXIST { throw error }
                }
            }
            for digest in state.withLock({ $0.blobs }) {
                do throws(SystemError) {
                    try draft.descriptor.moveWithoutReplacing(
                        Self.place(digest), to: Self.place(digest), in: layout.descriptor)
                    state.withLock { $0.moved.append(digest) }
                } catch {
                    switch error.errno {
                    case Errno.EEXIST: break  // the same bytes
                    // The blob occurs twice in this image and was already moved.
                    case Errno.ENOENT
                    where (try? layout.descriptor.status(of: Self.place(digest))) != nil:  // absent: an error
                        break
                    case Errno.EINVAL:
                        try draft.descriptor.move(Self.place(digest), to: Self.place(digest), in: layout.descriptor)
                    default: throw error
                    }
                }
            }
            try Self.write(bytes, "index.json.new", in: draft)
            try draft.descriptor.move("index.json.new", to: "index.json", in: layout.descriptor)
        }
        state.withLock { $0.moved = [] }
        try? layout.descriptor.removeTree(draftName)  // the next export sweeps it
    }

    func abandon() {
        let (isDone, moved) = state.withLock { ($0.isDone, $0.moved) }
        if isDone { return }
        if let existing {
            for digest in moved {
                try? existing.descriptor.removeFile(Self.place(digest))  // harmless: not in the index
            }
        }
        let place = existing ?? parent
        try? place.descriptor.removeTree(draftName)  // best effort
    }

    private static func place(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }

    private static func write(_ bytes: [UInt8], _ name: String, in directory: DescriptorBox) throws(SystemError) {
        let file = try directory.descriptor.open(name, [.writeOnly, .create, .exclusive], mode: 0o644)
        try file.writeAll(bytes)
        try file.synchronize()
    }

    private func mapError<Value: ~Copyable>(
        _ body: () throws(SystemError) -> Value
    ) throws(ExportError) -> Value {
        do throws(SystemError) { return try body() } catch { throw .destination(path, .system(error)) }
    }
}
