internal import CLinux
internal import LinuxKernel

/// Copies a file if a hard link is impossible: between directories on BeeGFS, AFS and many FUSE file systems, between
/// two file systems, and above the maximum number of links (ext4: 65,000).
///
/// An archive may link a large file a million times, so the copied bytes are limited.
struct EntryCopy {
    /// The maximum size of all copies together, in bytes.
    private let limit: Int64
    private(set) var bytes: Int64 = 0

    init(limit: Int64) { self.limit = limit }

    /// EXDEV: another file system, or a directory that counts as one. EMLINK: too many links. EPERM: no links, or
    /// fs.protected_hardlinks for another user's file, as in a shared store.
    static func standsIn(for error: SystemError) -> Bool {
        [EXDEV, EMLINK, EPERM, EACCES, EOPNOTSUPP, ENOSYS].contains(error.errno)
    }

    /// mknod(2) fails for pipes on many network and FUSE file systems.
    static func meansNoPipes(_ error: SystemError) -> Bool { [EPERM, EOPNOTSUPP, ENOSYS].contains(error.errno) }

    /// Copies a file, link or pipe to a new name, with its attributes and time.
    ///
    /// - Parameter status: The status of the original.
    mutating func make(
        _ name: [UInt8], in target: borrowing OwnedFileDescriptor, of original: [UInt8],
        in source: borrowing OwnedFileDescriptor, _ status: FileStatus
    ) throws(LayerError) {
        if status.kind == .regular {
            let (sum, overflow) = bytes.addingReportingOverflow(status.size)
            if overflow || sum > limit { throw LayerError(.limit(.totalBytes, limit: limit)) }
            bytes = sum
        }
        do throws(SystemError) {
            switch status.kind {
            case .regular:
                let input = try Self.open(original, in: source, status)
                let output = try target.open(name, .writeOnly | .create | .exclusive | .noFollow, mode: 0o600)
                try Self.copyContents(from: input, to: output, bytes: status.size)
                try Self.copyExtendedAttributes(from: input, to: output)
                try output.setPermissions(status.permissions)
            case .symlink: try target.makeSymlink(name, to: try source.linkTarget(original))
            case .fifo:
                do throws(SystemError) { try target.makeFIFO(name, mode: 0o600) } catch {
                    if Self.meansNoPipes(error) { return }
                    throw error
                }
                try target.setPermissions(of: name, status.permissions)
            default: return
            }
            do throws(SystemError) {
                try target.setOwner(of: name, user: status.userID, group: status.groupID)
            } catch {
                // Only root may change owners. For another user, the tree belongs to that user.
                guard error.errno == EPERM else { throw error }
            }
            try target.setTimes(of: name, modified: status.modified)
        } catch {
            throw LayerError(.system(error))
        }
    }

    /// Opens a file. Changes its mode temporarily if its owner may not read it, such as `/etc/shadow` of some
    /// distributions.
    private static func open(
        _ name: [UInt8], in directory: borrowing OwnedFileDescriptor, _ status: FileStatus
    ) throws(SystemError) -> OwnedFileDescriptor {
        do throws(SystemError) { return try directory.open(name, .readOnly | .noFollow) } catch {
            guard error.errno == EACCES, status.permissions & 0o400 == 0 else { throw error }
            do throws(SystemError) { try directory.setPermissions(of: name, status.permissions | 0o400) } catch _ {
                throw error  // another user's
            }
            let file = try directory.open(name, .readOnly | .noFollow)
            try directory.setPermissions(of: name, status.permissions)
            return file
        }
    }

    /// Turns runs of zeros into holes, so that a sparse file does not grow.
    private static func copyContents(
        from input: borrowing OwnedFileDescriptor, to output: borrowing OwnedFileDescriptor, bytes: Int64
    ) throws(SystemError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var position: Int64 = 0
        var isBehindHole = false
        while true {
            let count = try input.read(into: buffer)
            if count == 0 { break }
            let chunk = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            let isHole = count >= 65536 && chunk.allSatisfy { $0 == 0 }
            if !isHole {
                if isBehindHole { try output.seek(to: position) }
                try output.writeAll(chunk)
            }
            isBehindHole = isHole
            position += Int64(count)
        }
        if isBehindHole { try output.setSize(position) }
    }

    /// Copies `user.` attributes except those of overlayfs, which belong to the layer's tree rather than to the file.
    static func copyExtendedAttributes(
        from source: borrowing OwnedFileDescriptor, to target: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        for name in try source.extendedAttributeNames()
        where name.starts(with: "user.".utf8) && !name.starts(with: "user.overlay.".utf8) {
            guard let value = try source.extendedAttribute(name) else { continue }
            do throws(SystemError) { try target.setExtendedAttribute(name, value) } catch {
                guard error.errno == ENOTSUP || error.errno == EPERM else { throw error }
            }
        }
    }
}
