package import LinuxKernel

/// A place for what an image file holds, `squashfs/KEY/tree`; the key says which file, and which state of it.
package struct UnpackedFile {
    package let tree: String
    /// Where to unpack to, where `lease` is `nil`.
    package let draft: String
    /// Keeps it from being removed.
    package let lease: DescriptorBox?
    let key: String
    let lock: DescriptorBox?
}

/// An image file as it is unpacked in the store, for listing and collecting.
package struct UnpackedFileInfo: Equatable, Sendable {
    /// `squashfs/KEY`.
    package let place: String
    /// The file that it was unpacked from; empty where that was not noted.
    package let source: String
    /// Whether the file is still there as it was. Otherwise nothing can use what was unpacked.
    package let isCurrent: Bool
    package let bytes: UInt64
    /// Seconds since 1970.
    package let created: Int64
    package let lastUse: Int64
}

extension ImageStore {
    private static let files = "squashfs"

    /// The key of a file in its present state.
    package static func fileKey(_ status: FileStatus) -> String { ImageKey.fingerprint(status) }

    /// The file as it was unpacked, or a draft to unpack it to, locked; `nil` while another process unpacks it.
    package func unpackedFile(_ key: String) throws(StoreError) -> UnpackedFile? {
        let place = Self.files + "/" + key
        func file(_ lease: DescriptorBox?, _ lock: DescriptorBox?) -> UnpackedFile {
            UnpackedFile(
                tree: "\(path)/\(place)/tree", draft: "\(path)/\(place).new/tree", lease: lease, key: key, lock: lock)
        }
        // Without the lock, which many launches of one file would pass from hand to hand.
        if let lease = try leaseWhole(key) { return file(lease, nil) }
        guard let lock = try tryWorkLock(place) else { return nil }
        let lease = try leaseWhole(key)
        if lease == nil {
            try repairFiles()
            try storing { () throws(SystemError) in
                let all = try root.open(Self.files, .readOnly | .directory | .noFollow)
                // Under the lock: what has these names is of a process that died, or damaged.
                try all.removeTree(key + ".new")
                try all.removeTree(key)
                try all.makeDirectory(key + ".new", mode: 0o700)
            }
        }
        return file(lease, lock.descriptor)
    }

    /// `nil` for what is damaged, too: to be unpacked again.
    private func leaseWhole(_ key: String) throws(StoreError) -> DescriptorBox? {
        try sparingDamage { () throws(StoreError) in
            try isSoundTree("\(Self.files)/\(key)/tree") ? try leaseFile(key) : nil
        }
    }

    /// Removes what was unpacked of a file before that failed.
    package func abandon(_ file: UnpackedFile) {
        // The first error is the one to report; prune tries again.
        try? root.removeTree("\(Self.files)/\(file.key).new")
    }

    /// Who unpacks a file at present, as far as the caller may see.
    package func unpackers(of key: String) -> [FileHolder] {
        // To be told to people: without a lock file there is nobody.
        guard let lock = try? openFile("locks/" + Self.lockName(Self.files + "/" + key)) else { return [] }
        return FileHolder.all(of: lock)
    }

    private func repairFiles() throws(StoreError) {
        try storing { () throws(SystemError) in
            do throws(SystemError) {
                let status = try root.status(of: Self.files)
                if status.kind == .directory, isTrusted(status.userID) {
                    if status.permissions & 0o022 != 0 { try root.setPermissions(of: Self.files, 0o700) }
                    return
                }
                try root.removeTree(Self.files)
            } catch {
                if error.errno != Errno.ENOENT { throw error }
            }
            do throws(SystemError) { try root.makeDirectory(Self.files, mode: 0o700) } catch {
                if error.errno != Errno.EEXIST { throw error }
            }
        }
    }

    /// What lies in the draft is whole.
    ///
    /// - Parameter source: The file that it was unpacked from.
    package func publish(
        _ file: UnpackedFile, source: String
    ) throws(StoreError) -> (tree: String, lease: DescriptorBox?) {
        try storing { () throws(SystemError) in
            let all = try root.open(Self.files, .readOnly | .directory | .noFollow)
            let draft = try all.open(file.key + ".new", .readOnly | .directory | .noFollow)
            // Unpacked as the user, a root of mode 0700 or less would hide the tree from the container's own root.
            let permissions = try draft.status(of: "tree").permissions
            try draft.setPermissions(of: "tree", permissions & 0o1777 | 0o755)
            _ = try draft.open("lease", .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
            let bytes = try Self.count(try draft.open("tree", .readOnly | .directory | .noFollow))
            for (name, text) in [("source", source), ("bytes", "\(bytes)")] {
                try draft.open(name, .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
                    .writeAll(Array((text + "\n").utf8))
            }
            do throws(SystemError) { try all.moveWithoutReplacing(file.key + ".new", to: file.key, in: all) } catch {
                switch error.errno {
                case Errno.EEXIST, Errno.ENOTEMPTY: try all.removeTree(file.key + ".new")  // no locks, and another was first
                case Errno.EINVAL: try all.move(file.key + ".new", to: file.key, in: all)  // no RENAME_NOREPLACE
                default: throw error
                }
            }
        }
        return (file.tree, try leaseFile(file.key))
    }

    private func leaseFile(_ key: String) throws(StoreError) -> DescriptorBox? {
        guard let lease = try sharedLease("\(Self.files)/\(key)/lease") else { return nil }
        // Its access time is when the file was used last, to the day.
        if let status = try? lease.descriptor.status(), Clock.now.seconds - status.accessed.seconds > 86_400 {  // noted later
            try? lease.descriptor.setAccessedNow()  // likewise
        }
        return lease
    }

    /// All that were unpacked here. A draft counts as one that nothing can use.
    package func unpackedFiles() throws(StoreError) -> [UnpackedFileInfo] {
        // They are readable by their owner alone.
        guard isCallers || Identity.isRoot,
            let keys = try sparingDamage({ () throws(StoreError) in try entries(Self.files) })
        else { return [] }
        var files: [UnpackedFileInfo] = []
        for key in keys {
            let place = Self.files + "/" + key
            let lease = try optional { () throws(SystemError) in try root.status(of: place + "/lease") }
            guard let own = try optional({ () throws(SystemError) in try root.status(of: place) }) else { continue }
            let noted = try sparingDamage { () throws(StoreError) in
                try fileContents(place + "/source", limit: 1 << 16)
            }
            let source = (noted ?? []).prefix { $0 != 0x0A }
            let now = source.isEmpty ? nil : try? FileStatus(of: Array(source))  // gone: nothing can use it
            let isDraft = key.hasSuffix(".new")
            files.append(
                UnpackedFileInfo(
                    place: place, source: String(decoding: source, as: UTF8.self),
                    isCurrent: !isDraft && (now.map { Self.fileKey($0) == key } ?? (lease != nil && source.isEmpty)),
                    bytes: try bytes(of: place), created: own.modified.seconds,
                    lastUse: max(lease?.accessed.seconds ?? 0, own.modified.seconds)))
        }
        return files
    }
}
