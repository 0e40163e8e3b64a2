internal import LinuxKernel

/// Everything below a store's root is potentially hostile input. Types, owners and modes must be those that Berth
/// creates; a FIFO, a link or another user's file is an error with its path. The next pull repairs it.
extension ImageStore {
    /// Opens a file of the store without blocking; returns `nil` if it is absent.
    ///
    /// - Throws: `StoreError.damaged` if it is not a regular file, or if a user whom the store does not trust owns or
    ///   can write it or a directory above it.
    func openFile(
        _ place: String, _ flags: OpenFlags = .readOnly, limit: Int64 = .max
    ) throws(StoreError) -> OwnedFileDescriptor? {
        guard try isSoundPath(to: place), let status = try sound(place, .regular) else { return nil }
        if status.size > limit {
            throw damaged(place, "its size is \(status.size) bytes, more than the limit of \(limit)")
        }
        return try optional { () throws(SystemError) in try root.open(place, flags | .noFollow | .nonBlocking) }
    }

    /// To find out who holds it. That counts, whatever became of modes: `chmod -R g+w` takes no lease from those who hold it.
    func openLease(_ place: String) throws(StoreError) -> DescriptorBox? {
        do throws(StoreError) {
            guard let file = try openFile(place, .readWrite) else { return nil }
            return DescriptorBox(file)
        } catch {
            guard case .damaged = error, try isOfTrusted(place) else { throw error }
        }
        return try optional { () throws(SystemError) in
            DescriptorBox(try root.open(place, .readWrite | .noFollow | .nonBlocking))
        }
    }

    /// Whether a file and the directories above it are those of users whom the store trusts.
    private func isOfTrusted(_ place: String) throws(StoreError) -> Bool {
        var ends = place.utf8.indices.filter { place.utf8[$0] == UInt8(ascii: "/") }
        ends.append(place.utf8.endIndex)
        for end in ends {
            let path = String(place[..<end])
            guard let status = try optional({ () throws(SystemError) in try root.status(of: path) }),
                status.kind == (end == place.utf8.endIndex ? .regular : .directory), isTrusted(status.userID)
            else { return false }
        }
        return true
    }

    /// The contents of a file of the store; `nil` if it is absent.
    func fileContents(_ place: String, limit: Int) throws(StoreError) -> [UInt8]? {
        guard let file = try openFile(place, limit: Int64(limit)) else { return nil }
        return try optional { () throws(SystemError) in try file.readAll(limit: limit) }
    }

    /// Whether a directory of the store exists as Berth creates it.
    func isSoundDirectory(_ place: String) throws(StoreError) -> Bool {
        guard try isSoundPath(to: place) else { return false }
        return try sound(place, .directory) != nil
    }

    /// Whether a tree exists. Its own owner and mode come from the image's root directory, so only the directories
    /// above it are checked.
    func isSoundTree(_ place: String) throws(StoreError) -> Bool {
        guard try isSoundPath(to: place),
            let status = try optional({ () throws(SystemError) in try root.status(of: place) })
        else { return false }
        if status.kind != .directory { throw damaged(place, "\(status.kind.text), expected a directory") }
        return true
    }

    /// Checks the directories above a path. If they are sound, no other user can replace what is below them.
    private func isSoundPath(to place: String) throws(StoreError) -> Bool {
        let bytes = place.utf8
        var index = bytes.startIndex
        while let slash = bytes[index...].firstIndex(of: UInt8(ascii: "/")) {
            guard try sound(String(place[..<slash]), .directory) != nil else { return false }
            index = bytes.index(after: slash)
        }
        return true
    }

    private func sound(_ place: String, _ kind: FileStatus.Kind) throws(StoreError) -> FileStatus? {
        guard let status = try optional({ () throws(SystemError) in try root.status(of: place) }) else { return nil }
        if let reason = fault(status, kind) { throw damaged(place, reason) }
        return status
    }

    /// Why Berth cannot have created this file or directory; `nil` if it can.
    func fault(_ status: FileStatus, _ kind: FileStatus.Kind) -> String? {
        if status.kind != kind { return "\(status.kind.text), expected \(kind.text)" }
        switch Trust(vouched: owner).fault(of: status, at: path)?.reason {
        case .owner(let user): return "owned by uid \(user), expected \(trustedOwners)"
        case .mode(let bits): return "group or others can write to it (mode \(String(bits, radix: 8)))"
        case nil: return nil
        }
    }

    func isTrusted(_ user: UInt32) -> Bool { user == 0 || user == owner || user == Identity.userID }

    private var trustedOwners: String {
        var users: [UInt32] = []
        for user in [owner, Identity.userID, 0] where !users.contains(user) { users.append(user) }
        return users.map { $0 == 0 ? "root" : "\($0)" }.joined(separator: " or ")
    }

    /// Returns `nil` for damaged entries, for callers that treat them as absent. File system errors are still thrown,
    /// because an entry that is unreadable now may exist.
    func sparingDamage<Value>(_ body: () throws(StoreError) -> Value?) throws(StoreError) -> Value? {
        do throws(StoreError) { return try body() } catch {
            guard case .damaged = error else { throw error }
            return nil
        }
    }

    func damaged(_ place: String, _ reason: String) -> StoreError {
        .damaged(path: "\(path)/\(place)", reason: reason)
    }
}

extension FileStatus.Kind {
    var text: String {
        switch self {
        case .regular: "a regular file"
        case .directory: "a directory"
        case .symlink: "a symbolic link"
        case .fifo: "a FIFO"
        case .socket: "a socket"
        case .characterDevice: "a character device"
        case .blockDevice: "a block device"
        case .unknown: "a file of unknown type"
        }
    }
}
