package import ImageSpec
package import LinuxKernel

/// A part that is still invisible: a directory below `drafts/` with a `tree`. Its maker holds a lock, which the kernel
/// releases when the process exits.
package struct Draft: Sendable {
    /// Where to unpack.
    package let tree: DescriptorBox
    let directory: DescriptorBox
    let name: String
    let destination: String
    let alive: DescriptorBox
    let workLock: DescriptorBox?
}

/// A complete draft and its metadata.
package struct FinishedDraft: Sendable {
    package let draft: Draft
    package let summary: [UInt8]
    /// The size of its files; `nil` if unknown.
    package let bytes: Int64?

    package init(draft: Draft, summary: [UInt8], bytes: Int64? = nil) {
        self.draft = draft
        self.summary = summary
        self.bytes = bytes
    }
}

extension ImageStore {
    /// Whether a layer is unpacked. `diffID` is the digest of the uncompressed tar.
    package func hasLayer(_ diffID: Digest) throws(StoreError) -> Bool {
        try state(of: "layers/" + diffID.directoryName).isUsable
    }

    /// The summary that was written when the layer was unpacked.
    package func layerSummary(_ diffID: Digest) throws(StoreError) -> [UInt8]? {
        try fileContents("layers/\(diffID.directoryName)/summary", limit: 256 << 20)
    }

    /// The unpacked layer's tree.
    package func layerTree(_ diffID: Digest) throws(StoreError) -> OwnedFileDescriptor? {
        let place = "layers/\(diffID.directoryName)/tree"
        guard try isSoundTree(place) else { return nil }
        return try optional { () throws(SystemError) in try root.open(place, .readOnly | .directory | .noFollow) }
    }

    /// Starts a layer. Blocks while another process unpacks the same layer; returns `nil` if the layer exists then.
    package func draftLayer(_ diffID: Digest) throws(StoreError) -> Draft? {
        try draft("layers/" + diffID.directoryName)
    }

    /// Starts a flattened rootfs for a chain of layers. Blocks; returns `nil` if it exists then.
    package func draftRootfs(_ chainID: Digest) throws(StoreError) -> Draft? {
        try draft("rootfs/" + chainID.directoryName)
    }

    private func draft(_ destination: String) throws(StoreError) -> Draft? {
        let lock = try workLock(destination)
        let state = try state(of: destination)
        if state.isUsable { return nil }
        if state == .lost { try refuseIfInUse(part: destination) }
        return try mapError { () throws(SystemError) in
            let drafts = try root.open("drafts", .readOnly | .directory | .noFollow)
            // A new block group avoids the blocks of just removed layers: docs/explanation/decisions/durability.md
            try? drafts.placeDirectoriesApart()  // advice, which few file systems take
            // Remove it now, because a nearly full disk needs the space for the new one.
            if state == .lost { try drafts.removeTree(try moveAway(destination)) }
            let name = try Self.draftName()
            try drafts.makeDirectory(name, mode: 0o755)
            do throws(SystemError) {
                let directory = try drafts.open(name, .readOnly | .directory | .noFollow)
                let alive = try directory.createLocked("alive", .exclusive, mode: 0o600)
                try directory.makeDirectory("tree", mode: 0o755)
                let tree = try directory.open("tree", .readOnly | .directory | .noFollow)
                return Draft(
                    tree: DescriptorBox(tree), directory: DescriptorBox(directory), name: name,
                    destination: destination, alive: DescriptorBox(alive), workLock: lock)
            } catch {
                try? drafts.removeTree(name)  // report the first error; a sweep removes the rest
                throw error
            }
        }
    }

    /// Renames a draft to its final name. If another process was faster, its result stays.
    package func publish(_ draft: Draft, summary: [UInt8]) throws(StoreError) {
        try publish([FinishedDraft(draft: draft, summary: summary)])
    }

    /// Publishes drafts and flushes them together, or not at all: see `ImageStore+Flushing.swift`.
    package func publish(_ finished: [FinishedDraft]) throws(StoreError) {
        let durability = durability
        do throws(StoreError) {
            try mapError { () throws(SystemError) in
                for one in finished {
                    let file = try one.draft.directory.descriptor.open(
                        "summary", .writeOnly | .create | .exclusive, mode: 0o644)
                    try file.writeAll(one.summary)
                    if case .later(let boot) = durability { try mark(one.draft, boot) }
                    guard let bytes = one.bytes else { continue }
                    try one.draft.directory.descriptor.open("bytes", .writeOnly | .create | .exclusive, mode: 0o644)
                        .writeAll(Array("\(bytes)\n".utf8))
                }
                if durability == .first { try root.synchronizeFileSystem() }
                for one in finished {
                    try makeVisible(one.draft)
                    if case .later = durability { notePending(one.draft.destination) }
                }
            }
        } catch {
            for one in finished { discard(one.draft) }
            throw error
        }
    }

