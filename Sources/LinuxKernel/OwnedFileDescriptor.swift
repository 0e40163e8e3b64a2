internal import CLinux

/// A file descriptor with exactly one owner, which closes it. It is created close-on-exec.
package struct OwnedFileDescriptor: ~Copyable, Sendable {
    let rawValue: Int32

    init(rawValue: Int32) { self.rawValue = rawValue }

    deinit { close(rawValue) }

    /// Releases ownership without closing.
    consuming func released() -> Int32 {
        let raw = rawValue
        discard self
        return raw
    }
}

/// Flags of open(2). `O_CLOEXEC` is always added.
package struct OpenFlags: OptionSet, Sendable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }
    /// Written out because the standard library's generic version is not specialized across modules.
    package init(arrayLiteral elements: OpenFlags...) { self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue }) }
    package static func | (one: Self, other: Self) -> Self { Self(rawValue: one.rawValue | other.rawValue) }
    package func contains(_ other: Self) -> Bool { rawValue & other.rawValue == other.rawValue }
    package static let readOnly = OpenFlags(rawValue: O_RDONLY)
    package static let writeOnly = OpenFlags(rawValue: O_WRONLY)
    package static let readWrite = OpenFlags(rawValue: O_RDWR)
    package static let create = OpenFlags(rawValue: O_CREAT)
    package static let exclusive = OpenFlags(rawValue: O_EXCL)
    package static let truncate = OpenFlags(rawValue: O_TRUNC)
    package static let append = OpenFlags(rawValue: O_APPEND)
    package static let directory = OpenFlags(rawValue: O_DIRECTORY)
    package static let noFollow = OpenFlags(rawValue: O_NOFOLLOW)
    package static let nonBlocking = OpenFlags(rawValue: O_NONBLOCK)
    package static let noControllingTerminal = OpenFlags(rawValue: O_NOCTTY)
    /// Does not update the access time. Only for the file's owner. See open(2), `O_NOATIME`.
    package static let noAccessTime = OpenFlags(rawValue: BERTH_O_NOATIME)
    /// Opens only a reference to the location; see open(2), `O_PATH`.
    package static let path = OpenFlags(rawValue: BERTH_O_PATH)
}

/// Restrictions on path resolution by openat2(2).
package struct ResolveFlags: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Written out because the standard library's generic version is not specialized across modules.
    package init(arrayLiteral elements: ResolveFlags...) {
        self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue })
    }
    /// `RESOLVE_IN_ROOT`: this directory is the root for absolute paths, absolute links and `..`.
    package static let inRoot = ResolveFlags(rawValue: BERTH_RESOLVE_IN_ROOT)
    /// `RESOLVE_BENEATH`: a path that leaves the directory throws `EXDEV`.
    package static let beneath = ResolveFlags(rawValue: BERTH_RESOLVE_BENEATH)
    package static let noSymlinks = ResolveFlags(rawValue: BERTH_RESOLVE_NO_SYMLINKS)
    package static let noMagicLinks = ResolveFlags(rawValue: BERTH_RESOLVE_NO_MAGICLINKS)
    package static let inRootWithoutLinks = ResolveFlags(rawValue: BERTH_RESOLVE_IN_ROOT | BERTH_RESOLVE_NO_SYMLINKS)
}

extension OwnedFileDescriptor {
    /// Opens a path that the caller or the site specified. Follows links.
    ///
    /// The corresponding call is `open(2)`.
    package init(
        opening path: some PathBytes, _ flags: OpenFlags, mode: UInt32 = 0o600
    ) throws(SystemError) {
        var raw: Int32 = -1
        try path.withCPath { (cPath) throws(SystemError) in
            raw = try checked("open", path.displayPath) { berth_open(cPath, flags.rawValue | O_CLOEXEC, mode) }
        }
        self.init(rawValue: raw)
    }

    /// Opens relative to this directory with openat(2). Does not follow a link in the last component by default.
    package func open(
        _ path: some PathBytes, _ flags: OpenFlags, mode: UInt32 = 0o600
    ) throws(SystemError) -> OwnedFileDescriptor {
        var raw: Int32 = -1
        try path.withCPath { (cPath) throws(SystemError) in
            raw = try checked("openat", path.displayPath) {
                berth_openat(rawValue, cPath, flags.rawValue | O_CLOEXEC, mode)
            }
        }
        return OwnedFileDescriptor(rawValue: raw)
    }

