internal import CLinux

/// The fields of stat(2): sizes in bytes, times in seconds and nanoseconds since 1970.
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
    /// The time of the last change to contents or metadata. No call can set it.
    package let changed: Timestamp
    /// The time of the last read. Depends on mount options: `relatime` updates it once a day, `noatime` never.
    package let accessed: Timestamp
    /// The disk space in use, in bytes.
    package let allocatedBytes: Int64
    /// The device number of a device node.
    package let majorNumber: UInt32
    package let minorNumber: UInt32

    /// Whether the file system is on a block device of this machine. Network, memory and overlay file systems have no
    /// major number.
    package var isOnBlockDevice: Bool { berth_major(device) != 0 }

    /// Whether reading may block or never end: a FIFO, a socket, or a device other than /dev/null.
    package var isSpecial: Bool { kind != .regular && kind != .directory && kind != .symlink && !isNullDevice }

    /// Whether this is /dev/null, which always reads as an empty file.
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

/// A time since 1970-01-01 00:00 UTC. Seconds may be negative; nanoseconds are 0..<1_000_000_000.
package struct Timestamp: Equatable, Sendable {
    package let seconds: Int64
    package let nanoseconds: Int32
    package init(seconds: Int64, nanoseconds: Int32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }
}

extension FileStatus {
    /// The corresponding calls are `stat(2)` and `lstat(2)`.
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

    /// Whether this directory has an entry of this name. Returns `false` on errors.
    package func holds(_ name: String) -> Bool {
        var raw = stat()
        return name.withCString { fstatat(rawValue, $0, &raw, AT_SYMLINK_NOFOLLOW) } == 0
    }

    /// The status of a directory entry; does not follow links. The corresponding call is `fstatat(2)`.
    package func status(of name: some PathBytes) throws(SystemError) -> FileStatus {
        var raw = stat()
        try name.withCPath { (cPath) throws(SystemError) in
            _ = try checked("fstatat", name.displayPath) { fstatat(rawValue, cPath, &raw, AT_SYMLINK_NOFOLLOW) }
        }
        return FileStatus(raw)
    }

    /// Whether the entry is a mount point. Always `false` before Linux 5.8, which lacks `STATX_ATTR_MOUNT_ROOT`. The
    /// corresponding call is `statx(2)`.
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
