internal import LinuxKernel

/// A lock that lets one process work while others wait for its result. The kernel releases it when its last descriptor
/// is closed or the process exits.
package struct WorkLock: ~Copyable {
    let descriptor: DescriptorBox?
}

/// Lock files are in `locks/` with mode 0600, so only the store's owner can open them. A process that has acquired a
/// lock checks that the file still has its name, because a sweep removes unlocked files.
extension ImageStore {
    /// Blocks until no other process pulls this image into this store.
    package func lockPull(of key: ImageKey) throws(StoreError) -> WorkLock {
        WorkLock(descriptor: try workLock("refs/" + key.path))
    }

    static var activityLock: String { "pulling" }

    /// Every pull holds this lock shared, so that a collection can wait for all of them. Acquire it before any other
    /// lock, because a collection that holds it exclusively removes other lock files.
    package func beginPulling() throws(StoreError) -> WorkLock {
        let held = try acquire(Self.activityLock) { (file) throws(SystemError) in
            try file.lock(.shared)
            return true
        }
        return WorkLock(descriptor: held.file)
    }

    /// Returns `nil` while a pull runs or if the file system has no locks.
    func lockAgainstPulls() throws(StoreError) -> DescriptorBox? {
        try acquire(Self.activityLock) { (file) throws(SystemError) in try file.tryLock(.exclusive) }.file
    }

    /// Returns `nil` while another process pulls this image.
    package func tryLockPull(of key: ImageKey) throws(StoreError) -> WorkLock? {
        try tryWorkLock("refs/" + key.path)
    }

    /// Returns `nil` while another process holds the lock.
    func tryWorkLock(_ subject: String) throws(StoreError) -> WorkLock? {
        let held = try acquire(Self.lockName(subject)) { (file) throws(SystemError) in try file.tryLock(.exclusive) }
        switch held {
        case .elsewhere: return nil
        case .impossible: return WorkLock(descriptor: nil)
        case .here(let file): return WorkLock(descriptor: file)
        }
    }

    /// Returns `nil` if the file system has no locks. Two processes may then do the same work, and one result is
    /// discarded.
    func workLock(_ subject: String) throws(StoreError) -> DescriptorBox? {
        try acquire(Self.lockName(subject)) { (file) throws(SystemError) in
            try file.lock(.exclusive)
            return true
        }.file
    }

    /// The processes that hold the lock, or wait for it, as far as the caller may see.
    func workers(on subject: String) -> [FileHolder] {
        // Only for a message.
        guard let lock = try? openFile("locks/" + Self.lockName(subject)) else { return [] }  // absent
        return FileHolder.all(of: lock)
    }

    private enum Held {
        case here(DescriptorBox), elsewhere, impossible

        var file: DescriptorBox? {
            if case .here(let file) = self { return file }
            return nil
        }
    }

    private func acquire(
        _ name: String, _ take: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool
    ) throws(StoreError) -> Held {
        guard try isSoundDirectory("locks") else { throw damaged("locks", "missing") }
        return try mapError { () throws(SystemError) in
            let locks = try root.open("locks", .readOnly | .directory | .noFollow)
            while true {
                let file = DescriptorBox(try openLock(name, in: locks))
                do throws(SystemError) {
                    guard try take(file.descriptor) else { return Held.elsewhere }
                } catch {
                    if error.meansNoLocks { return .impossible }
                    throw error
                }
                // A sweep removed the file in between, and other processes lock a new file of this name.
                if try file.descriptor.isNamed(name, in: locks) { return .here(file) }
            }
        }
    }

