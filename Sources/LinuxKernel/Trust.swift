internal import CLinux

/// Why Berth refuses a file that decides what runs.
package struct UntrustedPath: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        /// Owned by this uid, which is neither root nor the caller.
        case owner(UInt32)
        /// Writable by its group or by all users; the value has the permission bits.
        case mode(UInt32)
    }

    /// The file itself, or a directory or link in its path.
    package let path: String
    package let reason: Reason
    /// The users who may own it.
    package let expected: [UInt32]
    /// The owner of a file with an unsafe mode. Only this user and root can change the mode.
    package let owner: UInt32?

    package init(path: String, reason: Reason, expected: [UInt32], owner: UInt32? = nil) {
        self.path = path
        self.reason = reason
        self.expected = expected
        self.owner = owner
    }
}

/// The one rule for files that decide what runs: configuration, CDI directories, hooks, stores, credential helpers.
///
/// Root or the caller owns such a file, no other user can write to it, and the same holds for each directory and
/// symbolic link in its path. For root, the caller is root. The caller's private group may write: it has no other
/// member.
///
/// A sticky directory such as /tmp may be writable by all users. There the kernel lets only a file's owner rename it,
/// and the walk checks the owner of the next component.
package struct Trust: Sendable {
    private let caller: UInt32
    private let vouched: UInt32?
    private let isOwnFile: Bool

    /// - Parameters:
    ///   - vouched: A further trusted owner from the site's configuration.
    ///   - isOwnFile: The caller must own the file. In a user namespace, its owner must then be mapped. The directories
    ///     above need not, because the kernel reports the owner of `/` as the overflow user.
    package init(vouched: UInt32? = nil, isOwnFile: Bool = false) {
        caller = Identity.userID
        self.vouched = vouched
        self.isOwnFile = isOwnFile
    }

    /// The first fault in `path`, including its last component; `nil` if there is none.
    ///
    /// Without a fault, no other user can replace any component, so the file can then be opened by its path.
    package func fault(on path: String) throws(SystemError) -> UntrustedPath? {
        if Self.isOwnDescriptor(path) { return try fault(ofDescriptor: path) }
        let bytes = path.kernelBytes
        let start = bytes.first == Self.slash ? [] : (Processes.workingDirectory ?? "/").kernelBytes + [Self.slash]
        var pending = Array(Self.components(start + bytes).reversed())
        var walked: [UInt8] = []
        var last: FileStatus?
        var links = 0
        if let fault = fault(of: try FileStatus(of: "/"), at: "/", isOnTheWay: true) { return fault }
        while let component = pending.popLast() {
            if component == [0x2E, 0x2E] {
                walked.removeLast(walked.count - (walked.lastIndex(of: Self.slash) ?? 0))
                last = nil
                continue
            }
            let place = walked + [Self.slash] + component
            let status = try FileStatus(of: place, followLinks: false)
            let isLink = status.kind == .symlink
            if let fault = fault(of: status, at: place.displayPath, isOnTheWay: isLink || !pending.isEmpty) {
                return fault
            }
            guard isLink else {
                (walked, last) = (place, status)
                continue
            }
            links += 1
            guard links <= 40 else { throw SystemError(call: "readlink", errno: ELOOP, subject: path) }
            let target = try OwnedFileDescriptor(opening: place, .path | .noFollow).linkTarget([UInt8]())
            if target.first == Self.slash { (walked, last) = ([], nil) }
            pending += Self.components(target).reversed()
        }
        let end = walked.isEmpty ? [Self.slash] : walked
        if last == nil { last = try FileStatus(of: end) }
        return last.flatMap { fault(of: $0, at: end.displayPath) }
    }

    /// Checks one file by its status, for a file opened beneath a descriptor whose path has been checked.
    ///
    /// - Parameter isOnTheWay: Another component follows: this is a directory, which may be sticky, or a symbolic link.
    package func fault(of status: FileStatus, at path: String, isOnTheWay: Bool = false) -> UntrustedPath? {
        guard isTrusted(owner: status.userID, isOnTheWay: isOnTheWay) else {
            return UntrustedPath(path: path, reason: .owner(status.userID), expected: expected)
        }
        // A link has no mode of its own; the walk continues with its target.
        guard status.kind != .symlink, status.permissions & 0o022 != 0 else { return nil }
        if isOnTheWay, status.kind == .directory, status.permissions & 0o1000 != 0 { return nil }
        if status.isNullDevice { return nil }
        // Red Hat's distributions give each user a private group and set the umask to 002.
        if status.permissions & 0o002 == 0, !Identity.isRoot, status.groupID == Self.privateGroup {
            return nil
        }
        return UntrustedPath(
            path: path, reason: .mode(status.permissions), expected: expected, owner: status.userID)
    }

    /// Checks the file that a descriptor of this process refers to.
    private func fault(ofDescriptor path: String) throws(SystemError) -> UntrustedPath? {
        let status = try FileStatus(of: path)
        // Other users cannot open the pipe of a shell's `<(…)`.
        if status.kind == .fifo { return nil }
        // An unnamed file (memfd_create(2), a shell's here-document) has an owner, but its mode is meaningless.
        return fault(of: status, at: path, isOnTheWay: false).flatMap { fault in
            if case .mode = fault.reason, status.links == 0 { nil } else { fault }
        }
    }

    private var expected: [UInt32] {
        var users = caller == 0 ? [] : [caller]
        if let vouched, !users.contains(vouched), vouched != 0 { users.append(vouched) }
        return users + [0]
    }

    private func isTrusted(owner: UInt32, isOnTheWay: Bool) -> Bool {
        if owner == 0 || owner == caller || owner == vouched { return true }
        // In a user namespace, the kernel reports unmapped owners, root included, as the overflow user.
        return owner == 65534 && (isOnTheWay || !isOwnFile) && !Identity.isInInitialUserNamespace
    }

    /// Looked up once, and only if a file is writable by its group.
    private static let privateGroup: UInt32? = NameService.privateGroup(
        of: Identity.outerUserID, passwd: .users, groups: .groups
    ).flatMap(Identity.innerGroupID)

    /// Whether the path is a descriptor that the caller passes by number, as in a shell's `BERTH_CONFIG=<(…)`.
    package static func isOwnDescriptor(_ path: String) -> Bool {
        for prefix in ["/dev/fd/", "/proc/self/fd/"] where path.utf8.starts(with: prefix.utf8) {
            let rest = path.utf8.dropFirst(prefix.utf8.count)
            return !rest.isEmpty && rest.allSatisfy { (0x30...0x39).contains($0) }
        }
        return path == "/dev/stdin"
    }

    private static let slash = UInt8(ascii: "/")

    private static func components(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: slash).map(Array.init).filter { $0 != [0x2E] }
    }
}
