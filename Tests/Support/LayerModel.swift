package import LinuxKernel

/// The reference: paths to what is there, by the words of layer.md and nothing else.
package struct LayerModel: Equatable {
    package var nodes: [String: String] = [:]

    package init() {}

    mutating func remove(_ path: String) {
        nodes = nodes.filter { $0.key != path && !$0.key.hasPrefix(path + "/") }
    }

    package mutating func apply(_ items: [Item]) {
        for item in items {
            let (parent, name) = Self.split(item.name)
            if name == ".wh..wh..opq" {
                nodes = nodes.filter { !$0.key.hasPrefix(parent + "/") }
            } else if name.hasPrefix(".wh.") {
                remove(parent.isEmpty ? String(name.dropFirst(4)) : parent + "/" + name.dropFirst(4))
            }
        }
        for item in items where !Self.split(item.name).name.hasPrefix(".wh.") {
            let isDirectory = item.type == "5"
            if nodes[item.name]?.hasPrefix("dir") != true || !isDirectory { remove(item.name) }
            nodes[item.name] = isDirectory ? "dir \(String(item.mode, radix: 8))" : "file 644 \(item.content)"
        }
    }

    static func split(_ path: String) -> (parent: String, name: String) {
        guard let cut = path.lastIndex(of: "/") else { return ("", path) }
        return (String(path[..<cut]), String(path[path.index(after: cut)...]))
    }

    /// A layer whose every entry has its parents' entries, as real differ tools write them; whiteouts and opaque
    /// marks anywhere in the order.
    package static func randomLayer(_ number: Int, _ generator: inout some RandomNumberGenerator) -> [Item] {
        var directories: [String] = [""]
        var used: Set<String> = []
        var items: [Item] = []
        var marks: [Item] = []
        func child(_ parent: String, _ name: String) -> String { parent.isEmpty ? name : parent + "/" + name }
        for index in 0..<Int.random(in: 3...14, using: &generator) {
            guard let parent = directories.randomElement(using: &generator),
                let letter = "abcd".randomElement(using: &generator)
            else { break }
            let path = child(parent, String(letter))
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<4 where !used.contains(path):
                used.insert(path)
                directories.append(path)
                items.append(.dir(path, [0o755, 0o700, 0o555].randomElement(using: &generator) ?? 0o755))
            case 4..<7 where !used.contains(path):
                used.insert(path)
                items.append(.file(path, "\(number).\(index)"))
            case 7..<9: marks.append(.file(child(parent, ".wh.\(letter)")))
            default: if !parent.isEmpty { marks.append(.file(parent + "/.wh..wh..opq")) }
            }
        }
        for mark in marks {
            // Behind its directory's entry, wherever else.
            let parent = split(mark.name).parent
            let first = items.firstIndex { $0.name == parent }.map { $0 + 1 } ?? 0
            items.insert(mark, at: Int.random(in: first...items.count, using: &generator))
        }
        return items
    }
}

/// A tree as lines to compare: type, mode, content or target by path.
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
