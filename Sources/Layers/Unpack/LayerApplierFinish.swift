internal import CLinux
internal import LinuxKernel

/// Finishes a layer after all entries have been read.
extension LayerApplier {
    func finish(_ summary: inout LayerSummary) throws(LayerError) {
        try linkLateTargets()
        if hasBookkeeping { try removeBookkeeping() }
        try markWhiteouts(&summary)
        try markOpaqueDirectories(&summary)
        try restoreDirectories()
        summary.entries = counts.entries
        summary.fileBytes = counts.fileBytes + copying.bytes
        summary.skippedDevices = counts.skippedDevices
        summary.droppedAttributes = counts.droppedAttributes
        // Sorted, so that the same layer always yields the same bytes.
        summary.whiteouts = records.layer.whiteouts.sorted(by: EntryPath.precedes)
        summary.opaqueDirectories = records.layer.opaqueDirectories.sorted(by: EntryPath.precedes)
        summary.implicitDirectories = records.layer.implicitDirectories.sorted(by: EntryPath.precedes)
        summary.openHardLinks = records.layer.openHardLinks
            .map { LayerSummary.HardLink(path: $0.key, target: $0.value) }
            .sorted { EntryPath.precedes($0.path, $1.path) }
    }

    /// Creates links that come before their targets in the archive.
    private func linkLateTargets() throws(LayerError) {
        let waiting = records.layer.openHardLinks
        // A link may refer to another pending link. Remember each result for all links on the way, because an archive
        // may have one long chain of links.
        var ends: [[UInt8]: [UInt8]] = [:]
        for (path, first) in waiting {
            var (target, way) = (first, [path])
            var seen = Set(way)
            while ends[target] == nil, let next = waiting[target], seen.insert(target).inserted {
                way.append(target)
                target = next
            }
            target = ends[target] ?? target
            for one in way { ends[one] = target }
            guard case .place(let parent) = try tree.find(EntryPath.parent(path), .report) else { continue }
            if let open = try link(EntryPath.base(path), in: parent, path, to: target) {
                try records.layer.addHardLink(path, to: open)
            } else {
                records.layer.removeHardLink(path)
            }
        }
    }

    private func removeBookkeeping() throws(LayerError) {
        guard case .place(let root) = try tree.find([], .report) else { return }
        let names = try mapError { () throws(SystemError) in try tree.root.descriptor.entries() }
        for name in names where name.starts(with: Self.bookkeeping) { try remove(name, in: root) }
    }

    private func markWhiteouts(_ summary: inout LayerSummary) throws(LayerError) {
        for path in records.layer.whiteouts {
            let name = EntryPath.base(path)
            guard case .place(let parent) = try tree.find(EntryPath.parent(path), .report),
                parent.path.elementsEqual(EntryPath.parent(path))
            else {
                // A file or link of this layer has replaced the whiteout's directory and hides the lower one.
                records.layer.removeWhiteout(path)
                continue
            }
            if let kind = try tree.kind(of: name, in: parent) {
                records.layer.resolveWhiteout(path, isDirectory: kind == .directory)
            }
        }
        for path in records.layer.whiteouts {
            // Nothing of lower layers shows there, and overlayfs lists whiteouts in directories that it does not merge.
            if records.layer.isBelowOpaque(path) {
                records.layer.removeWhiteout(path)
                continue
            }
            guard summary.areMarksMade, case .place(let parent) = try tree.find(EntryPath.parent(path), .report) else {
                continue
            }
            do throws(SystemError) { try parent.directory.descriptor.makeOverlayWhiteout(EntryPath.base(path)) } catch {
                try refused(error, &summary)
            }
        }
    }

    private func markOpaqueDirectories(_ summary: inout LayerSummary) throws(LayerError) {
        for path in records.layer.opaqueDirectories where summary.areMarksMade {
            do throws(SystemError) {
                let directory = try tree.openBeneath(path)
                try directory.setExtendedAttribute("user.overlay.opaque", [UInt8(ascii: "y")])
            } catch {
                try refused(error, &summary)
            }
        }
    }

    /// The file system supports no marks: the tree is valid, but must be flattened.
    private func refused(_ error: SystemError, _ summary: inout LayerSummary) throws(LayerError) {
        guard [EPERM, EACCES, ENOTSUP, ENOSYS, EINVAL].contains(error.errno) else { throw LayerError(.system(error)) }
        summary.areMarksMade = false
    }

    /// Deepest first, so that an inaccessible directory is closed only after everything below it is done, and times are
    /// set after the last entry is created.
    private func restoreDirectories() throws(LayerError) {
        let paths = records.layer.directories.keys.sorted { EntryPath.precedes($1, $0) }
        for path in paths {
            guard let attributes = records.layer.directories[path] else { continue }
            // Deepest first, so that an entry's time propagates to all implicit directories above it.
            if attributes.isImplicit, !path.isEmpty {
                records.layer.noteEntry(in: Array(EntryPath.parent(path)), modified: attributes.modified)
            }
            do throws(SystemError) {
                let directory = try tree.openBeneath(path)
                if ownership == .preserve {
                    try directory.setOwner(user: attributes.userID, group: attributes.groupID)
                }
                try directory.setPermissions(attributes.permissions)
                try directory.setTimes(modified: attributes.modified)
            } catch {
                throw LayerError(.system(error), entry: path)
            }
        }
    }
}

extension RootedTree {
    /// Opens a directory by its real path, to read it and to change its attributes.
    func openBeneath(_ path: [UInt8]) throws(SystemError) -> OwnedFileDescriptor {
        if path.isEmpty { return try root.descriptor.open(".", [.readOnly, .directory]) }
        do throws(SystemError) {
            return try root.descriptor.resolve(path, [.readOnly, .directory], [.beneath, .noSymlinks])
        } catch {
            guard error.errno == ENOSYS else { throw error }
        }
        // Linux before 5.6. No component of a real path is a link, and no other process changes the tree.
        return try root.descriptor.open(path, [.readOnly, .directory, .noFollow])
    }
}
