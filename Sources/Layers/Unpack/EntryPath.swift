internal import LinuxKernel

/// Normalizes the names of entries: components separated by single slashes, without leading or trailing slash.
///
/// Works on the text alone, as the tools that build images do: `./a//b/../c/` is `a/c`, and `..` at the root stays
/// there. `RootedTree` handles links.
enum EntryPath {
    static let slash = UInt8(ascii: "/")

    /// Replaces `path` by the normalized `name`; empty for the root itself.
    static func normalize(
        _ name: [UInt8], into path: inout [UInt8], _ limits: UnpackLimits
    ) throws(LayerError) {
        path.removeAll(keepingCapacity: true)
        var depth: Int64 = 0
        var start = 0
        while start < name.count {
            if name[start] == slash { start += 1; continue }
            var end = start
            while end < name.count, name[end] != slash { end += 1 }
            let length = end - start
            if length == 2, name[start] == 0x2E, name[start + 1] == 0x2E {
                removeLast(of: &path)
                depth = max(0, depth - 1)
            } else if !(length == 1 && name[start] == 0x2E) {
                if !path.isEmpty { path.append(slash) }
                path.append(contentsOf: name[start..<end])
                depth += 1
                if depth > limits.pathDepth { throw LayerError(.limit(.pathDepth, limit: limits.pathDepth)) }
            }
            start = end
        }
    }

    private static func removeLast(of path: inout [UInt8]) {
        guard let cut = path.lastIndex(of: slash) else {
            path.removeAll(keepingCapacity: true)
            return
        }
        path.removeLast(path.count - cut)
    }

    /// The part before the last slash; empty if the root is the parent.
    static func parent(_ path: [UInt8]) -> ArraySlice<UInt8> {
        guard let cut = path.lastIndex(of: slash) else { return [] }
        return path[..<cut]
    }

    static func base(_ path: [UInt8]) -> [UInt8] {
        guard let cut = path.lastIndex(of: slash) else { return path }
        return Array(path[(cut + 1)...])
    }

    static func join(_ parent: [UInt8], _ name: [UInt8]) -> [UInt8] {
        if parent.isEmpty { return name }
        var path: [UInt8] = []
        path.reserveCapacity(parent.count + 1 + name.count)
        path.append(contentsOf: parent)
        path.append(slash)
        path.append(contentsOf: name)
        return path
    }

    static func components(_ path: [UInt8]) -> [[UInt8]] { path.split(separator: slash).map { Array($0) } }

    /// Whether `path` is below `directory`.
    static func isBelow(_ path: [UInt8], _ directory: [UInt8]) -> Bool {
        directory.isEmpty
            ? !path.isEmpty
            : path.count > directory.count && path[directory.count] == slash && path.starts(with: directory)
    }

    /// An order in which a directory precedes its contents.
    static func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool { left.lexicographicallyPrecedes(right) }
}