    /// Opens a path from an image or a user beneath this directory, which the path cannot leave.
    ///
    /// The corresponding call is `openat2(2)`; magic links are never followed.
    package func resolve(
        _ path: some PathBytes, _ flags: OpenFlags, mode: UInt32 = 0, _ how: ResolveFlags = .inRoot
    ) throws(SystemError) -> OwnedFileDescriptor {
        var raw: Int32 = -1
        try path.withCPath { (cPath) throws(SystemError) in
            // EAGAIN: a rename interfered with the resolution; the manual page recommends another attempt.
            var attempts = 0
            while true {
                raw = berth_openat2(
                    rawValue, cPath, UInt64(UInt32(bitPattern: flags.rawValue | O_CLOEXEC)), UInt64(mode),
                    how.rawValue | BERTH_RESOLVE_NO_MAGICLINKS)
                if raw >= 0 { return }
                let code = berth_errno()
                if code == EINTR { continue }
                if code == EAGAIN, attempts < 64 { attempts += 1; continue }
                // Linux before 5.6, or an older seccomp filter, which may return either.
                if code == ENOSYS || code == EPERM {
                    let bytes = UnsafeBufferPointer(start: cPath, count: strlen(cPath)).map { UInt8(bitPattern: $0) }
                    raw = try PathWalk(how).open(bytes, beneath: self, flags, mode: mode)
                    return
                }
                throw SystemError(call: "openat2", errno: code, subject: path.displayPath)
            }
        }
        return OwnedFileDescriptor(rawValue: raw)
    }

    /// Takes ownership of a descriptor inherited from the parent program, by its number.
    package init(inherited number: Int32) throws(SystemError) {
        try checked("fcntl", "\(number)") { berth_fcntl(number, F_SETFD, Int(FD_CLOEXEC)) }
        self.init(rawValue: number)
    }

    /// Creates an unnamed file in memory. The corresponding call is `memfd_create(2)`.
    package init(inMemory name: String) throws(SystemError) {
        var raw: Int32 = -1
        try name.withCPath { (cName) throws(SystemError) in
            raw = try checked("memfd_create", name) { berth_memfd(cName) }
        }
        self.init(rawValue: raw)
    }

    /// Duplicates the descriptor for child programs; returns the copy and its number.
    package func inheritableCopy() throws(SystemError) -> (box: DescriptorBox, number: Int32) {
        let raw = try checked("fcntl", "F_DUPFD") { berth_fcntl(rawValue, F_DUPFD, 3) }
        return (DescriptorBox(OwnedFileDescriptor(rawValue: raw)), raw)
    }

    /// A second descriptor for the same open file description. The corresponding call is `fcntl(2)`, `F_DUPFD_CLOEXEC`.
    package func duplicate() throws(SystemError) -> OwnedFileDescriptor {
        let raw = try checked("fcntl", "F_DUPFD_CLOEXEC") { berth_fcntl(rawValue, F_DUPFD_CLOEXEC, 3) }
        return OwnedFileDescriptor(rawValue: raw)
    }

    /// Clears close-on-exec for the next `execve` and releases ownership.
    package consuming func inheritAcrossExec() throws(SystemError) {
        guard berth_fcntl(rawValue, F_SETFD, 0) == 0 else {
            let error = SystemError.last("fcntl", "F_SETFD")
            _ = consume self
            throw error
        }
        discard self
    }

    /// The path of the descriptor in this process's `/proc`, for calls that only accept paths.
    package var procPath: String { "/proc/self/fd/\(rawValue)" }
}

/// Holds a descriptor in a collection, which cannot contain a noncopyable value.
package final class DescriptorBox: Sendable {
    package let descriptor: OwnedFileDescriptor
    package init(_ descriptor: consuming OwnedFileDescriptor) { self.descriptor = descriptor }
}

extension OwnedFileDescriptor {
    /// Makes this directory the working directory. The corresponding call is `fchdir(2)`.
    package func enter() throws(SystemError) { try checked("fchdir", procPath) { fchdir(rawValue) } }
}
