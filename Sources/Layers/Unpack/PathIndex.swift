/// Which paths are below which, so that removing a directory costs as much as its contents rather than the whole layer:
/// an archive may replace directories any number of times.
///
/// All directories between a path and the root must have been inserted.
struct PathIndex {
    private var children: [[UInt8]: Set<[UInt8]>] = [:]

    init() {}

    init(_ sequences: any Sequence<[UInt8]>...) {
        for sequence in sequences { for path in sequence { insert(path) } }
    }

    mutating func insert(_ path: [UInt8]) {
        if !path.isEmpty { children[Array(EntryPath.parent(path)), default: []].insert(path) }
    }

    /// Removes and returns all paths below the given one.
    mutating func removeAll(below path: [UInt8]) -> [[UInt8]] {
        var found: [[UInt8]] = []
        var pending = [path]
        while let next = pending.popLast() {
            guard let below = children.removeValue(forKey: next) else { continue }
            found.append(contentsOf: below)
            pending.append(contentsOf: below)
        }
        return found
    }
}