    private func openLock(
        _ name: String, in locks: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor {
        while true {
            do throws(SystemError) {
                let status = try locks.status(of: name)
                // Only the owner can put another type of file here. Earlier versions created lock files that others
                // could open.
                let isOwn = isTrusted(status.userID)
                if status.kind != .regular || !isOwn {
                    try locks.removeTree(name)
                } else if status.permissions != 0o600 {
                    try locks.setPermissions(of: name, 0o600)
                }
            } catch {
                if error.errno != Errno.ENOENT { throw error }
            }
            do throws(SystemError) {
                return try locks.open(name, .readWrite | .noFollow | .nonBlocking)
            } catch {
                if error.errno != Errno.ENOENT { throw error }
            }
            do throws(SystemError) {
                let file = try locks.open(
                    name, .readWrite | .create | .exclusive | .noFollow | .nonBlocking, mode: 0o600)
                try giveToOwner(file)
                return file
            } catch {
                if error.errno != Errno.EEXIST { throw error }  // another process was faster
            }
        }
    }

    /// Gives a file that root creates in another user's store to the store's owner, who must be able to replace it.
    func giveToOwner(_ file: borrowing OwnedFileDescriptor) throws(SystemError) {
        guard Identity.isRoot, owner != 0 else { return }
        let group = try root.status().groupID
        try file.setOwner(user: owner, group: group)
    }

    /// Removes the lock files that no process holds. Each is removed under its own lock, so a waiting process notices.
    func sweepLocks() {
        // Best effort: a file that stays is harmless.
        guard let locks = try? root.open("locks", .readOnly | .directory | .noFollow),  // best effort
            let names = try? locks.entries()  // likewise
        else { return }
        for name in names where name.displayPath != Self.activityLock {
            guard let file = try? locks.open(name, .readWrite | .noFollow | .nonBlocking),  // gone, or not a lock file
                (try? file.tryLock(.exclusive)) == true,  // held, or there is no way to know
                (try? file.isNamed(name, in: locks)) == true  // removed and created again in between
            else { continue }
            try? locks.removeFile(name)  // likewise
        }
    }

    /// The kind, so that a pull never waits for itself when it locks a layer, and the FNV-1a hash of the subject.
    static func lockName(_ subject: String) -> String {
        String(subject.prefix { $0 != "/" }) + "-" + String(fingerprint(subject), radix: 16)
    }

    // MARK: Leases

    /// Whether another process holds a lock on this file; not where there is no such file, and where there are no locks.
    func isHeld(_ place: String) throws(StoreError) -> Bool {
        guard let lease = try sparingDamage({ () throws(StoreError) in try openLease(place) }) else { return false }
        return try mapError { () throws(SystemError) in
            do throws(SystemError) { return try !lease.descriptor.isUnlocked() } catch {
                if error.meansNoLocks { return false }
                throw error
            }
        }
    }

    /// How long to wait for a lease, in milliseconds. A collection holds a lease only while it renames a directory.
    private static let leaseWait = 10_000

    /// A shared lock on a file of the store, which protects it from being collected; `nil` only if the file is gone.
    ///
    /// - Throws: `StoreError.busy` if the owner of the store does not release an exclusive lock.
    func sharedLease(_ place: String) throws(StoreError) -> DescriptorBox? {
        try Self.sharedLease("\(path)/\(place)", { () throws(StoreError) in try openFile(place) }) {
            (file) throws(SystemError) in try file.isNamed(place, in: root)
        }
    }

    static func sharedLease(
        _ path: String, _ open: () throws(StoreError) -> OwnedFileDescriptor?,
        isNamed: (borrowing OwnedFileDescriptor) throws(SystemError) -> Bool
    ) throws(StoreError) -> DescriptorBox? {
        var waited = 0
        while true {
            guard let opened = try open() else { return nil }
            let file = DescriptorBox(opened)
            let isHeld: Bool = try mapError { () throws(SystemError) in
                do throws(SystemError) {
                    // Without locks, a collection removes nothing that could be in use.
                    guard try file.descriptor.tryLock(.shared) else { return false }
                } catch {
                    if !error.meansNoLocks { throw error }
                }
                // A collection may have moved the file before this process acquired the lock.
                return try isNamed(file.descriptor)
            }
            if isHeld { return file }
            if waited >= leaseWait { throw .busy(path: path) }
            let pause = waited < 20 ? 1 : 20
            Processes.sleep(milliseconds: pause)
            waited += pause
        }
    }
}
