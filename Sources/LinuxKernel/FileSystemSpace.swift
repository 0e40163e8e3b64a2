internal import CLinux

/// What fits into a file system, in bytes: statfs(2).
package struct FileSystemSpace: Equatable, Sendable {
    package var total: UInt64
    /// For a caller without privilege.
    package var available: UInt64
    package init(total: UInt64, available: UInt64) {
        self.total = total
        self.available = available
    }
}

extension OwnedFileDescriptor {
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
