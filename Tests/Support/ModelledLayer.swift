internal import LinuxKernel

/// Paths as bytes, and their resolution in the model's trees. Links are relative to the tree's root.
package enum LayerPath {
    struct Place {
        let path: [UInt8]
        let node: LayerModel.Node
    }

    enum Found {
        case place(Place)
        case missing([UInt8])
        case obstructed
    }

    enum Missing { case report, create, createReplacingFiles }

    package static func components(_ path: [UInt8]) -> [[UInt8]] { path.split(separator: 0x2F).map { Array($0) } }

    package static func join(_ parent: [UInt8], _ name: [UInt8]) -> [UInt8] {
        parent.isEmpty ? name : parent + [0x2F] + name
    }

    package static func split(_ path: [UInt8]) -> (parent: [UInt8], name: [UInt8]) {
        let parts = components(path)
        return (Array(parts.dropLast().joined(separator: [0x2F])), parts.last ?? [])
    }

    /// Removes dots by text alone.
    package static func normal(_ name: [UInt8]) -> [UInt8] {
        var parts: [[UInt8]] = []
        for part in components(name) where part != [0x2E] {
            if part == [0x2E, 0x2E] { _ = parts.popLast() } else { parts.append(part) }
        }
        return Array(parts.joined(separator: [0x2F]))
    }

    static func walk(_ root: LayerModel.Node, _ path: [UInt8], _ missing: Missing) -> Found {
        var rest = components(path)[...]
        var stack = [Place(path: [], node: root)]
        var links = 0
        while let name = rest.popFirst() {
            if name == [0x2E] { continue }
            if name == [0x2E, 0x2E] {
                if stack.count > 1 { stack.removeLast() }
                continue
            }
            let here = stack[stack.count - 1]
            let inner = join(here.path, name)
            let child = here.node.children[name]
            switch (child?.entry.kind, missing) {
            case (.directory?, _): stack.append(Place(path: inner, node: child ?? root))
            case (.symlink?, _):
                links += 1
                let target = child?.entry.content ?? []
                if links > 40 { return .obstructed }
                if target.first == 0x2F { stack.removeSubrange(1...) }
                rest = (components(target) + rest)[...]
            case (nil, .report): return .missing(Array(([inner] + rest).joined(separator: [0x2F])))
            case (_?, .report), (_?, .create): return .obstructed
            case (nil, _), (_?, .createReplacingFiles):
                let made = LayerModel.Node.implicitDirectory()
                here.node.children[name] = made
                stack.append(Place(path: inner, node: made))
            }
        }
        return .place(stack[stack.count - 1])
    }
}

/// A single layer: its own tree and its effect on lower layers.
final class ModelledLayer {
    let root = LayerModel.Node.implicitDirectory()
    private(set) var whiteouts: Set<[UInt8]> = []
    private(set) var opaque: Set<[UInt8]> = []
    /// Links to files that are not in this layer.
    private(set) var openLinks: [[UInt8]: [UInt8]] = [:]

    func add(_ item: Item) throws(LayerModel.Refused) {
        let path = LayerPath.normal(item.path)
        let (parent, name) = LayerPath.split(path)
        if path.isEmpty { return describe(root, item) }
        if name.starts(with: ".wh.".utf8) { return note(Array(name.dropFirst(4)), in: parent) }
        if item.type == "3" || item.type == "4" { return }
        guard case .place(let place) = LayerPath.walk(root, parent, .createReplacingFiles) else {
            throw LayerModel.Refused()
        }
        let real = LayerPath.join(place.path, name)
        place.node.note(item.time)
        // The entry replaces a pending link, or one at a directory that it needs.
        openLinks = openLinks.filter { real != $0.key && !real.starts(with: $0.key + [0x2F]) }
        switch item.type {
        case "5":
            if let there = place.node.children[name], there.entry.kind == .directory { return describe(there, item) }
            let made = LayerModel.Node.implicitDirectory()
            describe(made, item)
            place.node.children[name] = made
        case "1":
            if let target = try link(real, name, in: place.node, to: LayerPath.normal(item.target)) {
                openLinks[real] = target
                replace(real, name, in: place.node, by: nil)
            }
        default:
            let made = LayerModel.Node(item.described)
            replace(real, name, in: place.node, by: made)
        }
    }

    private func describe(_ node: LayerModel.Node, _ item: Item) {
        node.entry = item.described
        node.isImplicit = false
    }

