package import ImageSpec
internal import LinuxKernel

/// Data that is published before it is on disk: docs/explanation/decisions/durability.md
///
/// A layer or flattened tree with a file `boot`, and an image whose record names a boot, is complete during that boot,
/// because the page cache has it. Flushing writes it to disk and removes the marks. After another boot, marked data
/// counts as missing. `unsettled/` lists what to flush; it is only a hint.
extension ImageStore {
    enum Durability: Equatable {
        /// The file system does not survive a reboot.
        case never
        /// Flush before publishing.
        case first
        /// Publish with a mark of this boot, and flush later.
        case later(boot: String)
    }

    var durability: Durability {
        switch CrashOrder(of: root) {
        case .volatile: return .never
        case .unknown: return .first
        case .names:
            // Another user's image may use a shared layer, and this store cannot mark that user's record.
            guard !isShared, let boot = Boot.identifier else { return .first }
            return .later(boot: boot)
        }
    }

    /// Whether publishing waits for the disk.
    package var waitsForTheDisk: Bool { durability == .first }

    enum PartState: Equatable {
        case missing, onDisk, pending
        /// Written in another boot and not known to be on disk.
        case lost

        var isUsable: Bool { self == .onDisk || self == .pending }
    }

    /// The state of a layer or flattened tree, `layers/sha256-…` or `rootfs/sha256-…`.
    func state(of part: String) throws(StoreError) -> PartState {
        guard try optional({ () throws(SystemError) in try root.status(of: part) }) != nil else { return .missing }
        do throws(StoreError) {
            guard try isSoundTree(part + "/tree"), try openFile(part + "/summary") != nil else { return .lost }
            guard let mark = try fileContents(part + "/boot", limit: 4096) else { return .onDisk }
            return String(decoding: mark, as: UTF8.self) == Boot.identifier ? .pending : .lost
        } catch {
            // Wrong type or owner: the next pull replaces it.
            guard case .damaged = error else { throw error }
            return .lost
        }
    }

    /// Moves a layer with an unreadable summary away, so that the next pull unpacks it again.
    package func forgetDamagedLayer(_ diffID: Digest) throws(StoreError) {
        let part = "layers/" + diffID.directoryName
        let lock = try workLock(part)
        defer { withExtendedLifetime(lock) {} }
        try refuseIfInUse(part: part)
        _ = try optional { () throws(SystemError) in try moveAway(part) }
    }

    /// - Throws: `StoreError.inUse` for a layer or flattened tree whose files a container may have open: an image of this
    ///   store with it is held, or one of another store holds it by its summary.
    func refuseIfInUse(part: String) throws(StoreError) {
        // A look-up holds a lease for a moment, too.
        for _ in 0..<50 {
            if try !isInUse(part: part) { return }
            Processes.sleep(milliseconds: 10)
        }
        throw .inUse(path: "\(path)/\(part)")
    }

    private func isInUse(part: String) throws(StoreError) -> Bool {
        if try isHeld(part + "/summary") { return true }
        for name in try entries("images") where try isHeld("images/\(name)/lease") {
            // An image that is held and whose record cannot be read may consist of anything.
            let record = try sparingDamage { () throws(StoreError) in try anyRecord("images/\(name)/record")?.record }
            if record.map({ $0.trees.contains(part + "/tree") }) ?? true { return true }
        }
        return false
    }

    /// Marks a draft with a boot. File systems write names in order, so a power failure cannot keep the layer and lose
    /// the mark. An empty mark matches no boot.
    func mark(_ draft: Draft, _ boot: String) throws(SystemError) {
        try draft.directory.descriptor.open("boot", .writeOnly | .create | .exclusive, mode: 0o644)
            .writeAll(Array(boot.utf8))
    }

    /// Returns the record with a mark if the image's own files or one of its trees are not flushed.
    func marked(_ record: LaunchRecord) throws(StoreError) -> LaunchRecord {
        var marked = record
        if case .later(let boot) = durability {
            marked.boot = boot
        } else if try !areOnDisk(record.trees) {
            marked.boot = Boot.identifier ?? "unknown"
        }
        return marked
    }

    private func areOnDisk(_ trees: [String]) throws(StoreError) -> Bool {
        for tree in trees {
            // A tree may be in another store: its path is then absolute and not resolved below the root.
            let mark = String(tree.dropLast("tree".count)) + "boot"
            if try optional({ () throws(SystemError) in try root.status(of: mark) }) != nil { return false }
        }
        return true
    }

    /// Lists a part that must be flushed. Called after the part is visible, because flushing discards a note without a
    /// part. Without a note, the part is never flushed, which only costs a pull after the next boot.
    func notePending(_ part: String) {
        try? root.makeDirectory("unsettled", mode: 0o755)  // usually it exists
        _ = try? root.open(  // a hint
            "unsettled/" + Self.note(of: part), .writeOnly | .create | .noFollow | .nonBlocking, mode: 0o644)
    }

    private static func note(of part: String) -> String { String(part.map { $0 == "/" ? "." : $0 }) }
    private static func part(of note: String) -> String { String(note.map { $0 == "." ? "/" : $0 }) }

