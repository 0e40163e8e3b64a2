package import LinuxKernel

/// The files that `--container-save=PATH` writes before it renames the result: `PATH.berth-1a2b3c4d`, a squashfs file
/// next to it, and a lock that the process holds until it has saved.
///
/// The lock is created first and removed last, so a draft with an unlocked lock belongs to a save that was killed.
package final class SaveDraft {
    /// Where to write the tree. It does not exist yet.
    package let path: String
    package var file: String { path + Self.squashfs }
    private let parent: OwnedFileDescriptor
    private let name: String
    private let lock: OwnedFileDescriptor

    private static let squashfs = ".sqsh"
    private static let lockSuffix = ".lock"
    /// The suffix of a lock file before it is locked: see `createLocked`.
    private static let newLockSuffix = ".lock.new"
    /// How long a save may take, in seconds. Older drafts without a usable lock are removed.
    private static let maximumAge: Int64 = 86_400

    /// - Parameter path: The absolute path to save to. `init` removes drafts for this path that killed saves left.
    package init(for path: String) throws(SystemError) {
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex
        let directory = slash == path.startIndex ? "/" : String(path[..<slash])
        let base = String(path[path.utf8.index(after: slash)...])
        let parent = try OwnedFileDescriptor(opening: directory, .readOnly | .directory)
        Self.sweep(base, in: parent, LockScope(of: parent, path: directory))
        let name = base + Self.mark + (try Random.hexadecimal(bytes: 4))
        let lock = try parent.createLocked(name + Self.lockSuffix, .exclusive, mode: 0o600)
        do throws(SystemError) { try lock.writeAll(Array((Boot.identifier ?? "").utf8)) } catch {
            try? parent.removeFile(name + Self.lockSuffix)  // the first error is the one to report
            throw error
        }
        self.path = directory + (directory == "/" ? "" : "/") + name
        self.parent = parent
        self.name = name
        self.lock = lock
    }

    private static let mark = ".berth-"

    /// Removes what is left of the draft. After a successful rename, only the lock is left.
    package func remove() {
        // Best effort: the next save to this path retries.
        try? parent.removeTree(name)  // best effort
        try? parent.removeTree(name + Self.squashfs)  // likewise
        try? parent.removeFile(name + Self.lockSuffix)  // likewise
    }

    /// - Parameters:
    ///   - base: The file name that the drafts were made for.
    ///   - now: In seconds since 1970.
    ///   - lock: Acquires the lock of a draft.
    static func sweep(
        _ base: String, in parent: borrowing OwnedFileDescriptor, _ scope: LockScope, now: Int64 = Clock.now.seconds,
        lock: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool = { (file) throws(SystemError) in
            try file.tryLock(.exclusive)
        }
    ) {
        // Best effort: a failure must not prevent a save.
        guard let names = try? parent.entries() else { return }  // best effort
        let prefix = base + mark
        var drafts: Set<String> = []
        for name in names where name.starts(with: prefix.utf8) {
            let (digits, suffix) = (name.dropFirst(prefix.utf8.count).prefix(8), name.dropFirst(prefix.utf8.count + 8))
            guard digits.count == 8, digits.allSatisfy(isHexadecimal),
                ["", squashfs, lockSuffix, newLockSuffix].contains(where: { suffix.elementsEqual($0.utf8) })
            else { continue }
            drafts.insert(prefix + String(decoding: digits, as: UTF8.self))
        }
        for draft in drafts where isDead(draft, in: parent, scope, now, lock) {
            // The lock last: without it, the rest would look like a draft of an older version.
            for suffix in ["", squashfs, newLockSuffix, lockSuffix] {
                try? parent.removeTree(draft + suffix)  // likewise
            }
        }
    }

    private static func isDead(
        _ draft: String, in parent: borrowing OwnedFileDescriptor, _ scope: LockScope, _ now: Int64,
        _ acquire: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool
    ) -> Bool {
        let lock: OwnedFileDescriptor
        do throws(SystemError) {
            lock = try parent.open(draft + lockSuffix, .readWrite | .noFollow | .nonBlocking)
        } catch {
            // No lock: an older version made the draft, or the save was killed before it created the lock. If the lock
            // exists and cannot be opened, the draft belongs to another user.
            guard error.isAbsence else { return false }
            return ["", squashfs, newLockSuffix].contains { suffix in
                guard let status = try? parent.status(of: draft + suffix) else { return false }  // absent
                return status.userID == Identity.userID && now - status.changed.seconds > maximumAge
            }
        }
        guard let status = try? lock.status(),  // unreadable: keep it
            status.kind == .regular, status.userID == Identity.userID
        else { return false }
        let isOld = now - status.modified.seconds > maximumAge
        do throws(SystemError) { guard try acquire(lock) else { return false } } catch {
            // Without locks, only the age counts.
            return error.meansNoLocks && isOld
        }
        // A lock that is visible on one node only proves nothing about saves on others. The boot identifies the node.
        let boot = try? lock.readAll(limit: 64)  // unreadable: assume another boot
        let isOfThisBoot = boot != nil && boot == Boot.identifier.map { Array($0.utf8) }
        return scope == .cluster || isOfThisBoot || isOld
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}
