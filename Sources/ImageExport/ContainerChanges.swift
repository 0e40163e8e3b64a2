internal import LinuxKernel

/// Where the changes of a container are.
package enum ContainerChanges: Equatable, Sendable {
    /// In an overlayfs upper directory.
    case upper(String)
    /// In what a running container shows, compared with its image: what has an upper directory in memory shows it in no
    /// other way.
    case merged(String)

    var path: String {
        switch self {
        case .upper(let path), .merged(let path): path
        }
    }

    /// In messages: the root directory of a running container has no path here.
    var shownPath: String {
        switch self {
        case .upper(let path): path
        case .merged: ""
        }
    }
}

/// A line of `berth diff`.
package struct ContainerChange: Equatable, Sendable {
    /// As `docker diff` names them.
    package enum Kind: String, Sendable {
        case added = "A"
        case changed = "C"
        case deleted = "D"
    }

    package let kind: Kind
    /// Relative to the root.
    package let path: [UInt8]
}

extension ContainerChanges {
    /// All changes, sorted by path.
    package func list(over image: ImageExporter.Image) throws(ExportError) -> [ContainerChange] {
        var lister = ChangeLister(changes: self)
        try lister.list(over: image.trees)
        return lister.found.sorted { $0.path.lexicographicallyPrecedes($1.path) }
    }
}

private struct ChangeLister {
    let changes: ContainerChanges
    var found: [ContainerChange] = []

    mutating func list(over trees: [String]) throws(ExportError) {
        let path = changes.path
        let (root, lower) = try reading([]) { () throws(SystemError) in
            (
                DescriptorBox(try OwnedFileDescriptor(opening: path, [.readOnly, .directory])),
                try MergedDirectory(trees: trees)
            )
        }
        try list(root, over: lower, [], depth: 0)
    }

    private mutating func list(
        _ directory: DescriptorBox, over lower: MergedDirectory?, _ path: [UInt8], depth: Int
    ) throws(ExportError) {
        let limit = LayerTreeWriter.maximumDepth
        guard depth < limit else {
            throw .entry(tree: changes.shownPath, path: path, .tooDeep(limit: limit))
        }
        let isMerged = if case .merged = changes { true } else { false }
        let (names, below, isOpaque) = try reading(path) { () throws(SystemError) in
            let isOpaque = isMerged ? false : try OverlayMarks.isOpaque(directory.descriptor)
            return (try directory.descriptor.entries(), try lower?.entries() ?? [:], isOpaque)
        }
        if isMerged || isOpaque {
            for name in Set(below.keys).subtracting(names) {
                found.append(ContainerChange(kind: .deleted, path: LayerTreeWriter.join(path, name)))
            }
        }
        for name in names {
            let inner = LayerTreeWriter.join(path, name)
            let status = try reading(inner) { () throws(SystemError) in
                // What is mounted inside is not the container's.
                if isMerged, try directory.descriptor.isMountPoint(name) { return FileStatus?.none }
                return try directory.descriptor.status(of: name)
            }
            guard let status else { continue }
            let old = below[name]
            if isMerged {
                if let old, status.isUncopied(old) { continue }
            } else if try reading(
                inner,
                { () throws(SystemError) in
                    try OverlayMarks.isWhiteout(name, status, in: directory.descriptor)
                })
            {
                if old != nil { found.append(ContainerChange(kind: .deleted, path: inner)) }
                continue
            }
            found.append(ContainerChange(kind: old == nil ? .added : .changed, path: inner))
            guard status.kind == .directory else { continue }
            let next: (directory: DescriptorBox, lower: MergedDirectory?) = try reading(inner) {
                () throws(SystemError) in
                (
                    DescriptorBox(try directory.descriptor.open(name, [.readOnly, .directory, .noFollow])),
                    old?.kind == .directory ? try lower?.directory(name) : nil
                )
            }
            try list(next.directory, over: next.lower, inner, depth: depth + 1)
        }
    }

    private func reading<Value: ~Copyable>(
        _ path: [UInt8], _ body: () throws(SystemError) -> Value
    ) throws(ExportError) -> Value {
        do throws(SystemError) { return try body() } catch {
            throw .entry(tree: changes.shownPath, path: path, .system(error))
        }
    }
}
