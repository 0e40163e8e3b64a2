/// Which paths lie below which, so that forgetting a directory costs what it holds and not what there is: an archive
/// may replace directories as often as it likes.
///
/// Every directory between a path and the root must have been inserted, too.
struct PathIndex {
    private var children: [[UInt8]: Set<[UInt8]>] = [:]

    init() {}

    init(_ sequences: any Sequence<[UInt8]>...) {
        for sequence in sequences { for path in sequence { insert(path) } }
    }

    mutating func insert(_ path: [UInt8]) {
        if !path.isEmpty { children[Array(EntryPath.parent(path)), default: []].insert(path) }
    }

    /// All that was below the path, itself excluded.
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