    private func makeVisible(_ draft: Draft) throws(SystemError) {
        try draft.directory.descriptor.removeFile("alive")
        let drafts = try root.open("drafts", .readOnly | .directory | .noFollow)
        do throws(SystemError) {
            try drafts.moveWithoutReplacing(draft.name, to: draft.destination, in: root)
        } catch {
            switch error.errno {
            case Errno.EEXIST, Errno.ENOTEMPTY: try drafts.removeTree(draft.name)
            case Errno.EINVAL:
                // EINVAL: the file system lacks RENAME_NOREPLACE (NFS, some FUSE). A plain rename is as safe here,
                // because a directory cannot replace one that is not empty.
                do throws(SystemError) { try drafts.move(draft.name, to: draft.destination, in: root) } catch {
                    guard error.errno == Errno.EEXIST || error.errno == Errno.ENOTEMPTY else { throw error }
                    try drafts.removeTree(draft.name)
                }
            default: throw error
            }
        }
    }

    /// Removes a draft that failed.
    package func discard(_ draft: Draft) {
        // Best effort: the next pull sweeps the rest.
        guard let drafts = try? root.open("drafts", .readOnly | .directory | .noFollow) else { return }  // best effort
        try? drafts.removeTree(draft.name)  // likewise
    }

    /// Publishes an image and its names. A complete image of the same digest stays; an image that a power failure or a
    /// user damaged is repaired.
    ///
    /// - Parameter replacing: Replace the existing image because its documents differ.
    package func publish(
        _ record: LaunchRecord, manifest: [UInt8], config: [UInt8], names: [ImageKey], replacing: Bool = false
    ) throws(StoreError) {
        let place = "images/" + record.digest.directoryName
        let isThere = try optional { () throws(SystemError) in try root.status(of: place) } != nil
        let marked = try marked(record)
        let bytes = marked.encoded.count
        guard bytes <= Self.largestRecord else {
            throw .recordTooLarge(bytes: bytes, limit: Self.largestRecord)
        }
        if isThere, !replacing, isWhole(record.digest) {
            if !marked.boot.isEmpty { notePending(place) }
            return try name(record.digest, names)
        }
        if isThere, try !repair(marked, manifest, config, names) {
            // A collection may have removed it already.
            _ = try optional { () throws(SystemError) in try moveAway(place) }
            sweep(deadDrafts())
        }
        try mapError { () throws(SystemError) in
            if (try? root.status(of: place)) == nil {  // absent: create it
                let drafts = try root.open("drafts", .readOnly | .directory | .noFollow)
                let draft = try Self.draftName()
                do throws(SystemError) {
                    try make(marked, manifest, config, names, as: draft, in: drafts)
                } catch {
                    try? drafts.removeTree(draft)  // report the first error; a sweep removes the rest
                    throw error
                }
            }
            if !marked.boot.isEmpty { notePending(place) }
        }
        try noteNames(names, of: record.digest)
        try setNames(names, record.digest)
    }

