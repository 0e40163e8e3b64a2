internal import CLinux

/// Locks of open file descriptions, fcntl(2) with `F_OFD_SETLK`: docs/explanation/decisions/collection-and-locks.md
///
/// Unlike flock(2), an exclusive lock needs a writable descriptor, and a shared lock a readable one. A user who can
/// only read a file can therefore never block its owner's readers. Correctness never depends on these locks, because on
/// NFS and Lustre they may be local to a node.
extension OwnedFileDescriptor {
    package enum LockKind: Sendable { case shared, exclusive }

    /// Waits for the lock, which lasts until the last copy of this open file description is closed. If this description
    /// holds a lock of the other kind, converts it atomically.
    ///
    /// - Throws: `EBADF` for an exclusive lock on a descriptor that is not writable.
    package func lock(_ kind: LockKind) throws(SystemError) {
        try checked("fcntl", procPath) { berth_lock(rawValue, kind == .exclusive ? 1 : 0, 1) }
    }

    /// Returns `false` if another open file description holds a conflicting lock.
    package func tryLock(_ kind: LockKind) throws(SystemError) -> Bool {
        while true {
            if berth_lock(rawValue, kind == .exclusive ? 1 : 0, 0) == 0 { return true }
            switch berth_errno() {
            case EAGAIN, EACCES: return false
            case EINTR: continue
            default: throw SystemError.last("fcntl", procPath)
            }
        }
    }

    /// Whether no other open file description holds a lock. Does not acquire one.
    package func isUnlocked() throws(SystemError) -> Bool {
        try checked("fcntl", procPath) { berth_is_unlocked(rawValue) } == 1
    }

    /// Creates a file that is never visible unlocked: it gets its name after it is locked. A sweep would otherwise take
    /// the unlocked file for one of a dead process.
    ///
    /// If the file system has no locks, creates the file without one.
    package func createLocked(
        _ name: String, _ kind: LockKind, mode: UInt32
    ) throws(SystemError) -> OwnedFileDescriptor {
        let unnamed = name + ".new"
        let file = try open(unnamed, .readWrite | .create | .exclusive | .noFollow, mode: mode)
        do throws(SystemError) { try file.lock(kind) } catch { if !error.meansNoLocks { throw error } }
        try move(unnamed, to: name, in: self)
        return file
    }

    /// Whether the file still has this name. A sweep may have removed the file between opening and locking it; the lock
    /// then protects nothing.
    package func isNamed(_ name: some PathBytes, in directory: borrowing OwnedFileDescriptor) throws(SystemError)
        -> Bool
    {
        let own = try status()
        do throws(SystemError) {
            let named = try directory.status(of: name)
            return named.inode == own.inode && named.device == own.device
        } catch {
            if error.errno == ENOENT || error.errno == ENOTDIR { return false }
            throw error
        }
    }
}

extension SystemError {
    /// ENOLCK, EOPNOTSUPP, ENOSYS: Lustre without `flock`, NFS without a lock server. EINVAL: OCFS2 without a cluster
    /// stack.
    package var meansNoLocks: Bool { [ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL].contains(errno) }
}
