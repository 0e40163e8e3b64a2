internal import CLinux
internal import LinuxKernel

/// Creates files, and sets what all entries have in common.
extension LayerApplier {
    /// The minimum size of files that are written back individually if `writeBack` asks for it.
    private static let largeBytes: Int64 = 4 << 20

    func makeFile(_ name: [UInt8], in parent: RootedTree.Place, _ entry: TarEntry) throws(LayerError) {
        // Never set setuid or setgid: the unpacking user owns the file, and the tree may be shared, so the bit would
        // let other users run it as that user (CVE-2021-41091, CVE-2021-41103).
        let permissions = permissions(entry)
        let new = NewFile(
            name: name, directory: parent.directory, permissions: permissions,
            setsPermissions: permissions & maskedBits != 0,
            owner: needsOwner(entry) ? (entry.userID, entry.groupID) : nil, modified: entry.modified)
        if writers.areSeveral, try leaveToWriters(new, in: parent, entry) { return }
        var made: OwnedFileDescriptor?
        try making(name, in: parent) { () throws(SystemError) in made = try new.create() }
        guard let created = made.take() else { return }
        let box = DescriptorBox(created)
        let isLarge = entry.size >= Self.largeBytes
        if entry.extents == nil {
            while let (offset, bytes) = try reader.nextData() {
                try mapError { () throws(SystemError) in try box.descriptor.writeAll(bytes) }
                if isLarge { writeBack.wrote(box, upTo: offset + Int64(bytes.count)) }
            }
        } else {
            try writeSparse(box, entry)
        }
        counts.fileBytes += entry.size
        try mapError { () throws(SystemError) in
            if !entry.extendedAttributes.isEmpty { try setExtendedAttributes(entry, on: box.descriptor) }
            try new.finish(box.descriptor)
        }
        if isLarge { writeBack.end(box) }
    }

    /// Queues a small file. Returns `false` if it must be created in order: it is too large for one chunk, or it
    /// replaces something other than a file, through which open directories may have been found.
    private func leaveToWriters(
        _ new: NewFile, in parent: RootedTree.Place, _ entry: TarEntry
    ) throws(LayerError) -> Bool {
        let path = EntryPath.join(parent.path, new.name)
        guard entry.extendedAttributes.isEmpty, records.layer.directories[path] == nil,
            !records.layer.links.contains(path)
        else { return false }
        try writers.flush(new.name, in: parent)
        guard let bytes = reader.wholeData() else { return false }
        counts.fileBytes += entry.size
        try writers.add(new, path, bytes, entry)
        return true
    }

    /// Keeps holes: writes only the extents of the map, and sets the size at the end.
    private func writeSparse(_ box: DescriptorBox, _ entry: TarEntry) throws(LayerError) {
        var position: Int64 = 0
        while let (offset, bytes) = try reader.nextData() {
            do throws(SystemError) {
                if offset != position { try box.descriptor.seek(to: offset) }
                try box.descriptor.writeAll(bytes)
            } catch {
                throw LayerError(.system(error))
            }
            position = offset + Int64(bytes.count)
            if entry.size >= Self.largeBytes { writeBack.wrote(box, upTo: position) }
        }
        try mapError { () throws(SystemError) in try box.descriptor.setSize(entry.size) }
    }

    /// Sets `user.` attributes except those of overlayfs, with which an image could make a merged tree show other
    /// files. Skips capabilities, which are like setuid, and labels and ACLs, which belong to the host. A file system
    /// without attributes is not an error.
    func setExtendedAttributes(_ entry: TarEntry, on file: borrowing OwnedFileDescriptor) throws(SystemError) {
        for attribute in entry.extendedAttributes {
            guard attribute.name.starts(with: "user.".utf8), !attribute.name.starts(with: "user.overlay.".utf8) else {
                counts.droppedAttributes += 1
                continue
            }
            do throws(SystemError) {
                try setExtendedAttribute(attribute.name, attribute.value, on: file)
            } catch {
                guard [ENOTSUP, EPERM, E2BIG, ERANGE, ENOSPC, ENODATA].contains(error.errno) else { throw error }
                counts.droppedAttributes += 1
            }
        }
    }

