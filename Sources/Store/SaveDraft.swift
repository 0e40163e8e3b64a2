package import LinuxKernel

/// What `--container-save=PATH` writes before it gets its name: `PATH.berth-1a2b3c4d`, a squashfs file beside it, and a lock
/// that is held as long as the save runs.
///
/// The lock is created first and removed last, so a draft whose lock is free belongs to a save that was killed.
package final class SaveDraft {
    /// The tree. It does not exist yet.
    package let path: String
    package var file: String { path + Self.squashfs }
    private let parent: OwnedFileDescriptor
    private let name: String
    private let lock: OwnedFileDescriptor

    private static let squashfs = ".sqsh"
    private static let lockSuffix = ".lock"
    /// Of a lock that is not held yet: `createLocked`.
    private static let newLockSuffix = ".lock.new"
    /// A save that takes longer than a day is not expected.
    private static let longest: Int64 = 86_400

    /// - Parameter path: Where the container is saved, absolute. Drafts that killed saves of this path left are removed.
    package init(for path: String) throws(SystemError) {
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex
        let directory = slash == path.startIndex ? "/" : String(path[..<slash])
        let base = String(path[path.utf8.index(after: slash)...])
        let parent = try OwnedFileDescriptor(opening: directory, .readOnly | .directory)
        Self.sweep(base, in: parent, LockReach(of: parent, path: directory))
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

    /// What is left of the draft: all of it, or nothing once it has its name.
    package func remove() {
        // Tidying: the next save to this path tries again.
        try? parent.removeTree(name)
        try? parent.removeTree(name + Self.squashfs)
        try? parent.removeFile(name + Self.lockSuffix)
    }

    /// - Parameters:
    ///   - base: What the drafts were to become.
    ///   - now: In seconds since 1970.
    ///   - lock: Acquires the lock of a draft.
    static func sweep(
        _ base: String, in parent: borrowing OwnedFileDescriptor, _ reach: LockReach, now: Int64 = Clock.now.seconds,
        lock: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool = { (file) throws(SystemError) in
            try file.tryLock(.exclusive)
        }
    ) {
        // Tidying: failing to is no reason not to save.
        guard let names = try? parent.entries() else { return }
        let prefix = base + mark
        var drafts: Set<String> = []
        for name in names where name.starts(with: prefix.utf8) {
            let (digits, suffix) = (name.dropFirst(prefix.utf8.count).prefix(8), name.dropFirst(prefix.utf8.count + 8))
            guard digits.count == 8, digits.allSatisfy(isHexadecimal),
                ["", squashfs, lockSuffix, newLockSuffix].contains(where: { suffix.elementsEqual($0.utf8) })
            else { continue }
            drafts.insert(prefix + String(decoding: digits, as: UTF8.self))
        }
        for draft in drafts where isDead(draft, in: parent, reach, now, lock) {
            // The lock last: without it the rest would be taken for that of an older version.
            for suffix in ["", squashfs, newLockSuffix, lockSuffix] { try? parent.removeTree(draft + suffix) }
        }
    }

    private static func isDead(
        _ draft: String, in parent: borrowing OwnedFileDescriptor, _ reach: LockReach, _ now: Int64,
        _ acquire: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool
    ) -> Bool {
        let lock: OwnedFileDescriptor
        do throws(SystemError) {
            lock = try parent.open(draft + lockSuffix, .readWrite | .noFollow | .nonBlocking)
        } catch {
            // Without a lock: of a version that made none, or of a save that ended before it had one. Another user's, if the
            // lock cannot be opened.
            guard error.isAbsence else { return false }
            return ["", squashfs, newLockSuffix].contains { suffix in
                guard let status = try? parent.status(of: draft + suffix) else { return false }  // absent
                return status.userID == Identity.userID && now - status.changed.seconds > longest
            }
        }
        guard let status = try? lock.status(), status.kind == .regular, status.userID == Identity.userID else {  // not ours
            return false
        }
        let isOld = now - status.modified.seconds > longest
        do throws(SystemError) { guard try acquire(lock) else { return false } } catch {
            // Without locks the age alone tells.
            return error.meansNoLocks && isOld
        }
        // A lock that stays on its node proves nothing about saves on others, and the boot tells nodes apart.
        let boot = try? lock.readAll(limit: 64)  // unreadable: not known to be of this boot
        let isOfThisBoot = boot != nil && boot == Boot.identifier.map { Array($0.utf8) }
        return reach == .everybody || isOfThisBoot || isOld
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}
