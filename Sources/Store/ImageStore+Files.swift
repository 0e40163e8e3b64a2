package import LinuxKernel

/// Where the contents of an image file are unpacked: `squashfs/KEY/tree`. The key identifies the file and its state.
package struct UnpackedFile {
    package let tree: String
    /// Where to unpack the file if `lease` is `nil`.
    package let draft: String
    /// Protects the tree from being collected.
    package let lease: DescriptorBox?
    let key: String
    let lock: DescriptorBox?
}

/// An unpacked image file, for listing and collecting.
package struct UnpackedFileInfo: Equatable, Sendable {
    /// `squashfs/KEY`.
    package let place: String
    /// The path of the image file; empty if it was not recorded.
    package let source: String
    /// Whether the image file still exists unchanged. Otherwise no launch can use the tree.
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

    /// Returns the unpacked file, or a locked draft to unpack it to; `nil` while another process unpacks it.
    package func unpackedFile(_ key: String) throws(StoreError) -> UnpackedFile? {
        let place = Self.files + "/" + key
        func file(_ lease: DescriptorBox?, _ lock: DescriptorBox?) -> UnpackedFile {
            UnpackedFile(
                tree: "\(path)/\(place)/tree", draft: "\(path)/\(place).new/tree", lease: lease, key: key, lock: lock)
        }
        // Without the lock, for which many launches of one file would otherwise queue.
        if let lease = try leaseWhole(key) { return file(lease, nil) }
        guard let lock = try tryWorkLock(place) else { return nil }
        let lease = try leaseWhole(key)
        if lease == nil {
            try repairFiles()
            if try isHeld(place + "/lease") { throw .inUse(path: "\(path)/\(place)") }
            try mapError { () throws(SystemError) in
                let all = try root.open(Self.files, .readOnly | .directory | .noFollow)
                // This process holds the lock, so these are damaged or left by a dead process.
                try all.removeTree(key + ".new")
                try all.removeTree(key)
                try all.makeDirectory(key + ".new", mode: 0o700)
            }
        }
        return file(lease, lock.descriptor)
    }

    /// Returns `nil` for a damaged tree, too, so that the file is unpacked again.
    private func leaseWhole(_ key: String) throws(StoreError) -> DescriptorBox? {
        try sparingDamage { () throws(StoreError) in
            try isSoundTree("\(Self.files)/\(key)/tree") ? try leaseFile(key) : nil
        }
    }

    /// Removes what a failed attempt unpacked.
    package func abandon(_ file: UnpackedFile) {
        // Best effort: the caller reports the first error, and prune retries.
        try? root.removeTree("\(Self.files)/\(file.key).new")  // best effort
    }

    /// The processes that unpack this file, as far as the caller may see them.
    package func unpackers(of key: String) -> [FileHolder] { workers(on: Self.files + "/" + key) }

    private func repairFiles() throws(StoreError) {
        try mapError { () throws(SystemError) in
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

    /// Publishes a complete draft.
    ///
    /// - Parameter source: The path of the image file.
    package func publish(
        _ file: UnpackedFile, source: String
    ) throws(StoreError) -> (tree: String, lease: DescriptorBox?) {
        try mapError { () throws(SystemError) in
            let all = try root.open(Self.files, .readOnly | .directory | .noFollow)
            let draft = try all.open(file.key + ".new", .readOnly | .directory | .noFollow)
            // unsquashfs ran as the user: a root directory of mode 0700 or less would lock out the container's own
            // root.
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
                case Errno.EEXIST, Errno.ENOTEMPTY:
                    // The file system has no locks, and another process was faster.
                    try all.removeTree(file.key + ".new")
                case Errno.EINVAL: try all.move(file.key + ".new", to: file.key, in: all)  // no RENAME_NOREPLACE
                default: throw error
                }
            }
        }
        return (file.tree, try leaseFile(file.key))
    }

    private func leaseFile(_ key: String) throws(StoreError) -> DescriptorBox? {
        guard let lease = try sharedLease("\(Self.files)/\(key)/lease") else { return nil }
        // The access time records the last use, to the day.
        if let status = try? lease.descriptor.status(), Clock.now.seconds - status.accessed.seconds > 86_400 {  // skip
            try? lease.descriptor.setAccessedNow()  // likewise
        }
        return lease
    }

    /// All unpacked files of this store. A draft is listed as not current.
    package func unpackedFiles() throws(StoreError) -> [UnpackedFileInfo] {
        // The directories are readable only by their owner.
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
            let now = source.isEmpty ? nil : try? FileStatus(of: Array(source))  // gone: not current
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
