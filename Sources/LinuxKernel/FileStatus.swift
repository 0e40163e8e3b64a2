internal import CLinux

/// What stat(2) tells, in the kernel's units: sizes in bytes, times in seconds and nanoseconds since 1970.
package struct FileStatus: Equatable, Sendable {
    package enum Kind: Sendable, Equatable {
        case regular, directory, symlink, fifo, socket, characterDevice, blockDevice, unknown
    }

    package let kind: Kind
    /// Permission bits with setuid, setgid and sticky: the low twelve bits of `st_mode`.
    package let permissions: UInt32
    package let size: Int64
    package let userID: UInt32
    package let groupID: UInt32
    package let links: UInt64
    package let device: UInt64
    package let inode: UInt64
    package let modified: Timestamp
    /// When anything of it was last changed, names in a directory and permissions too; by no call to be set.
    package let changed: Timestamp
    /// When it was last read, as far as the mount's options have that kept: `relatime` to the day, `noatime` not at all.
    package let accessed: Timestamp
    /// Of disk space taken.
    package let allocatedBytes: Int64
    /// Of a device node: what it stands for.
    package let majorNumber: UInt32
    package let minorNumber: UInt32

    /// Whether the file system has a disk of this machine below it: those of networks, in memory and made of others have
    /// devices without a major number.
    package var isOnBlockDevice: Bool { berth_major(device) != 0 }

    /// A file that may not end, or that reading may wait for: a FIFO, a socket, a device other than /dev/null.
    package var isSpecial: Bool { kind != .regular && kind != .directory && kind != .symlink && !isNullDevice }

    /// /dev/null, which always reads as an empty file.
    package var isNullDevice: Bool { kind == .characterDevice && majorNumber == 1 && minorNumber == 3 }

    init(_ raw: stat) {
        switch raw.st_mode & BERTH_S_IFMT {
        case BERTH_S_IFREG: kind = .regular
        case BERTH_S_IFDIR: kind = .directory
        case BERTH_S_IFLNK: kind = .symlink
        case BERTH_S_IFIFO: kind = .fifo
        case BERTH_S_IFSOCK: kind = .socket
        case BERTH_S_IFCHR: kind = .characterDevice
        case BERTH_S_IFBLK: kind = .blockDevice
        default: kind = .unknown
        }
        permissions = raw.st_mode & 0o7777
        size = Int64(raw.st_size)
        userID = raw.st_uid
        groupID = raw.st_gid
        links = UInt64(raw.st_nlink)
        device = UInt64(raw.st_dev)
        inode = UInt64(raw.st_ino)
        modified = Timestamp(seconds: Int64(raw.st_mtim.tv_sec), nanoseconds: Int32(raw.st_mtim.tv_nsec))
        changed = Timestamp(seconds: Int64(raw.st_ctim.tv_sec), nanoseconds: Int32(raw.st_ctim.tv_nsec))
        accessed = Timestamp(seconds: Int64(raw.st_atim.tv_sec), nanoseconds: Int32(raw.st_atim.tv_nsec))
        allocatedBytes = Int64(raw.st_blocks) * 512
        majorNumber = berth_major(UInt64(raw.st_rdev))
        minorNumber = berth_minor(UInt64(raw.st_rdev))
    }
}

/// A point in time since 1970-01-01 00:00 UTC; seconds may be negative, nanoseconds are 0..<1_000_000_000.
package struct Timestamp: Equatable, Sendable {
    package let seconds: Int64
    package let nanoseconds: Int32
    package init(seconds: Int64, nanoseconds: Int32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }
}

extension FileStatus {
    /// By an ordinary path. The corresponding calls are `stat(2)` and `lstat(2)`.
    package init(of path: some PathBytes, followLinks: Bool = true) throws(SystemError) {
        var raw = stat()
        try path.withCPath { (cPath) throws(SystemError) in
            _ = try checked(followLinks ? "stat" : "lstat", path.displayPath) {
                fstatat(AT_FDCWD, cPath, &raw, followLinks ? 0 : AT_SYMLINK_NOFOLLOW)
            }
        }
        self.init(raw)
    }
}

extension OwnedFileDescriptor {
    /// The corresponding call is `fstat(2)`.
    package func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        try checked("fstat", procPath) { fstat(rawValue, &raw) }
        return FileStatus(raw)
    }

    /// Whether this directory has an entry of that name, for all that may be seen of it.
    package func holds(_ name: String) -> Bool {
        var raw = stat()
        return name.withCString { fstatat(rawValue, $0, &raw, AT_SYMLINK_NOFOLLOW) } == 0
    }

    /// Of an entry of this directory, itself and not what it points to. The corresponding call is `fstatat(2)`.
    package func status(of name: some PathBytes) throws(SystemError) -> FileStatus {
        var raw = stat()
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("fstatat", name.displayPath) { fstatat(rawValue, cPath, &raw, AT_SYMLINK_NOFOLLOW) }
        }
        return FileStatus(raw)
    }

    /// Whether something is mounted on this entry. The corresponding call is `statx(2)`, `STATX_ATTR_MOUNT_ROOT`; `false`
    /// before Linux 5.8, which does not tell.
    package func isMountPoint(_ name: some PathBytes) throws(SystemError) -> Bool {
        var found: Int32 = 0
        try name.withCPath { (cPath) throws(SystemError) in
            found = try checked("statx", name.displayPath) { berth_is_mount_root(rawValue, cPath) }
        }
        return found == 1
    }

    /// The magic number of the file system, `f_type` of fstatfs(2).
    package func fileSystemType() throws(SystemError) -> UInt64 {
        var raw = statfs()
        try checked("fstatfs", procPath) { fstatfs(rawValue, &raw) }
        return UInt64(bitPattern: Int64(raw.f_type))
    }
}
