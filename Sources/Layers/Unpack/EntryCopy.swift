internal import CLinux
internal import LinuxKernel

/// What stands in for a hard link where there can be none: between directories on BeeGFS and AFS, on many a FUSE file system, for
/// a name more than the file system allows one file (ext4: 65,000), and between two file systems.
///
/// An archive may link a large file a million times, so that the copies' bytes are counted.
struct EntryCopy {
    /// In bytes, of all copies together.
    private let limit: Int64
    private(set) var bytes: Int64 = 0

    init(limit: Int64) { self.limit = limit }

    /// EXDEV: another file system, or what says so of another directory. EMLINK: as many names as it allows. EPERM: no links at all,
    /// or fs.protected_hardlinks and a file of somebody else, as in a store shared by users.
    static func standsIn(for error: SystemError) -> Bool {
        [EXDEV, EMLINK, EPERM, EACCES, EOPNOTSUPP, ENOSYS].contains(error.errno)
    }

    /// Of mknod(2): many a network file system and FUSE have none.
    static func meansNoPipes(_ error: SystemError) -> Bool { [EPERM, EOPNOTSUPP, ENOSYS].contains(error.errno) }

    /// Makes the name, which must be free, as a copy of a file, link or pipe, with its attributes and time.
    ///
    /// - Parameter status: Of what is copied.
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
                // Allowed to root only; to anybody else the tree is his own.
                guard error.errno == EPERM else { throw error }
            }
            try target.setTimes(of: name, modified: status.modified)
        } catch {
            throw LayerError(.system(error))
        }
    }

    /// Also what its owner may not read, as the `/etc/shadow` of some distributions: he may change that for as long as it takes.
    private static func open(
        _ name: [UInt8], in directory: borrowing OwnedFileDescriptor, _ status: FileStatus
    ) throws(SystemError) -> OwnedFileDescriptor {
        do throws(SystemError) { return try directory.open(name, .readOnly | .noFollow) } catch {
            guard error.errno == EACCES, status.permissions & 0o400 == 0 else { throw error }
            do throws(SystemError) { try directory.setPermissions(of: name, status.permissions | 0o400) } catch _ {
                throw error  // somebody else's
            }
            let file = try directory.open(name, .readOnly | .noFollow)
            try directory.setPermissions(of: name, status.permissions)
            return file
        }
    }

    /// Stretches of zeros become holes, so that a sparse file does not grow.
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

    /// Users' own attributes; overlayfs's marks belong to the layer's tree and not to what is in it.
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
