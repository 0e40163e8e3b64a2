package import LinuxKernel

/// The reference model: the contents of a stack of layers by the rules of layer.md and, where it leaves a choice, of
/// docs/reference/unpacking.md. Works in memory and shares no code with the implementation.
package struct LayerModel {
    /// A file with any number of names, or a directory.
    package final class Node {
        package var entry: FileTree.Entry
        package var children: [[UInt8]: Node] = [:]
        /// A directory without an entry.
        package var isImplicit = false
        /// An implicit directory that a whiteout of its own layer makes independent of lower layers.
        var isDescribed = false

        init(_ entry: FileTree.Entry) { self.entry = entry }

        static func implicitDirectory() -> Node {
            var entry = FileTree.Entry(kind: .directory)
            entry.permissions = 0o755
            let node = Node(entry)
            node.isImplicit = true
            return node
        }

        /// An implicit directory is as new as its newest entry.
        func note(_ time: Timestamp) {
            if isImplicit, entry.modified < time { entry.modified = time }
        }
    }

    /// A hard link to a missing target, to a directory, or through a file.
    package struct Refused: Error {}

    package let root = Node.implicitDirectory()
    /// Directories without an entry in the topmost layer that has them.
    package private(set) var withoutEntryOnTop: Set<[UInt8]> = []

    package init() {}

    /// The tree as `FileTree` reads it from disk.
    package var tree: FileTree {
        var tree = FileTree()
        var names: [ObjectIdentifier: [[UInt8]]] = [:]
        func add(_ node: Node, _ path: [UInt8]) {
            tree.entries[path] = node.entry
            if node.entry.kind != .directory { names[ObjectIdentifier(node), default: []].append(path) }
            for (name, child) in node.children { add(child, LayerPath.join(path, name)) }
        }
        add(root, [])
        for paths in names.values where paths.count > 1 {
            for path in paths { tree.entries[path]?.names = paths.sorted { $0.lexicographicallyPrecedes($1) } }
        }
        return tree
    }

    package mutating func apply(_ items: [Item]) throws(Refused) {
        let layer = ModelledLayer()
        for item in items { try layer.add(item) }
        try layer.settle()
        // The same layer may link to lower files and hide them.
        var held: [[UInt8]: Node] = [:]
        for (path, target) in layer.openLinks { held[path] = file(target) }
        // From the top: removed directories contain no links to follow.
        for path in layer.opaque.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            lower(path, layer)?.node.children = [:]
        }
        for path in layer.whiteouts {
            let (parent, name) = LayerPath.split(path)
            lower(parent, layer)?.node.children[name] = nil
        }
        var places: [[UInt8]: LayerPath.Place] = [:]
        merge(layer.root, [], into: .init(path: [], node: root), &places)
        for (path, target) in layer.openLinks.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let (parent, name) = LayerPath.split(path)
            guard let node = held[path] ?? file(target), let place = places[parent] else { throw Refused() }
            place.node.children[name] = node
        }
    }

    private func file(_ path: [UInt8]) -> Node? {
        let (parent, name) = LayerPath.split(path)
        guard case .place(let place) = LayerPath.walk(root, parent, .report),
            let node = place.node.children[name], node.entry.kind != .directory
        else { return nil }
        return node
    }

    /// The directory into which a directory of the layer is merged. A lower link counts as its target only if the layer
    /// has no entry for the directory.
    private func lower(_ path: [UInt8], _ layer: ModelledLayer) -> LayerPath.Place? {
        var place = LayerPath.Place(path: [], node: root)
        var layerNode: Node? = layer.root
        for name in LayerPath.components(path) {
            layerNode = layerNode?.children[name]
            guard let child = place.node.children[name] else { return nil }
            let inner = LayerPath.join(place.path, name)
            if child.entry.kind == .directory {
                place = .init(path: inner, node: child)
            } else {
                guard child.entry.kind == .symlink, layerNode?.isImplicit == true,
                    case .place(let target) = LayerPath.walk(root, inner, .report)
                else { return nil }
                place = target
            }
        }
        return place
    }

    private mutating func merge(
        _ directory: Node, _ path: [UInt8], into place: LayerPath.Place, _ places: inout [[UInt8]: LayerPath.Place]
    ) {
        places[path] = place
        if directory.isImplicit {
            place.node.note(directory.entry.modified)
            withoutEntryOnTop.insert(place.path)
        } else {
            place.node.entry = directory.entry
            place.node.isImplicit = false
            withoutEntryOnTop.remove(place.path)
        }
        // Files first, so that the result does not depend on the order of names in the file system.
        for (name, child) in directory.children where child.entry.kind != .directory {
            place.node.children[name] = child
        }
        let inner = directory.children.filter { $0.value.entry.kind == .directory }
        for (name, child) in inner.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let target = descend(name, LayerPath.join(place.path, name), in: place.node, child.isImplicit)
            merge(child, LayerPath.join(path, name), into: target, &places)
        }
    }

    private func descend(
        _ name: [UInt8], _ path: [UInt8], in parent: Node, _ isImplicit: Bool
    ) -> LayerPath.Place {
        if let there = parent.children[name] {
            if there.entry.kind == .directory { return .init(path: path, node: there) }
            if there.entry.kind == .symlink, isImplicit, case .place(let target) = LayerPath.walk(root, path, .create) {
                return target
            }
        }
        let made = Node.implicitDirectory()
        parent.children[name] = made
        return .init(path: path, node: made)
    }
}

extension Timestamp {
    fileprivate static func < (one: Self, other: Self) -> Bool {
        (one.seconds, one.nanoseconds) < (other.seconds, other.nanoseconds)
    }
}

/// A tree as comparable lines by path: type, mode, content or target.
package func listing(_ directory: borrowing OwnedFileDescriptor, prefix: String = "") throws -> [String: String] {
    var lines: [String: String] = [:]
    for name in try directory.entries() {
        let status = try directory.status(of: name)
        let path = prefix + name.displayPath
        switch status.kind {
        case .regular:
            let content = try directory.open(name, [.readOnly, .noFollow]).readAll()
            lines[path] = "file \(String(status.permissions, radix: 8)) \(content.displayPath)"
        case .directory:
            lines[path] = "dir \(String(status.permissions, radix: 8))"
            let child = try directory.open(name, [.readOnly, .directory, .noFollow])
            lines.merge(try listing(child, prefix: path + "/")) { $1 }
        case .symlink: lines[path] = "symlink " + (try directory.linkTarget(name)).displayPath
        case .fifo: lines[path] = "fifo \(String(status.permissions, radix: 8))"
        case .characterDevice: lines[path] = "char \(status.majorNumber):\(status.minorNumber)"
        default: lines[path] = "other"
        }
    }
    return lines
}
