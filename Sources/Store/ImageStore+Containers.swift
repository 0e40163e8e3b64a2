package import LinuxKernel

/// A container whose files outlive its step: `containers/NAME/{upper,work,record,lease}` below the store. `upper`
/// receives the container's writes and lies over the trees of the image that `record` names.
package struct NamedContainer: Sendable {
    package let path: String
    /// Every process of the container holds a shared lock on it.
    package let lease: DescriptorBox
    /// The image as the user wrote it.
    package let image: String
    /// The digest of the manifest; empty if the image has none.
    package let digest: String
}

extension ImageStore {
    /// Opens the store and creates it if it is missing.
    package static func openOrCreate(_ path: String) throws(StoreError) -> ImageStore {
        if let store = try open(existing: path) { return store }
        return try open(creating: path)
    }

    /// The lock of the process that creates or removes this container; `nil` while another process holds it.
    package func tryLockContainer(_ name: String) throws(StoreError) -> WorkLock? {
        try tryWorkLock("containers/" + name)
    }

    /// The processes that have the lock of a container's name open.
    package func containerLockHolders(_ name: String) -> [FileHolder] { workers(on: "containers/" + name) }

    package func container(_ name: String) throws(StoreError) -> NamedContainer? {
        let directory = "containers/" + name
        // Opened for writing, because the same descriptor takes the exclusive lock of a decision and the shared lock of
        // a use.
        guard let lease = try openFile(directory + "/lease", .readWrite),
            let bytes = try fileContents(directory + "/record", limit: 65536)
        else {
            // Both are published before the first write in the container, but a cleaner of scratch space may remove
            // them. The files that are left must not be taken for those of an interrupted creation.
            if try holdsFiles(directory + "/upper") {
                throw damaged(directory, "its record or lease is missing, but it holds files")
            }
            return nil
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 3, lines[0] == "berth-container-record 1" else {
            throw damaged(directory + "/record", "not a container's record of this version")
        }
        for part in ["/upper", "/work"] {
            guard try isSoundTree(directory + part) else { throw damaged(directory + part, "missing") }
        }
        return NamedContainer(
            path: "\(path)/\(directory)", lease: DescriptorBox(lease), image: String(lines[1]),
            digest: String(lines[2]))
    }

    private func holdsFiles(_ directory: String) throws(StoreError) -> Bool {
        try optional { () throws(SystemError) in
            do throws(SystemError) {
                return try !root.open(directory, .readOnly | .directory | .noFollow).entries().isEmpty
            } catch {
                if error.errno == Errno.EACCES { return true }  // closed by the image, so it may hold files
                throw error
            }
        } ?? false
    }

    /// Creates a container. The caller holds the lock of its name, and `container` found none.
    ///
    /// Removes a directory of that name that has no record and holds no files, because its creation was interrupted.
    ///
    /// - Parameter tree: The root directory of the image. The container's root directory gets its owner and mode.
    package func makeContainer(
        _ name: String, image: String, digest: String, root tree: String? = nil
    ) throws(StoreError) -> NamedContainer {
        guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/") else {
            throw .system(SystemError(call: "mkdir", errno: Errno.EINVAL, subject: "\(path)/containers/\(name)"))
        }
        _ = try container(name)  // throws if files would be lost
        if try isHeld("containers/\(name)/lease") { throw .inUse(path: "\(path)/containers/\(name)") }
        // absent: use the default mode
        let status = tree.flatMap { try? FileStatus(of: $0) }  // absent
        let made: Void? = try optional { () throws(SystemError) in
            do throws(SystemError) { try root.makeDirectory("containers", mode: 0o700) } catch {
                if error.errno != Errno.EEXIST { throw error }
            }
            let all = try root.open("containers", .readOnly | .directory | .noFollow)
            try all.removeTree(name)
            try all.makeDirectory(name, mode: 0o700)
            let own = try all.open(name, .readOnly | .directory | .noFollow)
            try own.makeDirectory("upper", mode: 0o755)
            if let status {
                if Identity.isRoot { try own.setOwner(of: "upper", user: status.userID, group: status.groupID) }
                try own.setPermissions(of: "upper", status.permissions & 0o1777)
            }
            try own.makeDirectory("work", mode: 0o755)
            _ = try own.open("lease", .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
            let record = try own.open("record.new", .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
            try record.writeAll(Array("berth-container-record 1\n\(image)\n\(digest)\n".utf8))
            try own.move("record.new", to: "record", in: own)
        }
        guard made != nil, let container = try container(name) else {
            throw .system(SystemError(call: "open", errno: Errno.ENOENT, subject: "\(path)/containers/\(name)"))
        }
        return container
    }

    /// Removes the containers that no process uses and whose name satisfies `isOver`.
    package func removeContainers(where isOver: (String) -> Bool) throws(StoreError) {
        var first: StoreError?
        for name in try containerNames() where isOver(name) {
            // Continue with the others if one fails.
            do throws(StoreError) { _ = try removeContainer(name) } catch { first = first ?? error }
        }
        if let first { throw first }
    }

    package func containerNames() throws(StoreError) -> [String] {
        guard try isSoundDirectory("containers") else { return [] }
        return try mapError { () throws(SystemError) in
            // Berth makes no other names, and this is the only spelling by which a container can be removed.
            try root.open("containers", .readOnly | .directory | .noFollow).entries()
                .compactMap { String(validating: $0, as: UTF8.self) }.sorted()
        }
    }

    package enum Removal: Equatable, Sendable {
        case removed, absent
        /// A process runs in it, or a step is creating it.
        case inUse
    }

    /// Removes a container unless it is in use, including the directory of mode 000 that overlayfs leaves in `work`.
    package func removeContainer(_ name: String, dryRun: Bool = false) throws(StoreError) -> Removal {
        guard !name.isEmpty, name != ".", name != "..", !name.utf8.contains(UInt8(ascii: "/")),
            try isSoundDirectory("containers"),
            try optional({ () throws(SystemError) in try root.status(of: "containers/" + name) }) != nil
        else { return .absent }
        guard let lock = try tryWorkLock("containers/" + name) else { return .inUse }
        defer { withExtendedLifetime(lock.descriptor) {} }
        // A damaged lease protects nothing.
        let lease = try sparingDamage { () throws(StoreError) in try openLease("containers/\(name)/lease") }
        if let lease {
            let isFree: Bool = try mapError { () throws(SystemError) in
                do throws(SystemError) { return try lease.descriptor.tryLock(.exclusive) } catch {
                    if error.meansNoLocks { return false }
                    throw error
                }
            }
            if !isFree { return .inUse }
        }
        if dryRun { return .removed }
        return try mapError { () throws(SystemError) in
            let all = try root.open("containers", .readOnly | .directory | .noFollow)
            // Move it away first, so that a step that starts now creates a new container. Its root directory may be
            // mode 000.
            let drafts = try root.open("drafts", .readOnly | .directory | .noFollow)
            let aside = "removed-" + (try Random.hexadecimal(bytes: 8))
            try all.move(name, to: aside, in: drafts)
            try drafts.removeTree(aside)
            return .removed
        }
    }

    /// All containers of the store, by name.
    package func containers() throws(StoreError) -> [ContainerInfo] {
        var result: [ContainerInfo] = []
        for name in try containerNames() {
            let place = "containers/" + name
            var found = ContainerInfo(name: name, path: "\(path)/\(place)")
            // List a damaged container rather than hide the others behind an error.
            if let container = try sparingDamage({ () throws(StoreError) in try container(name) }) {
                (found.image, found.digest) = (container.image, container.digest)
                found.isDamaged = false
                found.lease = container.lease
                found.isRunning = try isHeld(place + "/lease")
            }
            for part in ["", "/upper", "/work", "/lease"] {
                guard let status = try optional({ () throws(SystemError) in try root.status(of: place + part) }) else {
                    continue
                }
                found.lastUse = max(found.lastUse, status.modified.seconds)
                if part == "/lease" { found.created = status.modified.seconds }
            }
            found.bytes =
                try optional { () throws(SystemError) in
                    do throws(SystemError) {
                        return try Self.count(try root.open(place + "/upper", .readOnly | .directory | .noFollow))
                    } catch {
                        if error.errno == Errno.EACCES { return 0 }  // the image's root directory is closed
                        throw error
                    }
                } ?? 0
            result.append(found)
        }
        return result
    }
}

/// A named container as `berth containers` lists it.
package struct ContainerInfo: Sendable {
    package let name: String
    package let path: String
    /// The image as the user wrote it.
    package var image = ""
    package var digest = ""
    package var isRunning = false
    /// The record or the lease is unreadable, so no step can start the container.
    package var isDamaged = true
    package var bytes: UInt64 = 0
    /// Seconds since 1970.
    package var created: Int64 = 0
    package var lastUse: Int64 = 0
    /// Identifies the processes that use the container.
    package var lease: DescriptorBox?

    init(name: String, path: String) { (self.name, self.path) = (name, path) }
}