    /// Sets an attribute. Changes the mode temporarily, because xattr(7) requires write permission by mode (EACCES),
    /// even with a writable descriptor.
    private func setExtendedAttribute(
        _ name: [UInt8], _ value: [UInt8], on file: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        do throws(SystemError) { try file.setExtendedAttribute(name, value) } catch {
            guard error.errno == EACCES else { throw error }
            let permissions = try file.status().permissions
            try file.setPermissions(permissions | 0o200)
            try file.setExtendedAttribute(name, value)
            try file.setPermissions(permissions)
        }
    }

    /// Sets owner and times of entries without a descriptor.
    func finish(_ name: [UInt8], in parent: RootedTree.Place, _ entry: TarEntry) throws(LayerError) {
        try mapError { () throws(SystemError) in
            if needsOwner(entry) {
                try parent.directory.descriptor.setOwner(of: name, user: entry.userID, group: entry.groupID)
            }
            try parent.directory.descriptor.setTimes(of: name, modified: entry.modified)
        }
    }

    func permissions(_ entry: TarEntry) -> UInt32 {
        let own = entry.permissions & 0o777
        return isReadableByAll ? own | 0o444 | (own & 0o111 == 0 ? 0 : 0o111) : own
    }

    func attributes(_ entry: TarEntry) -> LayerRecords.Attributes {
        // The unpacking user owns the directory and must be able to list it in order to flatten and remove it.
        let permissions =
            entry.permissions & 0o1777 | (ownership == .caller ? 0o500 : 0) | (isReadableByAll ? 0o555 : 0)
        return .init(
            permissions: permissions, modified: entry.modified, userID: entry.userID, groupID: entry.groupID)
    }

    /// Runs a creating call. If the name is taken, removes the entry and runs the call again.
    func making(
        _ name: [UInt8], in parent: RootedTree.Place, _ body: () throws(SystemError) -> Void
    ) throws(LayerError) {
        try writers.flush(name, in: parent)
        do throws(SystemError) {
            try body()
            return
        } catch {
            guard error.errno == EEXIST else { throw LayerError(.system(error)) }
        }
        try remove(name, in: parent)
        try mapError(body)
    }

    /// Likewise, but returns `false` with the name free if the file system does not support the call.
    func making(
        _ name: [UInt8], in parent: RootedTree.Place, unless isRefusal: (SystemError) -> Bool,
        _ body: () throws(SystemError) -> Void
    ) throws(LayerError) -> Bool {
        var isRefused = false
        try making(name, in: parent) { () throws(SystemError) in
            do throws(SystemError) { try body() } catch {
                guard isRefusal(error) else { throw error }
                isRefused = true
            }
        }
        // The file system decides which of the two errors it reports first.
        if isRefused { try remove(name, in: parent) }
        return !isRefused
    }

    func remove(_ name: [UInt8], in parent: RootedTree.Place) throws(LayerError) {
        try writers.flush()
        try Self.remove(name, in: parent, tree, records)
    }

    static func remove(
        _ name: [UInt8], in parent: RootedTree.Place, _ tree: RootedTree, _ records: Records
    ) throws(LayerError) {
        let kind = try tree.kind(of: name, in: parent)
        if kind == nil { return }
        do throws(SystemError) { try parent.directory.descriptor.removeTree(name) } catch {
            throw LayerError(.system(error))
        }
        // Open directories may have been found through the removed entry.
        if kind == .directory || kind == .symlink { tree.forgetOpenDirectories() }
        if kind == .directory { records.layer.forget(below: EntryPath.join(parent.path, name)) }
    }
}
