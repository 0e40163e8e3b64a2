internal import CLinux

/// Sets modes, owners, times and extended attributes of descriptors and directory entries, without following links.
extension OwnedFileDescriptor {
    /// The corresponding call is `fchmod(2)`. Fails on a descriptor opened with `O_PATH`.
    package func setPermissions(_ mode: UInt32) throws(SystemError) {
        try checked("fchmod", procPath) { fchmod(rawValue, mode) }
    }

    /// Throws `EOPNOTSUPP` for a symbolic link. The corresponding call is `fchmodat(3)`.
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

    /// Sets the access and modification time of an entry. The corresponding call is `utimensat(2)` with
    /// `AT_SYMLINK_NOFOLLOW`.
    package func setTimes(of name: some PathBytes, modified: Timestamp) throws(SystemError) {
        var times = [timespec](repeating: timespec(modified), count: 2)
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("utimensat", name.displayPath) { utimensat(rawValue, cPath, &times, AT_SYMLINK_NOFOLLOW) }
        }
    }

    /// Sets both times; `accessed` defaults to `modified`. The corresponding call is `futimens(3)`.
    package func setTimes(accessed: Timestamp? = nil, modified: Timestamp) throws(SystemError) {
        var times = [timespec(accessed ?? modified), timespec(modified)]
        try checked("futimens", procPath) { futimens(rawValue, &times) }
    }

    /// Sets both times to the file system's current time. The corresponding call is `futimens(3)`.
    package func touch() throws(SystemError) { try checked("futimens", procPath) { futimens(rawValue, nil) } }

    /// Sets only the access time to now. Needs ownership or write permission. `futimens(3)` with `UTIME_NOW`.
    package func setAccessedNow() throws(SystemError) {
        var times = [timespec(), timespec()]
        times[0].tv_nsec = (1 << 30) - 1  // UTIME_NOW
        times[1].tv_nsec = (1 << 30) - 2  // UTIME_OMIT
        try checked("futimens", procPath) { futimens(rawValue, &times) }
    }

    /// Makes ext4 spread this directory's subdirectories over the disk, as it does with those of the root:
    /// `FS_TOPDIR_FL`. The corresponding calls are `ioctl(2)` with `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS`.
    ///
    /// - Throws: `EOPNOTSUPP` or `ENOTTY` if the file system lacks the flag.
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

    /// Sets an attribute of a directory entry without following a link: `lsetxattr(2)` through this process's `/proc`.
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

    /// Returns `nil` if the attribute is not set. The corresponding call is `fgetxattr(2)`.
    package func extendedAttribute(_ name: some PathBytes) throws(SystemError) -> [UInt8]? {
        var result: [UInt8]?
        try name.withCPath { (cName) throws(SystemError) in
            // Most are absent or small, and clearing a buffer of XATTR_SIZE_MAX for each is expensive.
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
                // ENOTSUP: the file system supports none, such as tmpfs before Linux 6.6.
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
