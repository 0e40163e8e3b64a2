internal import CLinux

/// Flags of mount(2).
package struct MountFlags: OptionSet, Sendable, Hashable {
    package let rawValue: UInt
    package init(rawValue: UInt) { self.rawValue = rawValue }
    /// Written out because the standard library's generic version is not specialized across modules.
    package init(arrayLiteral elements: MountFlags...) { self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue }) }
    package static func | (one: Self, other: Self) -> Self { Self(rawValue: one.rawValue | other.rawValue) }
    package func contains(_ other: Self) -> Bool { rawValue & other.rawValue == other.rawValue }
    package static let readOnly = MountFlags(rawValue: BERTH_MS_RDONLY)
    package static let noSetUserID = MountFlags(rawValue: BERTH_MS_NOSUID)
    package static let noDevices = MountFlags(rawValue: BERTH_MS_NODEV)
    package static let noExecution = MountFlags(rawValue: BERTH_MS_NOEXEC)
    package static let remount = MountFlags(rawValue: BERTH_MS_REMOUNT)
    package static let bind = MountFlags(rawValue: BERTH_MS_BIND)
    package static let recursive = MountFlags(rawValue: BERTH_MS_REC)
    package static let isPrivate = MountFlags(rawValue: BERTH_MS_PRIVATE)
    package static let isSlave = MountFlags(rawValue: BERTH_MS_SLAVE)
    package static let isShared = MountFlags(rawValue: BERTH_MS_SHARED)
    package static let isUnbindable = MountFlags(rawValue: BERTH_MS_UNBINDABLE)
}

/// Attributes of mount_setattr(2), which can also apply to mounts below.
package struct MountAttributes: OptionSet, Sendable, Hashable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Written out because the standard library's generic version is not specialized across modules.
    package init(arrayLiteral elements: MountAttributes...) {
        self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue })
    }
    package static func | (one: Self, other: Self) -> Self { Self(rawValue: one.rawValue | other.rawValue) }
    package func contains(_ other: Self) -> Bool { rawValue & other.rawValue == other.rawValue }
    package static let readOnly = MountAttributes(rawValue: BERTH_MOUNT_ATTR_RDONLY)
    package static let noSetUserID = MountAttributes(rawValue: BERTH_MOUNT_ATTR_NOSUID)
    package static let noDevices = MountAttributes(rawValue: BERTH_MOUNT_ATTR_NODEV)
    package static let noExecution = MountAttributes(rawValue: BERTH_MOUNT_ATTR_NOEXEC)
}