    private func make(
        _ record: LaunchRecord, _ manifest: [UInt8], _ config: [UInt8], _ names: [ImageKey], as draft: String,
        in drafts: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        try drafts.makeDirectory(draft, mode: 0o755)
        let directory = try drafts.open(draft, .readOnly | .directory | .noFollow)
        let alive = try directory.createLocked("lease", .shared, mode: 0o644)
        // Hold the lease until the image is published, so that no collection removes the draft.
        defer { withExtendedLifetime(alive) {} }
        for (file, bytes) in Self.files(record, manifest, config, names) {
            try directory.open(file, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(bytes)
        }
        do throws(SystemError) { try drafts.move(draft, to: "images/" + record.digest.directoryName, in: root) } catch {
            // EEXIST, ENOTEMPTY: another process published it in between.
            guard error.errno == Errno.EEXIST || error.errno == Errno.ENOTEMPTY else { throw error }
            try drafts.removeTree(draft)
        }
    }

    private static func files(
        _ record: LaunchRecord, _ manifest: [UInt8], _ config: [UInt8], _ names: [ImageKey]
    ) -> [(name: String, bytes: [UInt8])] {
        [
            ("record", record.encoded), ("manifest.json", manifest), ("config.json", config),
            (noteOfNames, note(of: names)),
        ]
    }

    /// Writes the files of an image again, in the directory that is there: what runs the image holds the lease in it.
    ///
    /// - Returns: `false` if the directory or its lease is not one that Berth created, so nothing can hold it.
    private func repair(
        _ record: LaunchRecord, _ manifest: [UInt8], _ config: [UInt8], _ names: [ImageKey]
    ) throws(StoreError) -> Bool {
        let place = "images/" + record.digest.directoryName
        try tighten(place, .directory)
        try tighten(place + "/lease", .regular)
        // Held until the files are there, so that no collection moves them away in between.
        let lease = try sparingDamage { () throws(StoreError) in try sharedLease(place + "/lease") }
        guard let lease else { return false }
        defer { withExtendedLifetime(lease) {} }
        // Settling an image replaces its record, too.
        let settling = try workLock("unsettled")
        defer { withExtendedLifetime(settling) {} }
        try mapError { () throws(SystemError) in
            let directory = try root.open(place, .readOnly | .directory | .noFollow)
            for (file, bytes) in Self.files(record, manifest, config, names) {
                let draft = file + "." + (try Random.hexadecimal(bytes: 8))
                do throws(SystemError) {
                    try directory.open(draft, .writeOnly | .create | .exclusive | .noFollow, mode: 0o644).writeAll(bytes)
                    try directory.replace(draft, as: file)
                } catch {
                    try? directory.removeFile(draft)  // the first error tells
                    throw error
                }
            }
        }
        return true
    }

    /// Takes write permission from group and others, where nothing else is wrong.
    private func tighten(_ place: String, _ kind: FileStatus.Kind) throws(StoreError) {
        _ = try optional { () throws(SystemError) in
            let status = try root.status(of: place)
            guard status.kind == kind, isTrusted(status.userID), status.permissions & 0o022 != 0 else { return }
            try root.open(place, .readOnly | .noFollow | .nonBlocking).setPermissions(status.permissions & ~0o022)
        }
    }

    /// Whether an image's record is readable and all its parts exist. An image in use may be damaged, too.
    package func isWhole(_ digest: Digest) -> Bool {
        // Damaged means not complete. A busy image counts as complete.
        do throws(StoreError) { if try lease(digest) == nil { return false } } catch {
            guard case .busy = error else { return false }
        }
        let directory = "images/" + digest.directoryName
        for name in ["/manifest.json", "/config.json"] {
            do throws(StoreError) { if try openFile(directory + name) == nil { return false } } catch { return false }
        }
        return true
    }

    /// Moves a part to the drafts, to be deleted later. Returns its name there.
    @discardableResult
    func moveAway(_ part: String) throws(SystemError) -> String {
        let drafts = try root.open("drafts", .readOnly | .directory | .noFollow)
        let away = "removed-" + (try Random.hexadecimal(bytes: 8))
        do throws(SystemError) { try root.move(part, to: away, in: drafts) } catch {
            // EACCES: the directory belongs to another user, and only its owner may move it to another parent.
            guard error.errno == Errno.EACCES else { throw error }
            let above = part.split(separator: "/").dropLast().joined(separator: "/")
            try root.move(part, to: above + "/.removed-" + (try Random.hexadecimal(bytes: 8)), in: root)
        }
        return away
    }

    /// Adds names to an existing image.
    package func name(_ digest: Digest, _ names: [ImageKey]) throws(StoreError) {
        // Record the names first: if the process is killed in between, no name lacks a note.
        try noteNames(names, of: digest)
        var new: [ImageKey] = []
        for key in names {
            // Rewrite a damaged name.
            let bytes = try sparingDamage { () throws(StoreError) in
                try fileContents("refs/" + key.path, limit: Self.largestName)
            }
            let isKnown =
                bytes.map { Self.digest(inName: $0) == digest && Self.source(inName: $0) == key.source } ?? false
            if !isKnown { new.append(key) }
        }
        if new.isEmpty { return }
        try setNames(new, digest)
    }

    private func setNames(_ names: [ImageKey], _ digest: Digest) throws(StoreError) {
        try mapError { () throws(SystemError) in
            for key in names { try setName(key, digest) }
        }
    }

    private func setName(_ key: ImageKey, _ digest: Digest) throws(SystemError) {
        var directory = try root.open("refs", .readOnly | .directory | .noFollow)
        for component in key.components.dropLast() {
            try makeNameDirectory(component, in: directory)
            directory = try directory.open(component, .readOnly | .directory | .noFollow)
        }
        guard let name = key.components.last else { preconditionFailure("a key has components") }
        let draft = ".draft-" + (try Random.hexadecimal(bytes: 8))
        do throws(SystemError) {
            try directory.open(draft, .writeOnly | .create | .exclusive, mode: 0o644)
                .writeAll(Array((digest.description + "\n" + (key.source.map { $0 + "\n" } ?? "")).utf8))
            try directory.replace(draft, as: name)
        } catch {
            try? directory.removeFile(draft)  // report the first error
            throw error
        }
    }

    /// Creates a directory above a name and removes anything else of that name.
    private func makeNameDirectory(
        _ name: String, in parent: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        do throws(SystemError) {
            let status = try parent.status(of: name)
            if fault(status, .directory) == nil { return }
            if status.kind == .directory, isTrusted(status.userID) {
                return try parent.open(name, .readOnly | .directory | .noFollow).setPermissions(
                    status.permissions & ~0o022)
            }
            try parent.removeTree(name)
        } catch {
            if error.errno != Errno.ENOENT { throw error }
        }
        do throws(SystemError) { try parent.makeDirectory(name, mode: 0o755) } catch {
            if error.errno != Errno.EEXIST { throw error }
        }
    }
}