    private func note(_ hidden: [UInt8], in parent: [UInt8]) {
        guard case .place(let place) = LayerPath.walk(root, parent, .create) else { return }
        if hidden.elementsEqual(".wh..opq".utf8) {
            opaque.insert(place.path)
        } else {
            whiteouts.insert(LayerPath.join(place.path, hidden))
        }
    }

    /// Removes the records below a replaced directory.
    private func replace(_ real: [UInt8], _ name: [UInt8], in parent: LayerModel.Node, by node: LayerModel.Node?) {
        if parent.children[name]?.entry.kind == .directory {
            let below = real + [0x2F]
            whiteouts = whiteouts.filter { !$0.starts(with: below) }
            opaque = opaque.filter { !$0.starts(with: below) && $0 != real }
            openLinks = openLinks.filter { !$0.key.starts(with: below) }
        }
        parent.children[name] = node
    }

    /// Creates the link, or returns the path of its target in the lower layers.
    private func link(
        _ real: [UInt8], _ name: [UInt8], in parent: LayerModel.Node, to target: [UInt8]
    ) throws(LayerModel.Refused) -> [UInt8]? {
        let (directory, base) = LayerPath.split(target)
        switch LayerPath.walk(root, directory, .report) {
        case .missing(let path): return LayerPath.join(path, base)
        case .obstructed: throw LayerModel.Refused()
        case .place(let place):
            let path = LayerPath.join(place.path, base)
            guard let node = place.node.children[base] else { return openLinks[path] ?? path }
            if node.entry.kind == .directory { throw LayerModel.Refused() }
            if path.starts(with: real + [0x2F]) { throw LayerModel.Refused() }
            if path != real { replace(real, name, in: parent, by: node) }
            return nil
        }
    }

    /// Resolves what depends on all entries.
    func settle() throws(LayerModel.Refused) {
        let waiting = openLinks
        for (path, first) in waiting {
            var target = first
            while let next = waiting[target], next != target { target = next }
            let (parent, name) = LayerPath.split(path)
            guard case .place(let place) = LayerPath.walk(root, parent, .report) else { continue }
            openLinks[path] = try link(path, name, in: place.node, to: target)
        }
        for path in whiteouts {
            let (parent, name) = LayerPath.split(path)
            guard case .place(let place) = LayerPath.walk(root, parent, .report), place.path == parent else {
                whiteouts.remove(path)  // this layer has replaced its directory
                continue
            }
            guard let there = place.node.children[name] else { continue }
            // Neither the contents nor the attributes of a lower one show.
            whiteouts.remove(path)
            if there.entry.kind == .directory {
                opaque.insert(path)
                there.isDescribed = true
            }
        }
        noteTimes(root)
        forgetDescribed(root)
    }

    /// From the deepest up, because an entry's time propagates to all implicit directories above it.
    private func noteTimes(_ node: LayerModel.Node) {
        for child in node.children.values where child.entry.kind == .directory {
            noteTimes(child)
            if child.isImplicit { node.note(child.entry.modified) }
        }
    }

    private func forgetDescribed(_ node: LayerModel.Node) {
        if node.isDescribed { node.isImplicit = false }
        for child in node.children.values where child.entry.kind == .directory { forgetDescribed(child) }
    }
}

extension Item {
    var time: Timestamp { Timestamp(seconds: seconds, nanoseconds: nanoseconds) }

    /// The entry on disk: without setuid, setgid, capabilities and overlayfs's attributes.
    fileprivate var described: FileTree.Entry {
        let kinds: [Character: FileStatus.Kind] = ["5": .directory, "2": .symlink, "6": .fifo]
        var entry = FileTree.Entry(kind: kinds[type] ?? .regular)
        switch entry.kind {
        case .directory: entry.permissions = UInt32(mode) & 0o1777
        case .symlink: entry.content = target
        case .fifo: entry.permissions = UInt32(mode) & 0o777
        default:
            entry.permissions = UInt32(mode) & 0o777
            entry.content = Array(content.utf8)
        }
        entry.modified = time
        entry.owner = [UInt32(user), UInt32(group)]
        if entry.kind == .directory || entry.kind == .regular {
            for (name, value) in attributes where name.hasPrefix("user.") && !name.hasPrefix("user.overlay.") {
                entry.attributes[Array(name.utf8)] = value
            }
        }
        return entry
    }
}
