internal import CLinux
package import LinuxKernel

/// Merges layers, lowest first, into one ordinary directory, for images that overlayfs cannot stack.
///
/// Files are hard links to the files of the layers. If the file system or the kernel denies a link, the file is copied.
/// The rules are those of
/// https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
package struct Flattener: Sendable {
    /// Limits the bytes to copy if links are impossible.
    private let limits: UnpackLimits

    package init(limits: UnpackLimits = UnpackLimits()) { self.limits = limits }

    /// `directory` must be empty, and no other process may change it until this returns.
    package func compose(_ layers: [LayerTree], into directory: DescriptorBox) throws(LayerError) {
        let composition = Composition(directory, limits)
        for layer in layers { try composition.add(layer) }
        try composition.restoreDirectories()
    }
}

/// The flat tree under construction. Its directories have mode 0700 until all layers are merged. Their final attributes
/// are stored separately, so that adding entries does not change a directory's time (umoci's whiteout cases).
final class Composition {
    let flat: RootedTree
    private let directories: Directories
    /// The copy of each file that could not be linked, so that its other names become links to the copy.
    var copies: [FileIdentity: [UInt8]] = [:]
    var copying: EntryCopy

    struct FileIdentity: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    /// Keyed by real path in the flat tree. The tree's callbacks share it.
    private final class Directories {
        private(set) var attributes: [[UInt8]: LayerRecords.Attributes] = [[]: .implicit]
        private var index: PathIndex?

        func set(_ path: [UInt8], _ new: LayerRecords.Attributes) {
            attributes[path] = new
            index?.insert(path)
        }

        func forget(_ path: [UInt8]) {
            var index = index ?? PathIndex(attributes.keys)
            // Keep a single reference, because a second one would copy the index for each removed directory.
            self.index = nil
            for other in index.removeAll(below: path) { attributes[other] = nil }
            self.index = index
            attributes[path] = nil
        }
    }

    init(_ directory: DescriptorBox, _ limits: UnpackLimits) {
        copying = EntryCopy(limit: limits.totalBytes)
        let tree = RootedTree(directory)
        let directories = Directories()
        flat = tree
        self.directories = directories
        tree.onCreate = { (path) throws(LayerError) in directories.set(path, .implicit) }
        tree.onReplace = { [unowned tree] (place, name) throws(LayerError) in
            try Self.remove(name, in: place, tree, directories)
        }
    }

    func add(_ layer: LayerTree) throws(LayerError) {
        let implicit = Set(layer.summary.implicitDirectories)
        // This layer may hide lower files that it links to, so stage them first.
        let held = try StagedHardLinks(layer, self)
        // Hide before adding: whiteouts never apply to entries of their own layer.
        try hide(layer.summary, implicit, sparing: held.staging)
        let places = try merge(layer, implicit)
        try held.place(at: places, self)
    }

    // MARK: Hiding

    private func hide(
        _ summary: LayerSummary, _ implicit: Set<[UInt8]>, sparing staging: [UInt8]
    ) throws(LayerError) {
        for path in summary.opaqueDirectories {
            guard let place = try lowerPlace(path, implicit) else { continue }
            let names: [[UInt8]]
            do throws(SystemError) { names = try place.directory.descriptor.entries() } catch {
                throw LayerError(.system(error), entry: path)
            }
            for name in names where !(path.isEmpty && name == staging) { try remove(name, in: place) }
        }
        for path in summary.whiteouts {
            guard let place = try lowerPlace(Array(EntryPath.parent(path)), implicit) else { continue }
            try remove(EntryPath.base(path), in: place)
        }
    }

    /// The existing flat directory into which a directory of the layer will be merged. A link in the path counts as its
    /// target only if the layer has no entry for that directory; otherwise the entry will replace the link.
    private func lowerPlace(_ path: [UInt8], _ implicit: Set<[UInt8]>) throws(LayerError) -> RootedTree.Place? {
        var layerPath: [UInt8] = []
        var flatPath: [UInt8] = []
        for name in EntryPath.components(path) {
            layerPath = EntryPath.join(layerPath, name)
            guard case .place(let parent) = try flat.find(flatPath[...], .report) else { return nil }
            switch try flat.kind(of: name, in: parent) {
            case .directory: flatPath = EntryPath.join(parent.path, name)
            case .symlink where implicit.contains(layerPath):
                guard case .place(let target) = try flat.find(EntryPath.join(parent.path, name)[...], .report) else {
                    return nil
                }
                flatPath = target.path
            default: return nil
            }
        }
        guard case .place(let place) = try flat.find(flatPath[...], .report) else { return nil }
        return place
    }

    // MARK: Adding

