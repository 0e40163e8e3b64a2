internal import CLinux
internal import LinuxKernel

/// What waits until all of the layer was seen.
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
        // Sorted, so that the same layer always gives the same bytes.
        summary.whiteouts = records.layer.whiteouts.sorted(by: EntryPath.precedes)
        summary.opaqueDirectories = records.layer.opaqueDirectories.sorted(by: EntryPath.precedes)
        summary.implicitDirectories = records.layer.implicitDirectories.sorted(by: EntryPath.precedes)
        summary.openHardLinks = records.layer.openHardLinks
            .map { LayerSummary.HardLink(path: $0.key, target: $0.value) }
            .sorted { EntryPath.precedes($0.path, $1.path) }
    }

    /// Some writers put a link before its target.
    private func linkLateTargets() throws(LayerError) {
        let waiting = records.layer.openHardLinks
        // A link to a link that came later and waits itself: both to what that one is to. What was found is remembered for
        // all on the way, since an archive may have one long chain of links.
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
        let names = try system { () throws(SystemError) in try tree.root.descriptor.entries() }
        for name in names where name.starts(with: Self.bookkeeping) { try remove(name, in: root) }
    }

    private func markWhiteouts(_ summary: inout LayerSummary) throws(LayerError) {
        for path in records.layer.whiteouts {
            let name = EntryPath.base(path)
            guard case .place(let parent) = try tree.find(EntryPath.parent(path), .report),
                parent.path.elementsEqual(EntryPath.parent(path))
            else {
                // Its directory became a file or a link of this layer's own, which hides the lower one as it is.
                records.layer.removeWhiteout(path)
                continue
            }
            if let kind = try tree.kind(of: name, in: parent) {
                records.layer.settleWhiteout(path, isDirectory: kind == .directory)
            }
        }
        for path in records.layer.whiteouts {
            // Nothing of a lower layer shows there anyway, and where overlayfs joins nothing it lists marks as names.
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

    /// A file system that takes no marks: the tree is good all the same, but only for flattening.
    private func refused(_ error: SystemError, _ summary: inout LayerSummary) throws(LayerError) {
        guard [EPERM, EACCES, ENOTSUP, ENOSYS, EINVAL].contains(error.errno) else { throw LayerError(.system(error)) }
        summary.areMarksMade = false
    }

    /// Deepest first: an unreadable or unwritable directory is closed only after all below it is done, and making
    /// entries is over before times are set.
    private func restoreDirectories() throws(LayerError) {
        let paths = records.layer.directories.keys.sorted { EntryPath.precedes($1, $0) }
        for path in paths {
            guard let attributes = records.layer.directories[path] else { continue }
            // Deepest first, so that an entry far below tells for all directories above it that have none.
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
    /// Opens a directory by its real path, for reading and for changes to itself.
    func openBeneath(_ path: [UInt8]) throws(SystemError) -> OwnedFileDescriptor {
        if path.isEmpty { return try root.descriptor.open(".", [.readOnly, .directory]) }
        do throws(SystemError) {
            return try root.descriptor.resolve(path, [.readOnly, .directory], [.beneath, .noSymlinks])
        } catch {
            guard error.errno == ENOSYS else { throw error }
        }
        // Before Linux 5.6. No component of a real path is a link, and nobody else changes the tree.
        return try root.descriptor.open(path, [.readOnly, .directory, .noFollow])
    }
}
