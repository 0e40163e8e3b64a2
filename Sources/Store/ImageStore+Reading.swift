internal import LinuxKernel

/// Everything below the top of a store is read as data that may be hostile: the file types, owners and modes are those that
/// Berth creates, and a FIFO, a link or a file of another user is an error that names it. The next pull repairs it.
extension ImageStore {
    /// A file of the store, opened without waiting; `nil` where there is none.
    ///
    /// - Throws: `StoreError.damaged` where something else has its name, or where the file or a directory above it belongs
    ///   to, or can be written by, a user whom the store does not trust.
    func openFile(
        _ place: String, _ flags: OpenFlags = .readOnly, limit: Int64 = .max
    ) throws(StoreError) -> OwnedFileDescriptor? {
        guard try isSoundPath(to: place), let status = try sound(place, .regular) else { return nil }
        if status.size > limit {
            throw damaged(place, "its size is \(status.size) bytes, more than the limit of \(limit)")
        }
        return try optional { () throws(SystemError) in try root.open(place, flags | .noFollow | .nonBlocking) }
    }

    func openLease(_ place: String) throws(StoreError) -> DescriptorBox? {
        guard let file = try openFile(place, .readWrite) else { return nil }
        return DescriptorBox(file)
    }

    /// The contents of a file of the store; `nil` where there is none.
    func fileContents(_ place: String, limit: Int) throws(StoreError) -> [UInt8]? {
        guard let file = try openFile(place, limit: Int64(limit)) else { return nil }
        return try optional { () throws(SystemError) in try file.readAll(limit: limit) }
    }

    /// Whether a directory of the store is there, as Berth creates it.
    func isSoundDirectory(_ place: String) throws(StoreError) -> Bool {
        guard try isSoundPath(to: place) else { return false }
        return try sound(place, .directory) != nil
    }

    /// Whether a tree of files is there. Its own owner and mode are those of the image's root directory, and only the
    /// directories above it are the store's.
    func isSoundTree(_ place: String) throws(StoreError) -> Bool {
        guard try isSoundPath(to: place),
            let status = try optional({ () throws(SystemError) in try root.status(of: place) })
        else { return false }
        if status.kind != .directory { throw damaged(place, "\(status.kind.text), expected a directory") }
        return true
    }

    /// Checks the directories above a place. Where they are sound, no other user can exchange what is below them.
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

    /// Why this cannot be a file or directory that Berth created; `nil` where it can.
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

    /// `nil` for what is damaged, where that is as good as absent. An error of the file system is one all the same: what
    /// cannot be read now may be there.
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
