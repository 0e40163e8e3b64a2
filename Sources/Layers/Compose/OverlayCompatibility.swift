internal import LinuxKernel

/// Whether overlayfs shows a stack of layer trees as the image specifies, so that it need not be flattened.
package enum OverlayCompatibility: Equatable, Sendable {
    case compatible
    case incompatible(Reason)

    package enum Reason: Equatable, Sendable {
        /// When this layer (0 is the lowest) was unpacked, the file system had no whiteouts or `user.` attributes.
        case marksMissing(layer: Int)
        /// A separate tree cannot express a hard link into a lower layer.
        case openHardLink(layer: Int, path: [UInt8])
        /// The lower layers have a link at this path, or a directory with other attributes than overlayfs would show.
        case implicitDirectory(layer: Int, path: [UInt8])
        /// In a directory that no lower layer has, overlayfs lists a whiteout as a phantom entry.
        case orphanWhiteout(layer: Int, path: [UInt8])
        /// overlayfs ignores the opaque mark of the root directory.
        case opaqueRoot(layer: Int)
        /// More layers than overlayfs supports (OVL_MAX_STACK).
        case tooManyLayers(Int)
    }

    /// - Parameter layers: The lowest first.
    package static func check(_ layers: [LayerTree]) throws(LayerError) -> OverlayCompatibility {
        if layers.count > 500 { return .incompatible(.tooManyLayers(layers.count)) }
        let sets = layers.map { Hidden($0.summary) }
        for (index, layer) in layers.enumerated() where layers.count > 1 {
            let summary = layer.summary
            if !summary.areMarksMade { return .incompatible(.marksMissing(layer: index)) }
            if let link = summary.openHardLinks.first {
                return .incompatible(.openHardLink(layer: index, path: link.path))
            }
            if index > 0, summary.opaqueDirectories.contains([]) { return .incompatible(.opaqueRoot(layer: index)) }
            if let path = try orphanWhiteout(index, layers, sets) {
                return .incompatible(.orphanWhiteout(layer: index, path: path))
            }
            for path in summary.implicitDirectories where index > 0 {
                // The layer itself hides everything below this path.
                if sets[index].cuts(path) { continue }
                guard let (lower, place) = try lookUp(path, below: index, layers, sets) else { continue }
                // All files of a layer in another user's store belong to that user, whatever the image says.
                let (own, other) = (try owner(layer), try owner(layers[place]))
                let isOwners = lower.userID == own || (other != own && lower.userID == other)
                let isPlain = lower.kind == .directory && lower.permissions == 0o755 && isOwners
                let hasAttributes = isPlain ? try hasAttributes(path, layers[place]) : false
                if !isPlain || hasAttributes {
                    return .incompatible(.implicitDirectory(layer: index, path: path))
                }
            }
        }
        if layers.count == 1, let summary = layers.first?.summary {
            if let link = summary.openHardLinks.first {
                return .incompatible(.openHardLink(layer: 0, path: link.path))
            }
            if summary.areMarksMade, let path = summary.whiteouts.first {
                return .incompatible(.orphanWhiteout(layer: 0, path: path))
            }
        }
        return .compatible
    }

    /// Finds a whiteout in a directory that overlayfs does not merge. It always merges the roots of several layers.
    private static func orphanWhiteout(
        _ index: Int, _ layers: [LayerTree], _ sets: [Hidden]
    ) throws(LayerError) -> [UInt8]? {
        var joined: Set<[UInt8]> = [[]]
        for path in layers[index].summary.whiteouts {
            let parent = Array(EntryPath.parent(path))
            if joined.contains(parent) { continue }
            guard !sets[index].cuts(parent), !sets[index].opaque.contains(parent),
                let lower = try lookUp(parent, below: index, layers, sets), lower.status.kind == .directory
            else { return path }
            joined.insert(parent)
        }
        return nil
    }

    /// Whether the image sets attributes that the upper layer's directory would not show.
    private static func hasAttributes(_ path: [UInt8], _ layer: LayerTree) throws(LayerError) -> Bool {
        try mapError { () throws(SystemError) in
            try RootedTree(layer.directory).openBeneath(path).extendedAttributeNames()
        }.contains { $0.starts(with: "user.".utf8) && !$0.starts(with: "user.overlay.".utf8) }
    }

    private static func owner(_ layer: LayerTree) throws(LayerError) -> UInt32 {
        try mapError { () throws(SystemError) in try layer.directory.descriptor.status() }.userID
    }

    private struct Hidden {
        let whiteouts: Set<[UInt8]>
        let opaque: Set<[UInt8]>

        init(_ summary: LayerSummary) {
            whiteouts = Set(summary.whiteouts)
            opaque = Set(summary.opaqueDirectories)
        }

        /// Whether a directory above the path is opaque, so that nothing of lower layers shows there.
        func cuts(_ path: [UInt8]) -> Bool {
            if opaque.isEmpty { return false }
            var parent = path[...]
            while let cut = parent.lastIndex(of: EntryPath.slash) {
                parent = parent[..<cut]
                if opaque.contains(Array(parent)) { return true }
            }
            return !path.isEmpty && opaque.contains([])
        }

        /// Whether the path or a directory above it is whited out.
        func hides(_ path: [UInt8]) -> Bool {
            if whiteouts.isEmpty { return false }
            if whiteouts.contains(path) { return true }
            var parent = path[...]
            while let cut = parent.lastIndex(of: EntryPath.slash) {
                parent = parent[..<cut]
                if whiteouts.contains(Array(parent)) { return true }
            }
            return false
        }
    }

    /// Finds the topmost layer below `index` that has an entry at the path, or a file or link in the way.
    private static func lookUp(
        _ path: [UInt8], below index: Int, _ layers: [LayerTree], _ hidden: [Hidden]
    ) throws(LayerError) -> (status: FileStatus, layer: Int)? {
        let components = EntryPath.components(path)
        for lower in (0..<index).reversed() {
            let root = layers[lower].directory
            if components.isEmpty {
                if !layers[lower].summary.implicitDirectories.contains([]) || lower == 0 {
                    return (try mapError { () throws(SystemError) in try root.descriptor.status() }, lower)
                }
                continue
            }
            if hidden[lower].hides(path) { return nil }
            var prefix: [UInt8] = []
            for (depth, name) in components.enumerated() {
                prefix = EntryPath.join(prefix, name)
                let status: FileStatus
                do throws(SystemError) { status = try root.descriptor.status(of: prefix) } catch {
                    if error.errno == Errno.ENOENT { break }  // not in this layer
                    throw LayerError(.system(error))
                }
                if depth == components.count - 1 || status.kind != .directory { return (status, lower) }
            }
            if hidden[lower].cuts(path) { return nil }
        }
        return nil
    }
}