    /// How many dirty bytes the machine may have for a flush to go unnoticed.
    private static let little: UInt64 = 64 << 20
    /// How many parts one flush covers. Each keeps a descriptor open.
    private static let atOnce = 256

    /// Flushes if that is quick. syncfs(2) also waits for what other processes have written.
    package func flushIfQuick() throws(StoreError) {
        if let pending = WriteBack.pendingBytes, pending <= Self.little, let lock = try tryWorkLock("unsettled") {
            try flushAll()
            withExtendedLifetime(lock.descriptor) {}
        }
    }

    /// Waits until all published data is on disk, then removes the marks. If writing fails, marks the data as lost and
    /// throws the error. Blocks while another process flushes, because two flushes at once do the same work.
    package func flush() throws(StoreError) {
        let lock = try workLock("unsettled")
        defer { withExtendedLifetime(lock) {} }
        try flushAll()
    }

    private func flushAll() throws(StoreError) {
        let listed = try optional { () throws(SystemError) in
            try root.open("unsettled", .readOnly | .directory | .noFollow).entries().map(\.displayPath)
        }
        let notes = listed?.filter { note in Self.parts.contains { note.hasPrefix($0) } } ?? []
        try flushNotes(notes)
    }

    /// How valid entries of `unsettled` begin.
    private static let parts = ["images.sha", "layers.sha", "rootfs.sha"]

    private func flushNotes(_ listed: [String]) throws(StoreError) {
        guard !listed.isEmpty, let boot = Boot.identifier else { return }
        // Images last, because an image keeps its mark until its layers have lost theirs.
        let sorted = listed.sorted { $0 > $1 }
        for start in stride(from: 0, to: sorted.count, by: Self.atOnce) {
            let notes = sorted[start..<min(start + Self.atOnce, sorted.count)]
            try flush(notes, boot)
        }
    }

    private func flush(_ notes: ArraySlice<String>, _ boot: String) throws(StoreError) {
        // Open them before the wait: a part that is published during the wait keeps its mark.
        var places: [(note: String, place: DescriptorBox)] = []
        for note in notes {
            let place = try optional { () throws(SystemError) in
                try root.open(Self.part(of: note), .readOnly | .directory | .noFollow)
            }
            if let place { places.append((note, DescriptorBox(place))) } else { try forget(note) }
        }
        if places.isEmpty { return }
        do throws(SystemError) { try root.synchronizeFileSystem() } catch {
            // Best effort: the first error is thrown below.
            for (note, place) in places {
                _ = try? setMark(of: place.descriptor, note, from: boot, to: "lost")  // best effort
                try? forget(note)  // likewise
            }
            throw .system(error)
        }
        for (note, place) in places
        where try mapError({ () throws(SystemError) in
            try setMark(of: place.descriptor, note, from: boot, to: "")
        }) { try forget(note) }
    }

    private func forget(_ note: String) throws(StoreError) {
        _ = try optional { () throws(SystemError) in try root.removeTree("unsettled/" + note) }
    }

    /// Returns `false` for an image with parts that are not flushed yet.
    @discardableResult
    private func setMark(
        of place: borrowing OwnedFileDescriptor, _ note: String, from boot: String, to new: String
    ) throws(SystemError) -> Bool {
        let isImage = note.hasPrefix("images.")
        let file: OwnedFileDescriptor
        do throws(SystemError) {
            let name = isImage ? "record" : "boot"
            // Not a regular file, so not a mark; readers report it as damaged.
            guard fault(try place.status(of: name), .regular) == nil else { return true }
            file = try place.open(name, .readWrite | .noFollow | .noAccessTime | .nonBlocking)
        } catch {
            if error.errno == Errno.ENOENT { return true }  // no mark
            throw error
        }
        let bytes = try file.readAll(limit: Int(Self.largestRecord))
        guard isImage else {
            // Keep another boot's mark, because it shows that the layer is lost.
            guard String(decoding: bytes, as: UTF8.self) == boot else { return true }
            if new.isEmpty {
                do throws(SystemError) { try place.removeFile("boot") } catch {
                    if error.errno != Errno.ENOENT { throw error }
                }
            } else {
                try file.setSize(0)
            }
            return true
        }
        guard var record = LaunchRecord(decoding: bytes), record.boot == boot else { return true }
        if new.isEmpty {
            // unreadable: try again with the next flush
            guard (try? areOnDisk(record.trees)) == true else { return false }  // unreadable: later
        }
        record.boot = new
        let status = try file.status()
        let draft = "record." + (try Random.hexadecimal(bytes: 8))
        let updated = try place.open(draft, .writeOnly | .create | .exclusive | .noFollow, mode: 0o644)
        try updated.writeAll(record.encoded)
        // The access time records the last use.
        try updated.setTimes(accessed: status.accessed, modified: status.modified)
        try place.move(draft, to: "record", in: place)
        return true
    }
}

extension LaunchRecord {
    /// Whether the trees that the record names still have their contents.
    var isOnDiskOrOfThisBoot: Bool { boot.isEmpty || boot == Boot.identifier }
}
