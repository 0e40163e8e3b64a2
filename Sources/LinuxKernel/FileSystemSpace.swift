internal import CLinux

/// The size of a file system in bytes: statfs(2).
package struct FileSystemSpace: Equatable, Sendable {
    package var total: UInt64
    /// The free space for unprivileged processes.
    package var available: UInt64
    package init(total: UInt64, available: UInt64) {
        self.total = total
        self.available = available
    }
}

extension FileSystemSpace {
    /// Whether the file system has run out of inodes. If the path is missing, checks the nearest existing directory
    /// above it. Returns `false` if this fails or the file system does not count inodes.
    package static func hasNoInodes(at path: String) -> Bool {
        var place = path
        while !place.isEmpty {
            if let directory = try? OwnedFileDescriptor(opening: place, .path) {  // absent: try the parent
                var raw = statfs()
                return fstatfs(directory.rawValue, &raw) == 0 && raw.f_files > 0 && raw.f_ffree == 0
            }
            guard let slash = place.lastIndex(of: "/") else { return false }
            place = slash == place.startIndex && place != "/" ? "/" : String(place[..<slash])
        }
        return false
    }
}

extension OwnedFileDescriptor {
    /// Whether the mount or its file system is read-only; `false` if it cannot be asked. The corresponding call is `fstatfs(2)`.
    var isOnReadOnlyMount: Bool {
        var raw = statfs()
        return fstatfs(rawValue, &raw) == 0 && raw.f_flags & 1 /* ST_RDONLY */ != 0
    }

    /// The corresponding call is `fstatfs(2)`.
    package func space() throws(SystemError) -> FileSystemSpace {
        var raw = statfs()
        try checked("fstatfs", procPath) { fstatfs(rawValue, &raw) }
        let block = UInt64(clamping: raw.f_bsize)
        return FileSystemSpace(
            total: block.multipliedReportingOverflow(by: UInt64(raw.f_blocks)).partialValue,
            available: block.multipliedReportingOverflow(by: UInt64(raw.f_bavail)).partialValue)
    }
}
