internal import CLinux

extension OwnedFileDescriptor {
    /// The attribute names visible to this process; empty if the file system has no extended attributes.
    ///
    /// The corresponding call is `flistxattr(2)`.
    package func extendedAttributeNames() throws(SystemError) -> [[UInt8]] {
        var names = [UInt8](repeating: 0, count: 65536)
        let count = names.withUnsafeMutableBytes { bytes in
            flistxattr(rawValue, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        if count < 0 {
            if berth_errno() == ENOTSUP { return [] }
            throw SystemError.last("flistxattr", procPath)
        }
        return names[..<count].split(separator: 0).map { Array($0) }
    }

    /// The corresponding call is `fremovexattr(2)`.
    package func removeExtendedAttribute(_ name: some PathBytes) throws(SystemError) {
        try name.withCPath { (cName) throws(SystemError) in
            _ = try checked("fremovexattr", name.displayPath) { fremovexattr(rawValue, cName) }
        }
    }
}
