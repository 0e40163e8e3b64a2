package import ImageSpec
package import LinuxKernel

/// The unpacked images on this node. docs/explanation/architecture.md shows the layout.
///
/// Hundreds of processes may use a store at once. Each part is made as a draft and published by one `renameat2`; the
/// slower of two processes discards its draft. Locks only save work.
package final class ImageStore: Sendable {
    package let path: String
    let root: OwnedFileDescriptor
    /// Whether other users launch from this store. They cannot see which data is on disk.
    let isShared: Bool
    /// The uid of the directory's owner, accepted by `checkTrust`.
    let owner: UInt32

    private init(path: String, root: consuming OwnedFileDescriptor, owner: UInt32, isShared: Bool = false) {
        self.path = path
        self.root = root
        self.owner = owner
        self.isShared = isShared
    }

    /// Checks the owner with `Trust`, because users execute files of the store. `owner` is the uid that the site named.
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

    /// Checks the directory in which a store is about to be created.
    private static func checkParent(_ parent: String, of path: String, owner: UInt32?) throws(StoreError) {
        let fault = try mapError { () throws(SystemError) in
            let fault = try Trust(vouched: owner).fault(on: parent)
            // A sticky directory must not be a store, but a store may be created in it.
            guard let fault, case .mode(let bits) = fault.reason, bits & 0o1000 != 0, fault.path == parent else {
                return fault
            }
            return nil
        }
        if let fault { throw .untrusted(path: path, fault) }
    }

    static let version = "berth-store 1\n"
    private static let directories = ["refs", "images", "layers", "rootfs", "drafts", "locks", "mount"]
    /// Created on first use.
    private static let further = ["changes", "containers", "devices", "listing", "squashfs", "unsettled"]

    /// Opens a store for looking up and launching; returns `nil` if there is none.
    ///
    /// - Parameter owner: A user who may own the store in addition to root and the caller, by the site's configuration.
    package static func open(
        existing path: String, owner: UInt32? = nil, isShared: Bool = false
    ) throws(StoreError) -> ImageStore? {
        guard let root = try directory(path) else { return nil }
        let user = try checkTrust(root, path, owner: owner)
        let store = ImageStore(path: path, root: root, owner: user, isShared: isShared)
        // Empty, or another process has created it and not written the version yet.
        guard let found = try store.fileContents("version", limit: 4096) else { return nil }
        let expected = Array(version.utf8)
        // Truncated by a power failure soon after the store was created. A pull writes it again.
        if found.count < expected.count, expected.starts(with: found) { return nil }
        guard found == expected else { throw .unknownLayout(path: path, found: found.displayPath) }
        return store
    }

    /// Opens a store for pulling. Creates it and its parents if they are missing, and sweeps what dead pulls left.
    ///
    /// - Parameter isShared: Whether other users launch from the store.
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
            if (try? FileStatus(of: made)) != nil { continue }  // absent: create it below
            if !isChecked { try checkParent(parent, of: path, owner: owner) }
            isChecked = true
            let directory = made
            // Images contain world-writable files and directories, so a user's own store is closed to others. A store
            // of root is readable, because the site can share it.
            let isClosed = !isShared && !Identity.isRoot && component.endIndex == lastEnd
            let mode: UInt32 = isClosed ? 0o700 : 0o755
            try mapError { () throws(SystemError) in
                do throws(SystemError) {
                    try OwnedFileDescriptor(opening: "/", .path | .directory).makeDirectory(directory, mode: mode)
                } catch {
                    // Another pull may have created it.
                    if (try? FileStatus(of: directory)) == nil { throw error }  // absent: report the first error
                }
            }
        }
        var opened: ImageStore?
        do throws(StoreError) { opened = try open(existing: path, owner: owner, isShared: isShared) } catch {
            // The version file has the wrong type; it is repaired below.
            guard case .damaged = error else { throw error }
        }
        if let opened, opened.hasSoundLayout {
            opened.sweep(opened.deadDrafts())
            return opened
        }
        guard let root = try directory(path) else {
            throw .system(SystemError(call: "open", errno: Errno.ENOENT, subject: path))
        }
        let user = try checkTrust(root, path, owner: owner)
        let store = ImageStore(path: path, root: root, owner: user, isShared: isShared)
        let present = try mapError { () throws(SystemError) in try store.root.entries().map(\.displayPath) }
        let ours = directories + further
        guard present.allSatisfy({ ours.contains($0) || $0.hasPrefix("version") || $0.hasPrefix(".removed-") }) else {
            throw .notAStore(path: path)
        }
        for name in directories { try store.repairDirectory(name) }
        if opened != nil { return store }
        try mapError { () throws(SystemError) in
            // The version is written last, so that a store with a version is complete.
            let draft = "version." + (try Random.hexadecimal(bytes: 8))
            try store.root.open(draft, .writeOnly | .create | .exclusive, mode: 0o644).writeAll(Array(version.utf8))
            try store.root.replace(draft, as: "version")
        }
        return store
    }

    private var hasSoundLayout: Bool {
        // `repairDirectory` repairs or reports what is wrong.
        Self.directories.allSatisfy { (try? isSoundDirectory($0)) == true }  // unsound
    }

    /// Repairs a directory of the layout. Moves anything else of that name aside, which another user may have put
    /// there.
    private func repairDirectory(_ name: String) throws(StoreError) {
        let mode: UInt32 = name == "locks" ? 0o700 : 0o755
        try mapError { () throws(SystemError) in
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
                try? root.removeTree(aside)  // another user's: it stays
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

    /// Returns `nil` if the file is absent.
    func optional<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(StoreError) -> Value? {
        do throws(SystemError) { return try body() } catch {
            if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR { return nil }
            throw .system(error)
        }
    }

    /// An existing directory on which a launch may mount in its own namespace.
    package var mountPoint: String { path + "/mount" }

    /// Whether each call on the store waits for a server, as on NFS and Lustre.
    package var isRemote: Bool {
        // If unknown, treat it as local; a wrong answer only costs time.
        guard let type = try? root.fileSystemType() else { return false }  // unknown: local
        return FileSystemType.remote(type) != nil
    }
}

/// An image found in a store. It is protected from being collected while the lease, or a copy in another process, is
/// open.
package struct ImageLease: ~Copyable {
    package let record: LaunchRecord
    /// Absolute paths, lowest layer first.
    package let trees: [String]
    package let box: DescriptorBox
    /// The leases of layers in other stores.
    package let layers: [DescriptorBox]
    /// An existing directory on which a launch may mount in its own namespace.
    package let mountPoint: String
}

extension ImageStore {
    /// Looks an image up by name. Reads two small files; parses no JSON and uses no network.
    package func lease(_ key: ImageKey) throws(StoreError) -> ImageLease? {
        guard let digest = try digest(of: key) else { return nil }
        return try lease(digest)
    }

    /// The manifest that a name refers to at present.
    package func digest(of key: ImageKey) throws(StoreError) -> Digest? {
        guard let bytes = try fileContents("refs/" + key.path, limit: Self.largestName) else { return nil }
        // A power failure can leave a recently written file empty.
        if bytes.isEmpty { return nil }
        guard let digest = Self.digest(inName: bytes) else {
            throw .damaged(path: "\(path)/refs/\(key.path)", reason: "not a digest")
        }
        return digest
    }

    /// The maximum size of a name's file, in bytes.
    static let largestName = 8192

    /// Parses a name's file: one line with the digest and, for a layout or an archive, another with its path.
    static func digest(inName bytes: [UInt8]) -> Digest? {
        try? Digest(parsing: Array(bytes.prefix { $0 != 0x0A }).displayPath)  // malformed: none
    }

    /// The second line of a name's file.
    static func source(inName bytes: [UInt8]) -> String? {
        let lines = bytes.split(separator: 0x0A, maxSplits: 2, omittingEmptySubsequences: false)
        return lines.count > 1 && !lines[1].isEmpty ? Array(lines[1]).displayPath : nil
    }

    /// Looks an image up by the digest of its manifest.
    package func lease(_ digest: Digest) throws(StoreError) -> ImageLease? {
        let directory = "images/" + digest.directoryName
        // Launches hold the lease shared; a collection acquires it exclusively. Acquire it before reading the record,
        // so that the parts cannot be collected in between.
        guard let lease = try sharedLease(directory + "/lease"),
            let file = try openFile(directory + "/record", limit: Self.largestRecord),
            let bytes = try optional({ () throws(SystemError) in
                let status = try file.status()
                let bytes = try file.read(exactly: Int(min(max(status.size, 0), Self.largestRecord)))
                Self.noteUse(file, status)
                return bytes
            })
        else { return nil }
        // A power failure can leave a recently written file empty.
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
            // If another store has lost the layer, the image counts as missing, and a pull repairs it.
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

    /// The maximum size of a record, in bytes: far more than `ImageConfig.Execution.maximumBytes` and the trees need.
    static let largestRecord: Int64 = 32 << 20

    /// Protects a layer of another store from being collected; returns `nil` if it is gone.
    static func hold(_ tree: String) throws(StoreError) -> DescriptorBox? {
        let base = String(tree.dropLast("/tree".count))
        let path = base + "/summary"
        let held = try sharedLease(
            path, { () throws(StoreError) in try layer(base)?.openFile("summary") }
        ) { (file) throws(SystemError) in
            // Compare by path, because a collection moves the directory and leaves the file's own name unchanged.
            let now = try? FileStatus(of: path, followLinks: false)  // absent: moved
            return try now?.inode == file.status().inode
        }
        guard let file = held else { return nil }
        // If its times are unreadable, the layer is still protected.
        if let status = try? file.descriptor.status(), !isNoted(status) {  // unreadable: skip
            // Reading updates the access time, which records the use if locks do not work across nodes.
            var byte: UInt8 = 0
            _ = withUnsafeMutableBytes(of: &byte) { try? file.descriptor.read(into: $0, at: 0) }  // best effort
            noteUse(file.descriptor, status)
        }
        return try layer(base)?.isSoundTree("tree") == true ? file : nil
    }

    /// Opens the directory of one layer in another store. Only its owner may be able to write it.
    static func layer(_ path: String) throws(StoreError) -> ImageStore? {
        guard let directory = try directory(path) else { return nil }
        let status = try mapError { () throws(SystemError) in try directory.status() }
        let layer = ImageStore(path: path, root: directory, owner: status.userID, isShared: true)
        if let reason = layer.fault(status, .directory) { throw .damaged(path: path, reason: reason) }
        return layer
    }

    private static func isNoted(_ status: FileStatus) -> Bool {
        Clock.now.seconds - max(status.accessed.seconds, status.modified.seconds) < 86_400
    }

    /// Sets the access time, at most once a day, because `noatime` or a network client's cache can keep a read from
    /// updating it. Skips local block devices, the only file systems with a major number, to save the call. See
    /// docs/explanation/decisions/collection-and-locks.md
    private static func noteUse(_ file: borrowing OwnedFileDescriptor, _ status: FileStatus) {
        guard !status.isOnBlockDevice, !isNoted(status) else { return }
        // Fails on another user's file, for which the read must suffice.
        try? file.setAccessedNow()  // another user's
    }
}
