internal import CLinux
internal import LinuxKernel

/// Adds a layer's files to the flat tree as hard links or copies.
extension Composition {
    /// Adds one entry that is not a directory and replaces an existing one of that name.
    func add(
        _ name: [UInt8], _ status: FileStatus, from source: borrowing OwnedFileDescriptor, to place: RootedTree.Place
    ) throws(LayerError) {
        if try link(name, from: source, to: place) { return }
        try remove(name, in: place)
        if try link(name, from: source, to: place) { return }
        try copy(name, status, from: source, to: place)
    }

    /// Returns false if the name is taken or a link is impossible.
    private func link(
        _ name: [UInt8], from source: borrowing OwnedFileDescriptor, to place: RootedTree.Place
    ) throws(LayerError) -> Bool {
        do throws(SystemError) {
            try place.directory.descriptor.makeHardLink(name, to: name, in: source)
            return true
        } catch {
            guard error.errno == EEXIST || EntryCopy.standsIn(for: error) else { throw LayerError(.system(error)) }
            return false
        }
    }

    /// Links two names within the flat tree. The new name must be free.
    func link(
        _ name: [UInt8], in place: RootedTree.Place, to target: [UInt8], in targetPlace: RootedTree.Place
    ) throws(LayerError) {
        let source = targetPlace.directory
        do throws(SystemError) {
            try place.directory.descriptor.makeHardLink(name, to: target, in: source.descriptor)
        } catch {
            guard EntryCopy.standsIn(for: error) else { throw LayerError(.system(error)) }
            let status = try mapError { () throws(SystemError) in try source.descriptor.status(of: target) }
            try copying.make(name, in: place.directory.descriptor, of: target, in: source.descriptor, status)
        }
    }

    private func copy(
        _ name: [UInt8], _ status: FileStatus, from source: borrowing OwnedFileDescriptor, to place: RootedTree.Place
    ) throws(LayerError) {
        let identity = FileIdentity(device: status.device, inode: status.inode)
        if status.links > 1, let earlier = copies[identity], try linkCopy(name, to: earlier, in: place) { return }
        try copying.make(name, in: place.directory.descriptor, of: name, in: source, status)
        if status.links > 1 { copies[identity] = EntryPath.join(place.path, name) }
    }

    /// Returns false if the earlier copy no longer exists.
    private func linkCopy(
        _ name: [UInt8], to earlier: [UInt8], in place: RootedTree.Place
    ) throws(LayerError) -> Bool {
        guard case .place(let parent) = try flat.find(EntryPath.parent(earlier), .report) else { return false }
        do throws(SystemError) {
            try place.directory.descriptor.makeHardLink(
                name, to: EntryPath.base(earlier), in: parent.directory.descriptor)
            return true
        } catch {
            return false  // make another copy instead
        }
    }
}
