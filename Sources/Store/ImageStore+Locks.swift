internal import LinuxKernel

/// A lock that lets one process work while others wait for the outcome. Released when its last descriptor is closed or the
/// process dies.
package struct WorkLock: ~Copyable {
    let descriptor: DescriptorBox?
}

/// Lock files lie in `locks/`, mode 0600: only the store's owner can open them. Whoever has acquired one checks that it
/// still has its name, because a sweep removes lock files that are free.
extension ImageStore {
    /// Waits until no other process is pulling this image into this store. Blocks.
    package func lockPull(of key: ImageKey) throws(StoreError) -> WorkLock {
        WorkLock(descriptor: try workLock("refs/" + key.path))
    }

    static var activityLock: String { "pulling" }

    /// Held by every pull as long as it lasts, shared with the others, so that a collection knows of it. To be taken
    /// before any other lock: a collection that has it alone removes their files.
    package func beginPulling() throws(StoreError) -> WorkLock {
        let held = try acquire(Self.activityLock) { (file) throws(SystemError) in
            try file.lock(.shared)
            return true
        }
        return WorkLock(descriptor: held.file)
    }

    /// `nil` while a pull is running, or where the file system has no locks.
    func lockAgainstPulls() throws(StoreError) -> DescriptorBox? {
        try acquire(Self.activityLock) { (file) throws(SystemError) in try file.tryLock(.exclusive) }.file
    }

    /// `nil` while another process pulls it.
    package func tryLockPull(of key: ImageKey) throws(StoreError) -> WorkLock? {
        try tryWorkLock("refs/" + key.path)
    }

    /// `nil` while another process has it.
    func tryWorkLock(_ subject: String) throws(StoreError) -> WorkLock? {
        let held = try acquire(Self.lockName(subject)) { (file) throws(SystemError) in try file.tryLock(.exclusive) }
        switch held {
        case .elsewhere: return nil
        case .impossible: return WorkLock(descriptor: nil)
        case .here(let file): return WorkLock(descriptor: file)
        }
    }

    /// `nil` where the file system has no locks: the work may then be done twice, and one result is thrown away.
    func workLock(_ subject: String) throws(StoreError) -> DescriptorBox? {
        try acquire(Self.lockName(subject)) { (file) throws(SystemError) in
            try file.lock(.exclusive)
            return true
        }.file
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
        return try storing { () throws(SystemError) in
            let locks = try root.open("locks", .readOnly | .directory | .noFollow)
            while true {
                let file = DescriptorBox(try openLock(name, in: locks))
                do throws(SystemError) {
                    guard try take(file.descriptor) else { return Held.elsewhere }
                } catch {
                    if error.meansNoLocks { return .impossible }
                    throw error
                }
                // Swept in between: the others lock a new file of this name.
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
                // Only the owner could have put something else there; a file that others can open is of an earlier version.
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

    /// What root creates in another user's store must not shut the owner out.
    func giveToOwner(_ file: borrowing OwnedFileDescriptor) throws(SystemError) {
        guard Identity.isRoot, owner != 0 else { return }
        let group = try root.status().groupID
        try file.setOwner(user: owner, group: group)
    }

    /// Removes the lock files that no process holds. Each is removed under its own lock, so whoever waits for it finds out.
    func sweepLocks() {
        // Tidying: what stays costs a name.
        guard let locks = try? root.open("locks", .readOnly | .directory | .noFollow),
            let names = try? locks.entries()
        else { return }
        for name in names where name.displayPath != Self.activityLock {
            guard let file = try? locks.open(name, .readWrite | .noFollow | .nonBlocking),  // gone, or not a lock file
                (try? file.tryLock(.exclusive)) == true,  // held, or there is no way to know
                (try? file.isNamed(name, in: locks)) == true  // removed and created again in between
            else { continue }
            try? locks.removeFile(name)
        }
    }

    /// The kind, so that a pull never waits for itself at one of its layers, and FNV-1a of the subject.
    static func lockName(_ subject: String) -> String {
        String(subject.prefix { $0 != "/" }) + "-" + String(fingerprint(subject), radix: 16)
    }

    // MARK: Leases

    /// How long to wait for a lease, in milliseconds. A collection holds one for as long as it takes to rename a directory.
    private static let leaseWait = 10_000

    /// A shared lock on a file of the store, which keeps it from being collected; `nil` only where the file is gone.
    ///
    /// - Throws: `StoreError.busy` where the owner of the store keeps the lock: the file is there, and may be used again.
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
            let isHeld: Bool = try storing { () throws(SystemError) in
                do throws(SystemError) {
                    // Without locks nothing is ever collected that could be in use.
                    guard try file.descriptor.tryLock(.shared) else { return false }
                } catch {
                    if !error.meansNoLocks { throw error }
                }
                // Moved out of sight before the lock was acquired.
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