/// Mounts by descriptor. Source and target are already opened and checked, so no path is resolved a second time.
package enum Mounts {
    /// Mounts a file system of `type` on `target`. Makes `target` the working directory if it may be entered, so that
    /// relative paths in `data` start there. The corresponding call is `mount(2)`.
    package static func mount(
        type: String, over target: borrowing OwnedFileDescriptor, _ flags: MountFlags = [], data: String = "",
        source: String? = nil
    ) throws(SystemError) {
        try mount(type: type, at: target.entered(), flags, data: data, source: source)
    }

    /// Mounts a file system of `type` at a path that the launcher controls. The corresponding call is `mount(2)`.
    package static func mount(
        type: String, at path: String, _ flags: MountFlags = [], data: String = "", source: String? = nil
    ) throws(SystemError) {
        // The kernel silently truncates options to one page.
        guard data.utf8.count < 4096 else {
            throw SystemError(call: "mount", errno: E2BIG, subject: "\(type): options")
        }
        try path.withCPath { (cTarget) throws(SystemError) in
            try data.withCPath { (cData) throws(SystemError) in
                try type.withCPath { (cType) throws(SystemError) in
                    try (source ?? type).withCPath { (cSource) throws(SystemError) in
                        _ = try checked("mount", type) { berth_mount(cSource, cTarget, cType, flags.rawValue, cData) }
                    }
                }
            }
        }
    }

    /// Copies the mount at `path`, and the mounts below it if `recursive`, without attaching the copy, so that
    /// attributes can be set before it is visible. Returns `nil` before Linux 5.2 and if a seccomp filter denies the
    /// call.
    ///
    /// The corresponding call is `open_tree(2)` with `OPEN_TREE_CLONE`.
    package static func detachedCopy(
        of path: some PathBytes, recursive: Bool
    ) throws(SystemError) -> OwnedFileDescriptor? {
        try detachedCopy(of: path, startingAt: AT_FDCWD, recursive: recursive)
    }

    /// Copies the mount at `path` below `directory`, as above.
    package static func detachedCopy(
        of path: some PathBytes, in directory: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor? {
        try detachedCopy(of: path, startingAt: directory.rawValue, recursive: false)
    }

    /// Copies the mount at an open descriptor, as above.
    package static func detachedCopy(
        of place: borrowing OwnedFileDescriptor, recursive: Bool
    ) throws(SystemError) -> OwnedFileDescriptor? {
        try detachedCopy(of: "", startingAt: place.rawValue, recursive: recursive)
    }

    private static func detachedCopy(
        of path: some PathBytes, startingAt directory: Int32, recursive: Bool
    ) throws(SystemError) -> OwnedFileDescriptor? {
        let flags =
            UInt32(1 /* OPEN_TREE_CLONE */) | UInt32(O_CLOEXEC) | UInt32(bitPattern: BERTH_AT_EMPTY_PATH)
            | (recursive ? UInt32(BERTH_AT_RECURSIVE) : 0)
        var raw: Int32 = -1
        try path.withCPath { (cPath) throws(SystemError) in
            raw = berth_open_tree(directory, cPath, flags)
            if raw < 0, berth_errno() != ENOSYS, berth_errno() != EPERM {
                throw SystemError.last("open_tree", path.displayPath)
            }
        }
        return raw < 0 ? nil : OwnedFileDescriptor(rawValue: raw)
    }

    /// Attaches a detached copy to `target`. The corresponding call is `move_mount(2)`.
    package static func attach(
        _ copy: borrowing OwnedFileDescriptor, over target: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        try checked("move_mount", target.procPath) {
            berth_move_mount(copy.rawValue, "", target.rawValue, "", 0x04 | 0x40)
        }
    }

    /// Bind-mounts `source` on `target`. The corresponding call is `mount(2)` with `MS_BIND`.
    package static func bind(
        _ source: borrowing OwnedFileDescriptor, over target: borrowing OwnedFileDescriptor, recursive: Bool
    ) throws(SystemError) {
        let flags: MountFlags = recursive ? [.bind, .recursive] : [.bind]
        let sourcePath = source.procPath
        let targetPath = target.procPath
        try sourcePath.withCPath { (cSource) throws(SystemError) in
            try targetPath.withCPath { (cTarget) throws(SystemError) in
                _ = try checked("mount", "bind") { berth_mount(cSource, cTarget, nil, flags.rawValue, nil) }
            }
        }
    }

    /// Sets attributes of the mount with the root `target`. The corresponding call is `mount_setattr(2)`.
    package static func setAttributes(
        _ attributes: MountAttributes, on target: borrowing OwnedFileDescriptor, recursive: Bool
    ) throws(SystemError) {
        let flags = UInt32(bitPattern: BERTH_AT_EMPTY_PATH | (recursive ? BERTH_AT_RECURSIVE : 0))
        try checked("mount_setattr", target.procPath) {
            berth_mount_setattr(target.rawValue, "", flags, attributes.rawValue, 0, 0)
        }
    }

    /// Sets flags of one mount on kernels before 5.12. Repeats the flags that a user namespace locks, because the
    /// kernel returns `EPERM` otherwise. The corresponding call is `mount(2)` with `MS_REMOUNT|MS_BIND`.
    package static func remountBind(
        _ flags: MountFlags, on target: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        var status = statfs()
        try checked("fstatfs", target.procPath) { fstatfs(target.rawValue, &status) }
        // ST_RDONLY..ST_NOEXEC have the values of MS_RDONLY..MS_NOEXEC; the atime flags differ from theirs.
        let mountFlags = UInt(bitPattern: Int(status.f_flags))
        var kept = mountFlags & 0xF
        if mountFlags & 0x0400 != 0 { kept |= BERTH_MS_NOATIME }
        if mountFlags & 0x0800 != 0 { kept |= BERTH_MS_NODIRATIME }
        if mountFlags & 0x1000 != 0 { kept |= BERTH_MS_RELATIME }
        let all = flags.union([.remount, .bind]).rawValue | kept
        let path = target.procPath
        try path.withCPath { (cTarget) throws(SystemError) in
            _ = try checked("mount", "remount") { berth_mount(nil, cTarget, nil, all, nil) }
        }
    }

    /// The paths of the mount points below `target`: proc_pid_mountinfo(5).
    package static func points(below target: borrowing OwnedFileDescriptor) throws(SystemError) -> [[UInt8]] {
        let top = try target.currentPath() + [UInt8(ascii: "/")]
        return ByteLines(try contents(of: "/proc/self/mountinfo")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
            guard fields.count > 4 else { return nil }
            let point = unescaped(fields[4])
            return point.starts(with: top) ? point : nil
        }
    }

    /// Decodes a field of mountinfo, which encodes blanks, line ends and backslashes like `\040`.
    package static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }

    /// Changes the propagation of all mounts of this namespace. The corresponding call is `mount(2)`.
    package static func setPropagationOfAll(_ flags: MountFlags) throws(SystemError) {
        try checked("mount", "/") { berth_mount(nil, "/", nil, flags.union(.recursive).rawValue, nil) }
    }

    /// Changes the propagation of the mount at the target. The corresponding call is `mount(2)`.
    package static func setPropagation(
        _ flags: MountFlags, of target: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        let path = target.procPath
        try path.withCPath { (cTarget) throws(SystemError) in
            _ = try checked("mount", path) { berth_mount(nil, cTarget, nil, flags.rawValue, nil) }
        }
    }

    /// Excludes this mount and those below it from recursive binds. Its root becomes the working directory. The
    /// corresponding call is `mount(2)`, `MS_UNBINDABLE`.
    package static func forbidBinding(of target: borrowing OwnedFileDescriptor) throws(SystemError) {
        try target.entered().withCPath { (cTarget) throws(SystemError) in
            _ = try checked("mount", "unbindable") { berth_mount(nil, cTarget, nil, BERTH_MS_UNBINDABLE, nil) }
        }
    }

    /// Makes `newRoot` the root of this mount namespace and detaches the old root: `pivot_root(".", ".")` stacks the
    /// old root over the new one, as pivot_root(2) describes.
    package static func pivot(to newRoot: borrowing OwnedFileDescriptor) throws(SystemError) {
        try checked("fchdir", newRoot.procPath) { fchdir(newRoot.rawValue) }
        try checked("pivot_root", ".") { berth_pivot_root(".", ".") }
        try checked("umount2", ".") { berth_umount2(".", 2 /* MNT_DETACH */) }
        try checked("chdir", "/") { chdir("/") }
    }

    /// Detaches the mount at the target. The corresponding call is `umount2(2)` with `MNT_DETACH`.
    package static func detach(_ target: borrowing OwnedFileDescriptor) throws(SystemError) {
        let path = target.procPath
        try path.withCPath { (cTarget) throws(SystemError) in
            _ = try checked("umount2", path) { berth_umount2(cTarget, 2 /* MNT_DETACH */) }
        }
    }
}

extension OwnedFileDescriptor {
    /// The current path, without links: proc_pid_fd(5).
    package func currentPath() throws(SystemError) -> [UInt8] {
        try OwnedFileDescriptor(opening: "/proc/self/fd", .path | .directory).linkTarget("\(rawValue)")
    }

    /// A path for this directory. Enters it and returns `.`, because each path through /proc costs the kernel an inode;
    /// returns such a path if the directory may not be entered.
    fileprivate func entered() -> String { fchdir(rawValue) == 0 ? "." : procPath }
}
