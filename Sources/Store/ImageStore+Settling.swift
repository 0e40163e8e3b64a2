package import ImageSpec
internal import LinuxKernel

/// What is published before it is on disk, and what becomes of it: docs/explanation/decisions/durability.md
///
/// A layer or flattened tree with a file `boot`, and an image whose record names a boot, is whole as long as that boot
/// lasts: the page cache has it. Settling waits for the disk and takes the marks away. What another boot left marked
/// counts as missing. `unsettled/` lists what to look at, and nothing depends on it.
extension ImageStore {
    enum Durability: Equatable {
        /// Nothing of the file system outlives the machine.
        case never
        /// Before it is visible.
        case first
        /// Afterwards: it is marked with this boot until then.
        case later(boot: String)
    }

    var durability: Durability {
        switch CrashOrder(of: root) {
        case .volatile: return .never
        case .unknown: return .first
        case .names:
            // Another user's image may lean on a shared layer, with a record that no settling here could mark.
            guard !isShared, let boot = Boot.identifier else { return .first }
            return .later(boot: boot)
        }
    }

    /// Whether whoever publishes waits until the disk has all.
    package var waitsForTheDisk: Bool { durability == .first }

    enum PartState: Equatable {
        case missing, settled, unsettled
        /// Written in another boot, and not known to have come to the disk.
        case lost

        var isUsable: Bool { self == .settled || self == .unsettled }
    }

    /// Of a layer or flattened tree, `layers/sha256-…` or `rootfs/sha256-…`.
    func state(of part: String) throws(StoreError) -> PartState {
        guard try optional({ () throws(SystemError) in try root.status(of: part) }) != nil else { return .missing }
        do throws(StoreError) {
            guard try isSoundTree(part + "/tree"), try openFile(part + "/summary") != nil else { return .lost }
            guard let mark = try fileContents(part + "/boot", limit: 4096) else { return .settled }
            return String(decoding: mark, as: UTF8.self) == Boot.identifier ? .unsettled : .lost
        } catch {
            // Of another kind or of another user: replaced by the next pull.
            guard case .damaged = error else { throw error }
            return .lost
        }
    }

    /// Takes a layer out of sight whose summary does not read as one, so that the next pull unpacks it again.
    package func forgetDamagedLayer(_ diffID: Digest) throws(StoreError) {
        let part = "layers/" + diffID.directoryName
        let lock = try workLock(part)
        defer { withExtendedLifetime(lock) {} }
        _ = try optional { () throws(SystemError) in try moveAway(part) }
    }

    /// Names come to the disk in the order in which they are made, so no power cut leaves the layer without its mark; an
    /// empty mark is no boot's.
    func mark(_ draft: Draft, _ boot: String) throws(SystemError) {
        try draft.directory.descriptor.open("boot", .writeOnly | .create | .exclusive, mode: 0o644)
            .writeAll(Array(boot.utf8))
    }

    /// With a mark where the image's own files need one, or one of its trees has one.
    func marked(_ record: LaunchRecord) throws(StoreError) -> LaunchRecord {
        var marked = record
        if case .later(let boot) = durability {
            marked.boot = boot
        } else if try !areSettled(record.trees) {
            marked.boot = Boot.identifier ?? "unknown"
        }
        return marked
    }

    private func areSettled(_ trees: [String]) throws(StoreError) -> Bool {
        for tree in trees {
            // Also of another store's: an absolute path is not resolved below the root.
            let mark = String(tree.dropLast("tree".count)) + "boot"
            if try optional({ () throws(SystemError) in try root.status(of: mark) }) != nil { return false }
        }
        return true
    }

    /// After the part is visible: a note of what is not there is thrown away. Without a note it is never settled, which
    /// costs a pull in the next boot and nothing else.
    func noteUnsettled(_ part: String) {
        try? root.makeDirectory("unsettled", mode: 0o755)  // mostly it is there
        _ = try? root.open(
            "unsettled/" + Self.note(of: part), .writeOnly | .create | .noFollow | .nonBlocking, mode: 0o644)
    }

    private static func note(of part: String) -> String { String(part.map { $0 == "/" ? "." : $0 }) }
    private static func part(of note: String) -> String { String(note.map { $0 == "." ? "/" : $0 }) }

    /// The most that may wait to be written, in bytes, for waiting for it to go unnoticed.
    private static let little: UInt64 = 64 << 20
    /// The most that is settled in one go: each keeps a descriptor open.
    private static let atOnce = 256

