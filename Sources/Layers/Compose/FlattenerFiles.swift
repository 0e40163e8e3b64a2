internal import CLinux
internal import LinuxKernel

/// Files of a layer in the flat tree: second names, or copies where there can be none.
extension Composition {
    /// Adds one entry that is not a directory, in place of whatever has its name.
    func add(
        _ name: [UInt8], _ status: FileStatus, from source: borrowing OwnedFileDescriptor, to place: RootedTree.Place
    ) throws(LayerError) {
        if try link(name, from: source, to: place) { return }
        try remove(name, in: place)
        if try link(name, from: source, to: place) { return }
        try copy(name, status, from: source, to: place)
    }

    /// False where the name is taken or a link can not be made.
    private func link(
        _ name: [UInt8], from source: borrowing OwnedFileDescriptor, to place: RootedTree.Place
    ) throws(LayerError) -> Bool {
        do throws(SystemError) {
            try place.directory.descriptor.makeHardLink(name, to: name, in: source)
            return true
        } catch {
            // EXDEV: another file system. EMLINK: as many names as it allows. EPERM: no links at all, or
            // fs.protected_hardlinks and a file of somebody else, as in a store shared by users.
            guard [EEXIST, EXDEV, EMLINK, EPERM, EOPNOTSUPP, EACCES].contains(error.errno) else {
                throw LayerError(.system(error))
            }
            return false
        }
    }

    private func copy(
        _ name: [UInt8], _ status: FileStatus, from source: borrowing OwnedFileDescriptor, to place: RootedTree.Place
    ) throws(LayerError) {
        let identity = FileIdentity(device: status.device, inode: status.inode)
        if status.links > 1, let earlier = copies[identity], try linkCopy(name, to: earlier, in: place) { return }
        let target = place.directory
        switch status.kind {
        case .regular:
            let input = try system { () throws(SystemError) in try source.open(name, [.readOnly, .noFollow]) }
            let output = try system { () throws(SystemError) in
                try target.descriptor.open(name, [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600)
            }
            try system { () throws(SystemError) in
                try Self.copyContents(from: input, to: output, bytes: status.size)
                try Self.copyExtendedAttributes(from: input, to: output)
                try output.setPermissions(status.permissions)
            }
        case .symlink:
            try system { () throws(SystemError) in
                try target.descriptor.makeSymlink(name, to: try source.linkTarget(name))
            }
        case .fifo:
            try system { () throws(SystemError) in
                try target.descriptor.makeFIFO(name, mode: 0o600)
                try target.descriptor.setPermissions(of: name, status.permissions)
            }
        default: return
        }
        try system { () throws(SystemError) in
            do throws(SystemError) {
                try target.descriptor.setOwner(of: name, user: status.userID, group: status.groupID)
            } catch {
                // Allowed to root only; to anybody else the tree is his own.
                guard error.errno == EPERM else { throw error }
            }
            try target.descriptor.setTimes(of: name, modified: status.modified)
        }
        if status.links > 1 { copies[identity] = EntryPath.join(place.path, name) }
    }

    /// False where the earlier copy is gone again.
    private func linkCopy(
        _ name: [UInt8], to earlier: [UInt8], in place: RootedTree.Place
    ) throws(LayerError) -> Bool {
        guard case .place(let parent) = try flat.find(EntryPath.parent(earlier), .report) else { return false }
        do throws(SystemError) {
            try place.directory.descriptor.makeHardLink(
                name, to: EntryPath.base(earlier), in: parent.directory.descriptor)
            return true
        } catch {
            return false  // a second copy serves as well
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
