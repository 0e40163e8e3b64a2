internal import CLinux

/// Work-saving locks of flock(2). Correctness never rests on them: on NFS and Lustre they may be local to a node.
extension OwnedFileDescriptor {
    package enum LockKind: Sendable { case shared, exclusive }

    /// Waits for the lock, which lasts until the last copy of this open file description is closed.
    package func lock(_ kind: LockKind) throws(SystemError) {
        try checked("flock", procPath) { flock(rawValue, kind == .shared ? LOCK_SH : LOCK_EX) }
    }

    /// `false` where somebody else holds it.
    package func tryLock(_ kind: LockKind) throws(SystemError) -> Bool {
        if flock(rawValue, (kind == .shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 { return true }
        if berth_errno() == EWOULDBLOCK { return false }
        throw SystemError.last("flock", procPath)
    }

    /// A new file that nobody ever finds unlocked: it has its name only once its lock is held. Whoever sweeps up after
    /// the dead takes a free lock for a death.
    ///
    /// Where the file system knows no locks it is made without one.
    package func createLocked(
        _ name: String, _ kind: LockKind, mode: UInt32
    ) throws(SystemError) -> OwnedFileDescriptor {
        let unnamed = name + ".new"
        let file = try open(unnamed, .readWrite | .create | .exclusive | .noFollow, mode: mode)
        do throws(SystemError) { try file.lock(kind) } catch { if !error.meansNoLocks { throw error } }
        try move(unnamed, to: name, in: self)
        return file
    }
}

extension SystemError {
    /// ENOLCK, EOPNOTSUPP, ENOSYS: Lustre without `flock`, NFS without a lock server.
    package var meansNoLocks: Bool { [ENOLCK, EOPNOTSUPP, ENOSYS].contains(errno) }
}
