internal import CLinux

/// Modes, owners, times and extended attributes, on descriptors and on single entries, never through a link.
extension OwnedFileDescriptor {
    /// The corresponding call is `fchmod(2)`; works on any descriptor but one opened with `O_PATH`.
    package func setPermissions(_ mode: UInt32) throws(SystemError) {
        try checked("fchmod", procPath) { fchmod(rawValue, mode) }
    }

    /// Of an entry that is not a link; on a link it is `EOPNOTSUPP`. The corresponding call is `fchmodat(3)`.
    package func setPermissions(of name: some PathBytes, _ mode: UInt32) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("fchmodat", name.displayPath) { fchmodat(rawValue, cPath, mode, AT_SYMLINK_NOFOLLOW) }
        }
    }

    /// The corresponding call is `fchownat(2)` with `AT_SYMLINK_NOFOLLOW`.
    package func setOwner(of name: some PathBytes, user: UInt32, group: UInt32) throws(SystemError) {
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("fchownat", name.displayPath) {
                fchownat(rawValue, cPath, user, group, AT_SYMLINK_NOFOLLOW)
            }
        }
    }

    /// The corresponding call is `fchown(2)`.
    package func setOwner(user: UInt32, group: UInt32) throws(SystemError) {
        try checked("fchown", procPath) { fchown(rawValue, user, group) }
    }

    /// Access and modification time of an entry. The corresponding call is `utimensat(2)` with `AT_SYMLINK_NOFOLLOW`.
    package func setTimes(of name: some PathBytes, modified: Timestamp) throws(SystemError) {
        var times = [timespec](repeating: timespec(modified), count: 2)
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("utimensat", name.displayPath) { utimensat(rawValue, cPath, &times, AT_SYMLINK_NOFOLLOW) }
        }
    }

    /// Of access and modification; the first is the second where it is not given. The corresponding call is `futimens(3)`.
    package func setTimes(accessed: Timestamp? = nil, modified: Timestamp) throws(SystemError) {
        var times = [timespec(accessed ?? modified), timespec(modified)]
        try checked("futimens", procPath) { futimens(rawValue, &times) }
    }

    /// Makes now the time of the last modification, by the file system's clock. The corresponding call is `futimens(3)`.
    package func touch() throws(SystemError) { try checked("futimens", procPath) { futimens(rawValue, nil) } }

    /// Sets the time of access to now and leaves the other: owners may, and who may write. `futimens(3)` with `UTIME_NOW`.
    package func setAccessedNow() throws(SystemError) {
        var times = [timespec(), timespec()]
        times[0].tv_nsec = (1 << 30) - 1  // UTIME_NOW
        times[1].tv_nsec = (1 << 30) - 2  // UTIME_OMIT
        try checked("futimens", procPath) { futimens(rawValue, &times) }
    }

    /// Has each directory that is made in this one lie apart from the others, as those at the top of a disk do: `FS_TOPDIR_FL`,
    /// which ext4 knows. The corresponding calls are `ioctl(2)` with `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS`.
    ///
    /// - Throws: `EOPNOTSUPP` or `ENOTTY` where the file system has no such flag.
    package func placeDirectoriesApart() throws(SystemError) {
        let top: Int32 = 0x20000
        var flags: Int32 = 0
        try checked("ioctl", procPath) { berth_get_inode_flags(rawValue, &flags) }
        if flags & top != 0 { return }
        flags |= top
        try checked("ioctl", procPath) { berth_set_inode_flags(rawValue, &flags) }
    }

    /// The corresponding call is `fsetxattr(2)`.
    package func setExtendedAttribute(_ name: some PathBytes, _ value: [UInt8]) throws(SystemError) {
        try name.withCPath { (cName) throws(SystemError) in
            _ = try checked("fsetxattr", name.displayPath) {
                value.withUnsafeBytes { fsetxattr(rawValue, cName, $0.baseAddress, $0.count, 0) }
            }
        }
    }

    /// Of an entry of this directory, a link itself and not its target: `lsetxattr(2)` below this process's `/proc`.
    package func setExtendedAttribute(
        of entry: [UInt8], _ name: some PathBytes, _ value: [UInt8]
    ) throws(SystemError) {
        let path = Array(procPath.utf8) + [0x2F] + entry
        try path.withCPath { (cPath) throws(SystemError) in
            try name.withCPath { (cName) throws(SystemError) in
                _ = try checked("lsetxattr", entry.displayPath) {
                    value.withUnsafeBytes { lsetxattr(cPath, cName, $0.baseAddress, $0.count, 0) }
                }
            }
        }
    }

    /// `nil` where the attribute is not set. The corresponding call is `fgetxattr(2)`.
    package func extendedAttribute(_ name: some PathBytes) throws(SystemError) -> [UInt8]? {
        var result: [UInt8]?
        try name.withCPath { (cName) throws(SystemError) in
            // Most are absent or small; XATTR_SIZE_MAX is too much to clear for each.
            var size = 256
            while true {
                var value = [UInt8](repeating: 0, count: size)
                let count = value.withUnsafeMutableBytes { fgetxattr(rawValue, cName, $0.baseAddress, $0.count) }
                if count >= 0 {
                    value.removeLast(size - count)
                    result = value
                    return
                }
                let code = berth_errno()
                // A file system that can have none has none: tmpfs before Linux 6.6.
                if code == ENODATA || code == ENOTSUP { return }
                guard code == ERANGE, size < 65536 else { throw SystemError.last("fgetxattr", name.displayPath) }
                size = 65536
            }
        }
        return result
    }
}

extension timespec {
    init(_ time: Timestamp) { self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds)) }
}