    /// Returns the flat path of each directory of the layer.
    private func merge(_ layer: LayerTree, _ implicit: Set<[UInt8]>) throws(LayerError) -> [[UInt8]: [UInt8]] {
        let source = RootedTree(layer.directory)
        var places: [[UInt8]: [UInt8]] = [[]: []]
        var pending: [[UInt8]] = [[]]
        // By path rather than by open descriptor, so that deep trees need no more descriptors.
        while let path = pending.popLast() {
            guard let flatPath = places[path], case .place(let place) = try flat.find(flatPath[...], .report) else {
                continue
            }
            do throws(LayerError) {
                let directory = try mapError { () throws(SystemError) in try source.openBeneath(path) }
                if implicit.contains(path) {
                    try noteTime(of: directory, at: place)
                } else {
                    try replaceAttributes(of: place, by: directory)
                }
                var inner: [[UInt8]] = []
                for name in try mapError({ () throws(SystemError) in try directory.entries() }) {
                    let status = try mapError { () throws(SystemError) in try directory.status(of: name) }
                    switch status.kind {
                    case .characterDevice: continue  // a whiteout; devices are never created
                    case .directory: inner.append(name)
                    default: try add(name, status, from: directory, to: place)
                    }
                }
                // After the files and in a fixed order: a lower link at a directory's name may lead to where another
                // entry goes, so the result must not depend on the order in which the file system lists names.
                for name in inner.sorted(by: EntryPath.precedes) {
                    let child = EntryPath.join(path, name)
                    places[child] = try descend(name, in: place, isImplicit: implicit.contains(child))
                    pending.append(child)
                }
            } catch {
                var located = error
                if located.entry == nil { located.entry = path }
                throw located
            }
        }
        return places
    }

    /// Finds or creates the flat directory for one of the layer's; returns its real path.
    private func descend(_ name: [UInt8], in place: RootedTree.Place, isImplicit: Bool) throws(LayerError) -> [UInt8] {
        let path = EntryPath.join(place.path, name)
        switch try flat.kind(of: name, in: place) {
        case .some(.directory): return path
        case .some(.symlink) where isImplicit:
            // An entry below a lower link goes to the link's target, as in a running container.
            if case .place(let target) = try flat.find(path[...], .create) { return target.path }
            try remove(name, in: place)
        case .some: try remove(name, in: place)
        case nil: break
        }
        try mapError { () throws(SystemError) in try place.directory.descriptor.makeDirectory(name, mode: 0o700) }
        directories.set(path, .implicit)
        return path
    }

    /// Records the time of a directory that no layer has an entry for.
    private func noteTime(
        of directory: borrowing OwnedFileDescriptor, at place: RootedTree.Place
    ) throws(LayerError) {
        guard var known = directories.attributes[place.path], known.isImplicit else { return }
        let modified = try mapError { () throws(SystemError) in try directory.status().modified }
        guard (known.modified.seconds, known.modified.nanoseconds) < (modified.seconds, modified.nanoseconds) else {
            return
        }
        known.modified = modified
        directories.set(place.path, known)
    }

    private func replaceAttributes(
        of place: RootedTree.Place, by directory: borrowing OwnedFileDescriptor
    ) throws(LayerError) {
        let target = try mapError { () throws(SystemError) in
            let status = try directory.status()
            directories.set(
                place.path,
                .init(
                    permissions: status.permissions, modified: status.modified, userID: status.userID,
                    groupID: status.groupID))
            return try flat.openBeneath(place.path)
        }
        try mapError { () throws(SystemError) in
            for name in try target.extendedAttributeNames() where name.starts(with: "user.".utf8) {
                try target.removeExtendedAttribute(name)
            }
            try EntryCopy.copyExtendedAttributes(from: directory, to: target)
        }
    }

    func remove(_ name: [UInt8], in place: RootedTree.Place) throws(LayerError) {
        try Self.remove(name, in: place, flat, directories)
    }

    private static func remove(
        _ name: [UInt8], in place: RootedTree.Place, _ tree: RootedTree, _ directories: Directories
    ) throws(LayerError) {
        guard let kind = try tree.kind(of: name, in: place) else { return }
        do throws(SystemError) { try place.directory.descriptor.removeTree(name) } catch {
            throw LayerError(.system(error), entry: EntryPath.join(place.path, name))
        }
        if kind == .directory || kind == .symlink { tree.forgetOpenDirectories() }
        guard kind == .directory else { return }
        directories.forget(EntryPath.join(place.path, name))
    }

    /// Deepest directories first, as in unpacking.
    func restoreDirectories() throws(LayerError) {
        for path in directories.attributes.keys.sorted(by: { EntryPath.precedes($1, $0) }) {
            guard let attributes = directories.attributes[path] else { continue }
            do throws(SystemError) {
                let directory = try flat.openBeneath(path)
                let status = try directory.status()
                if status.userID != attributes.userID || status.groupID != attributes.groupID {
                    // Only root may change owners. For another user, the tree belongs to that user.
                    do throws(SystemError) {
                        try directory.setOwner(user: attributes.userID, group: attributes.groupID)
                    } catch {
                        guard error.errno == EPERM else { throw error }
                    }
                }
                try directory.setPermissions(attributes.permissions)
                try directory.setTimes(modified: attributes.modified)
            } catch {
                throw LayerError(.system(error), entry: path)
            }
        }
    }
}
