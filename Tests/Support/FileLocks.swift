package import LinuxKernel

/// Locks as seen by another process.
package enum FileLocks {
    package enum Kind: Sendable { case shared, exclusive }

    private static func open(_ path: String, _ kind: Kind) throws -> (file: DescriptorBox, isLocked: Bool) {
        let file = try OwnedFileDescriptor(opening: path, kind == .exclusive ? .readWrite : .readOnly)
        let isLocked = try file.tryLock(kind == .exclusive ? .exclusive : .shared)
        return (DescriptorBox(file), isLocked)
    }

    /// Whether another open file description could acquire the lock.
    package static func isFree(_ path: String, _ kind: Kind) throws -> Bool { try open(path, kind).isLocked }

    /// Holds the lock until the box is released.
    package static func hold(_ path: String, _ kind: Kind) throws -> DescriptorBox {
        let (file, isLocked) = try open(path, kind)
        guard isLocked else { throw TestSupportError("\(path) is locked already") }
        return file
    }
}
