package import ImageSpec
package import LinuxKernel

/// The images on this node, unpacked: docs/explanation/architecture.md shows the layout.
///
/// Safe with hundreds of processes. Everything is made as a draft and published by one `renameat2`; whoever comes
/// second throws his draft away. Locks only save work.
package final class ImageStore: Sendable {
    package let path: String
    let root: OwnedFileDescriptor
    /// Whether others use what is in it: they can not tell what is on disk already.
    let isShared: Bool
    /// The uid that the directory belongs to, which `checkTrust` has accepted.
    let owner: UInt32

    private init(path: String, root: consuming OwnedFileDescriptor, owner: UInt32, isShared: Bool = false) {
        self.path = path
        self.root = root
        self.owner = owner
        self.isShared = isShared
    }

    /// A store holds what others execute: `Trust` decides who may own it, with the user whom the site named.
    private static func checkTrust(
        _ root: borrowing OwnedFileDescriptor, _ path: String, owner: UInt32?
    ) throws(StoreError) -> UInt32 {
        let trust = Trust(vouched: owner)
        let (fault, user): (UntrustedPath?, UInt32)
        do throws(SystemError) {
            let status = try root.status()
            user = status.userID
            let own = trust.fault(of: status, at: path)
            fault = own == nil ? try trust.fault(on: path) : own
        } catch {
            throw .system(error)
        }
        if let fault { throw .untrusted(path: path, fault) }
        return user
    }

    /// Of the directory in which a store is about to be made.
    private static func checkParent(_ parent: String, of path: String, owner: UInt32?) throws(StoreError) {
        let fault = try storing { () throws(SystemError) in
            let fault = try Trust(vouched: owner).fault(on: parent)
            // A sticky directory is no place for a store's files, and one to make a directory in.
            guard let fault, case .mode(let bits) = fault.reason, bits & 0o1000 != 0, fault.path == parent else {
                return fault
            }
            return nil
        }
        if let fault { throw .untrusted(path: path, fault) }
    }

    static let version = "berth-store 1\n"
    private static let directories = ["refs", "images", "layers", "rootfs", "drafts", "locks", "mount"]
    /// Made when there is something for them.
    private static let further = ["changes", "containers", "devices", "listing", "squashfs", "unsettled"]

    /// Opens a store for looking up and launching; `nil` where there is none.
    ///
    /// - Parameter owner: Whose store the site lets be trusted, besides root's and the caller's own.
    package static func open(
        existing path: String, owner: UInt32? = nil, isShared: Bool = false
    ) throws(StoreError) -> ImageStore? {
        guard let root = try directory(path) else { return nil }
        let user = try checkTrust(root, path, owner: owner)
        let store = ImageStore(path: path, root: root, owner: user, isShared: isShared)
        // Empty, or made this instant by a process that has not come to write the version yet.
        guard let found = try store.fileContents("version", limit: 4096) else { return nil }
        let expected = Array(version.utf8)
        // Cut short, by a power cut soon after the store was made: a pull writes it again.
        if found.count < expected.count, expected.starts(with: found) { return nil }
        guard found == expected else { throw .unknownLayout(path: path, found: found.displayPath) }
        return store
    }

    /// Opens a store for pulling, made with its parents where it is missing, and sweeps what dead pulls left in it.
    ///
    /// - Parameter isShared: Whether others use what is pulled into it.
    package static func open(
        creating path: String, owner: UInt32? = nil, isShared: Bool = false
    ) throws(StoreError) -> ImageStore {
        var made = ""
        var isChecked = false
        let components = path.utf8.split(separator: UInt8(ascii: "/"))
        let lastEnd = components.last?.endIndex
        for component in components {
            let parent = made.isEmpty ? "/" : made
            made += "/" + String(path[component.startIndex..<component.endIndex])
            if (try? FileStatus(of: made)) != nil { continue }  // absent, or to be made: see below
            if !isChecked { try checkParent(parent, of: path, owner: owner) }
            isChecked = true
            let directory = made
            // Images have files and directories that everyone may write to: a user's own store is closed. Root's may be read by
            // others once the site names it.
            let isClosed = !isShared && !Identity.isRoot && component.endIndex == lastEnd
            let mode: UInt32 = isClosed ? 0o700 : 0o755
            try storing { () throws(SystemError) in
                do throws(SystemError) {
                    try OwnedFileDescriptor(opening: "/", .path | .directory).makeDirectory(directory, mode: mode)
                } catch {
                    // Another pull may have made it.
                    if (try? FileStatus(of: directory)) == nil { throw error }  // absent: the first error tells why
                }
            }
        }
        var opened: ImageStore?
        do throws(StoreError) { opened = try open(existing: path, owner: owner, isShared: isShared) } catch {
            // The version file is no file: repaired below.
            guard case .damaged = error else { throw error }
        }
        if let opened, opened.hasSoundLayout {
            opened.sweepDrafts()
            return opened
        }
        guard let root = try directory(path) else {
            throw .system(SystemError(call: "open", errno: Errno.ENOENT, subject: path))
        }
        let user = try checkTrust(root, path, owner: owner)
        let store = ImageStore(path: path, root: root, owner: user, isShared: isShared)
        let present = try storing { () throws(SystemError) in try store.root.entries().map(\.displayPath) }
        let ours = directories + further
        guard present.allSatisfy({ ours.contains($0) || $0.hasPrefix("version") || $0.hasPrefix(".removed-") }) else {
            throw .notAStore(path: path)
        }
        for name in directories { try store.repairDirectory(name) }
        if opened != nil { return store }
        try storing { () throws(SystemError) in
            // Last, so that a store with a version is whole.
            let draft = "version." + (try Random.hexadecimal(bytes: 8))
            try store.root.open(draft, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(Array(version.utf8))
            try store.root.replace(draft, as: "version")
        }
        return store
    }

    private var hasSoundLayout: Bool {
        // What is wrong with a directory is repaired, or named, by `repairDirectory`.
        Self.directories.allSatisfy { (try? isSoundDirectory($0)) == true }
    }

    /// Makes a directory of the layout what it must be. What another user may have put in its place is moved aside.
    private func repairDirectory(_ name: String) throws(StoreError) {
        let mode: UInt32 = name == "locks" ? 0o700 : 0o755
        try storing { () throws(SystemError) in
            do throws(SystemError) {
                let status = try root.status(of: name)
                if status.kind == .directory, isTrusted(status.userID) {
                    if status.permissions & 0o022 != 0 {
                        try root.open(name, .readOnly | .directory | .noFollow).setPermissions(
                            status.permissions & ~0o022)
                    }
                    return
                }
                let aside = ".removed-" + (try Random.hexadecimal(bytes: 8))
                try root.move(name, to: aside, in: root)
                try? root.removeTree(aside)  // of another user, perhaps, who can remove it
            } catch {
                if error.errno != Errno.ENOENT { throw error }
            }
            do throws(SystemError) {
                try root.makeDirectory(name, mode: mode)
                try giveToOwner(try root.open(name, .readOnly | .directory | .noFollow))
            } catch {
                if error.errno != Errno.EEXIST { throw error }
            }
        }
    }

    private static func directory(_ path: String) throws(StoreError) -> OwnedFileDescriptor? {
        do throws(SystemError) { return try OwnedFileDescriptor(opening: path, .readOnly | .directory) } catch {
            if error.errno == Errno.ENOENT { return nil }
            throw .system(error)
        }
    }

    /// `nil` for what is not there.
    func optional<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(StoreError) -> Value? {
        do throws(SystemError) { return try body() } catch {
            if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR { return nil }
            throw .system(error)
        }
    }

    /// An existing directory that a launch may cover with its own mounts, in its own namespace.
    package var mountPoint: String { path + "/mount" }

    /// Whether each call on the store waits for a server: on NFS, Lustre and their like.
    package var isRemote: Bool {
        // Not to be told: like a local one, which costs time and nothing else.
        guard let type = try? root.fileSystemType() else { return false }
        return FileSystemType.remote(type) != nil
    }
}

/// An image found in a store, kept from being collected as long as the lease, or a copy of it in another process, is
/// open.
package struct ImageLease: ~Copyable {
    package let record: LaunchRecord
    /// Absolute paths, lowest first.
    package let trees: [String]
    package let box: DescriptorBox
    /// Of layers that lie in another store, each held by itself.
    package let layers: [DescriptorBox]
    /// An existing directory that a launch may cover with its own mounts, in its own namespace.
    package let mountPoint: String
}

extension ImageStore {
    /// Looks an image up by the name it was asked for. Two small files are read; no JSON, no network.
    package func lease(_ key: ImageKey) throws(StoreError) -> ImageLease? {
        guard let digest = try digest(of: key) else { return nil }
        return try lease(digest)
    }

    /// The manifest that a name stands for at present.
    package func digest(of key: ImageKey) throws(StoreError) -> Digest? {
        guard let bytes = try fileContents("refs/" + key.path, limit: Self.largestName) else { return nil }
        // What a power cut leaves of a small file that was just written.
        if bytes.isEmpty { return nil }
        guard let digest = Self.digest(inName: bytes) else {
            throw .damaged(path: "\(path)/refs/\(key.path)", reason: "not a digest")
        }
        return digest
    }

    /// Bytes of the file of a name.
    static let largestName = 8192

    /// What the file of a name holds: a line with the digest; for a layout or an archive, another with its path.
    static func digest(inName bytes: [UInt8]) -> Digest? {
        try? Digest(parsing: Array(bytes.prefix { $0 != 0x0A }).displayPath)  // malformed: none
    }

    /// The second line.
    static func source(inName bytes: [UInt8]) -> String? {
        let lines = bytes.split(separator: 0x0A, maxSplits: 2, omittingEmptySubsequences: false)
        return lines.count > 1 && !lines[1].isEmpty ? Array(lines[1]).displayPath : nil
    }

    /// An image by the digest of its manifest.
    package func lease(_ digest: Digest) throws(StoreError) -> ImageLease? {
        let directory = "images/" + digest.directoryName
        // Shared by all who run the image; collection asks for it alone. Taken before the record is read, so that
        // what the record names can not go between the two.
        guard let lease = try sharedLease(directory + "/lease"),
            let file = try openFile(directory + "/record", limit: Self.largestRecord),
            let bytes = try optional({ () throws(SystemError) in
                let status = try file.status()
                let bytes = try file.read(exactly: Int(min(max(status.size, 0), Self.largestRecord)))
                Self.noteUse(file, status)
                return bytes
            })
        else { return nil }
        // What a power cut leaves of a small file that was just written.
        if bytes.isEmpty { return nil }
        guard let record = LaunchRecord(decoding: bytes) else {
            throw damaged(directory + "/record", "not a launch record of this version")
        }
        guard record.digest == digest else {
            throw damaged(directory + "/record", "the record of another image, \(record.digest)")
        }
        guard record.isOnDiskOrOfThisBoot else { return nil }
        let base = path
        var layers: [DescriptorBox] = []
        for tree in record.trees where tree.utf8.first == UInt8(ascii: "/") {
            // Gone from the other store: the image is as good as missing, and a pull makes it whole again.
            guard let held = try Self.hold(tree) else { return nil }
            layers.append(held)
        }
        for tree in record.trees where tree.utf8.first != UInt8(ascii: "/") {
            guard try isSoundTree(tree) else { return nil }
        }
        guard try isSoundDirectory("mount") else { throw damaged("mount", "missing") }
        return ImageLease(
            record: record, trees: record.trees.map { $0.utf8.first == UInt8(ascii: "/") ? $0 : base + "/" + $0 },
            box: lease, layers: layers, mountPoint: mountPoint)
    }

    /// Bytes of a record, when it is written and when it is read. Far above what `ImageConfig.Execution.maximumBytes` and
    /// the trees of an image come to.
    static let largestRecord: Int64 = 32 << 20

    /// Keeps a layer of another store from being collected; `nil` where it is gone.
    static func hold(_ tree: String) throws(StoreError) -> DescriptorBox? {
        let base = String(tree.dropLast("/tree".count))
        let path = base + "/summary"
        let held = try sharedLease(
            path, { () throws(StoreError) in try layer(base)?.openFile("summary") }
        ) { (file) throws(SystemError) in
            // Moved out of sight before the lock was acquired: by path, as the directory goes along.
            let now = try? FileStatus(of: path, followLinks: false)  // absent: moved
            return try now?.inode == file.status().inode
        }
        guard let file = held else { return nil }
        // It is held all the same where its times can not be told.
        if let status = try? file.descriptor.status(), !isNoted(status) {
            // Read for the sake of its access time, which tells of its use where locks do not.
            var byte: UInt8 = 0
            _ = withUnsafeMutableBytes(of: &byte) { try? file.descriptor.read(into: $0, at: 0) }
            noteUse(file.descriptor, status)
        }
        return try layer(base)?.isSoundTree("tree") == true ? file : nil
    }

    /// The directory of one layer, in a store that is known by nothing else: one that its owner alone can write.
    private static func layer(_ path: String) throws(StoreError) -> ImageStore? {
        guard let directory = try directory(path) else { return nil }
        let status = try storing { () throws(SystemError) in try directory.status() }
        let layer = ImageStore(path: path, root: directory, owner: status.userID, isShared: true)
        if let reason = layer.fault(status, .directory) { throw .damaged(path: path, reason: reason) }
        return layer
    }

    private static func isNoted(_ status: FileStatus) -> Bool {
        Clock.now.seconds - max(status.accessed.seconds, status.modified.seconds) < 86_400
    }

    /// Where reading may not tell of itself, with `noatime` or from a network client's cache, the access time is set, once
    /// a day. Disks of this node, which alone have a major number, are spared the call.
    /// docs/explanation/decisions/collection-and-locks.md
    private static func noteUse(_ file: borrowing OwnedFileDescriptor, _ status: FileStatus) {
        guard !status.isOnBlockDevice, !isNoted(status) else { return }
        // Somebody else's: left to the reading.
        try? file.setAccessedNow()
    }
}