    /// Settles where that does not take long: syncfs(2) waits for what others have written, too.
    package func settleIfLittleIsToBeWritten() throws(StoreError) {
        if let pending = WriteBack.pendingBytes, pending <= Self.little, let lock = try tryWorkLock("unsettled") {
            try settleAll()
            withExtendedLifetime(lock.descriptor) {}
        }
    }

    /// Waits until what was published is on disk, and takes the marks away. What can not be written counts as missing from
    /// then on, and the error is thrown. Waits for whoever is at it already; two at once would only do the same.
    package func settle() throws(StoreError) {
        let lock = try workLock("unsettled")
        defer { withExtendedLifetime(lock) {} }
        try settleAll()
    }

    private func settleAll() throws(StoreError) {
        let listed = try optional { () throws(SystemError) in
            try root.open("unsettled", .readOnly | .directory | .noFollow).entries().map(\.displayPath)
        }
        let notes = listed?.filter { note in Self.parts.contains { note.hasPrefix($0) } } ?? []
        try settleNotes(notes)
    }

    /// What a note may be about; anything else in `unsettled` is none.
    private static let parts = ["images.sha", "layers.sha", "rootfs.sha"]

    private func settleNotes(_ listed: [String]) throws(StoreError) {
        guard !listed.isEmpty, let boot = Boot.identifier else { return }
        // Images last: their records lose the mark when their layers have.
        let sorted = listed.sorted { $0 > $1 }
        for start in stride(from: 0, to: sorted.count, by: Self.atOnce) {
            let notes = sorted[start..<min(start + Self.atOnce, sorted.count)]
            try settle(notes, boot)
        }
    }

    private func settle(_ notes: ArraySlice<String>, _ boot: String) throws(StoreError) {
        // Opened before the wait: what takes a name meanwhile keeps its mark.
        var places: [(note: String, place: DescriptorBox)] = []
        for note in notes {
            let place = try optional { () throws(SystemError) in
                try root.open(Self.part(of: note), .readOnly | .directory | .noFollow)
            }
            if let place { places.append((note, DescriptorBox(place))) } else { try forget(note) }
        }
        if places.isEmpty { return }
        do throws(SystemError) { try root.synchronizeFileSystem() } catch {
            // Best effort: the error is told, whatever else fails.
            for (note, place) in places {
                _ = try? setMark(of: place.descriptor, note, from: boot, to: "lost")
                try? forget(note)
            }
            throw .system(error)
        }
        for (note, place) in places
        where try storing({ () throws(SystemError) in
            try setMark(of: place.descriptor, note, from: boot, to: "")
        }) { try forget(note) }
    }

    private func forget(_ note: String) throws(StoreError) {
        _ = try optional { () throws(SystemError) in try root.removeTree("unsettled/" + note) }
    }

    /// `false` for an image that leans on what is not settled yet.
    @discardableResult
    private func setMark(
        of place: borrowing OwnedFileDescriptor, _ note: String, from boot: String, to new: String
    ) throws(SystemError) -> Bool {
        let isImage = note.hasPrefix("images.")
        let file: OwnedFileDescriptor
        do throws(SystemError) {
            let name = isImage ? "record" : "boot"
            // Nothing that was ever marked; what reads it calls it damaged.
            guard fault(try place.status(of: name), .regular) == nil else { return true }
            file = try place.open(name, .readWrite | .noFollow | .noAccessTime | .nonBlocking)
        } catch {
            if error.errno == Errno.ENOENT { return true }  // no mark
            throw error
        }
        let bytes = try file.readAll(limit: Int(Self.largestRecord))
        guard isImage else {
            // Another boot's stays: it tells that the layer is lost.
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
            // Could not be told: later.
            guard (try? areSettled(record.trees)) == true else { return false }
        }
        record.boot = new
        let status = try file.status()
        let draft = "record." + (try Random.hexadecimal(bytes: 8))
        let settled = try place.open(draft, .writeOnly | .create | .exclusive | .noFollow, mode: 0o644)
        try settled.writeAll(record.encoded)
        // Its access time tells when the image was used last.
        try settled.setTimes(accessed: status.accessed, modified: status.modified)
        try place.move(draft, to: "record", in: place)
        return true
    }
}

extension LaunchRecord {
    /// Whether what the record names is still what was written.
    var isOnDiskOrOfThisBoot: Bool { boot.isEmpty || boot == Boot.identifier }
}
