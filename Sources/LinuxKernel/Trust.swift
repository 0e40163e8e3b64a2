internal import CLinux

/// Why a file that decides what runs is not used.
package struct UntrustedPath: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        /// Owned by this user, who is neither root nor the caller.
        case owner(UInt32)
        /// Writable by the group or by others; the permission bits.
        case mode(UInt32)
    }

    /// The file itself, or a directory or link on the way to it.
    package let path: String
    package let reason: Reason
    /// The users who may own it.
    package let expected: [UInt32]

    package init(path: String, reason: Reason, expected: [UInt32]) {
        self.path = path
        self.reason = reason
        self.expected = expected
    }
}

/// The one rule for files that decide what runs: configuration, CDI directories, hooks, stores, credential helpers.
///
/// Such a file is owned by root or by the caller, no other user can write to it, and the same holds for each directory
/// and link on the way to it. For root, "the caller" is root. A sticky directory such as /tmp may be writable by all:
/// the kernel lets nobody rename what another user owns in it, and the owner of the next component is checked.
package struct Trust: Sendable {
    private let caller: UInt32
    private let vouched: UInt32?
    private let isOwnFile: Bool

    /// - Parameters:
    ///   - vouched: A further owner that the site's configuration names.
    ///   - isOwnFile: The file is the caller's own: in a user namespace an owner without an id there is then refused.
    package init(vouched: UInt32? = nil, isOwnFile: Bool = false) {
        caller = Identity.userID
        self.vouched = vouched
        self.isOwnFile = isOwnFile
    }

    /// The first fault on the way to `path`, its last component included; `nil` where there is none.
    ///
    /// Nothing on a way without fault can be replaced by another user, so the file may be opened by its path afterwards.
    package func fault(on path: String) throws(SystemError) -> UntrustedPath? {
        if Self.isOwnDescriptor(path) { return nil }
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

    /// Judges one file by its status: for what is opened beneath a descriptor whose own way has been judged.
    ///
    /// - Parameter isOnTheWay: A directory in which another component follows: it may be sticky, or a link.
    package func fault(of status: FileStatus, at path: String, isOnTheWay: Bool = false) -> UntrustedPath? {
        func fault(_ reason: UntrustedPath.Reason) -> UntrustedPath {
            UntrustedPath(path: path, reason: reason, expected: expected)
        }
        guard isTrusted(owner: status.userID) else { return fault(.owner(status.userID)) }
        // A link has no mode of its own; what it names is walked next.
        guard status.kind != .symlink, status.permissions & 0o022 != 0 else { return nil }
        if isOnTheWay, status.kind == .directory, status.permissions & 0o1000 != 0 { return nil }
        // /dev/null, which reads as an empty file whoever writes to it.
        if status.kind == .characterDevice, status.majorNumber == 1, status.minorNumber == 3 { return nil }
        return fault(.mode(status.permissions))
    }

    private var expected: [UInt32] {
        var users = caller == 0 ? [] : [caller]
        if let vouched, !users.contains(vouched), vouched != 0 { users.append(vouched) }
        return users + [0]
    }

    private func isTrusted(owner: UInt32) -> Bool {
        if owner == 0 || owner == caller || owner == vouched { return true }
        // In a user namespace the kernel shows root's files, and everybody else's, as owned by the overflow user.
        return owner == 65534 && !isOwnFile && !Identity.isInInitialUserNamespace
    }

    /// What the caller has opened and hands over by its number: `BERTH_CONFIG=<(…)` of a shell.
    private static func isOwnDescriptor(_ path: String) -> Bool {
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
