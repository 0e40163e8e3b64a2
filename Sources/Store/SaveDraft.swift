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
    /// A save that takes longer than a day is not expected.
    private static let longest: Int64 = 86_400

    /// - Parameter path: Where the container is saved, absolute. Drafts that killed saves of this path left are removed.
    package init(for path: String) throws(SystemError) {
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex
        let directory = slash == path.startIndex ? "/" : String(path[..<slash])
        let base = String(path[path.utf8.index(after: slash)...])
        let parent = try OwnedFileDescriptor(opening: directory, .readOnly | .directory)
        Self.sweep(base + Self.mark, in: parent, LockReach(of: parent, path: directory))
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

    private static func sweep(_ prefix: String, in parent: borrowing OwnedFileDescriptor, _ reach: LockReach) {
        // Tidying: failing to is no reason not to save.
        guard let names = try? parent.entries() else { return }
        var drafts: Set<String> = []
        for name in names where name.starts(with: prefix.utf8) {
            let (digits, suffix) = (name.dropFirst(prefix.utf8.count).prefix(8), name.dropFirst(prefix.utf8.count + 8))
            guard digits.count == 8, digits.allSatisfy(isHexadecimal),
                ["", squashfs, lockSuffix].contains(where: { suffix.elementsEqual($0.utf8) })
            else { continue }
            drafts.insert(prefix + String(decoding: digits, as: UTF8.self))
        }
        for draft in drafts { sweep(draft: draft, in: parent, reach) }
    }

    private static func sweep(draft: String, in parent: borrowing OwnedFileDescriptor, _ reach: LockReach) {
        let lock: OwnedFileDescriptor
        do throws(SystemError) {
            lock = try parent.open(draft + lockSuffix, .readWrite | .noFollow | .nonBlocking)
        } catch {
            // Without a lock: of a version that made none. Another user's, if it cannot be opened.
            if error.isAbsence, isOld(draft, in: parent) || isOld(draft + squashfs, in: parent) {
                remove(draft, in: parent)
            }
            return
        }
        guard let status = try? lock.status(), status.kind == .regular, status.userID == Identity.userID,  // not ours
            (try? lock.tryLock(.exclusive)) == true  // its owner lives, or there is no way to know
        else { return }
        // A lock that stays on its node proves nothing about saves on others, and the boot tells nodes apart.
        let boot = try? lock.readAll(limit: 64)  // unreadable: not known to be of this boot
        let isOurs = boot != nil && boot == Boot.identifier.map { Array($0.utf8) }
        guard reach == .everybody || isOurs || Clock.now.seconds - status.modified.seconds > longest else { return }
        remove(draft, in: parent)
        try? parent.removeFile(draft + lockSuffix)
    }

    private static func remove(_ draft: String, in parent: borrowing OwnedFileDescriptor) {
        try? parent.removeTree(draft)
        try? parent.removeTree(draft + squashfs)
    }

    private static func isOld(_ name: String, in parent: borrowing OwnedFileDescriptor) -> Bool {
        guard let status = try? parent.status(of: name) else { return false }  // absent
        return status.userID == Identity.userID && Clock.now.seconds - status.changed.seconds > longest
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}
