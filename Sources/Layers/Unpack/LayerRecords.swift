internal import LinuxKernel

/// What is known of a layer while it is being unpacked and can only be settled when all of it was seen.
struct LayerRecords {
    struct Attributes {
        var permissions: UInt32
        var modified: Timestamp
        var userID: UInt32
        var groupID: UInt32
        var isImplicit = false

        /// What a directory gets that no entry describes: the same for everybody, so that a layer's tree is too. Its
        /// time is that of the newest entry in it.
        static let implicit = Attributes(
            permissions: 0o755, modified: Timestamp(seconds: 0), userID: 0, groupID: 0, isImplicit: true)
    }

    /// By real path; the root is the empty one.
    private(set) var directories: [[UInt8]: Attributes] = [[]: .implicit]
    private(set) var implicitDirectories: Set<[UInt8]> = [[]]
    private(set) var whiteouts: Set<[UInt8]> = []
    private(set) var opaqueDirectories: Set<[UInt8]> = []
    private(set) var openHardLinks: [[UInt8]: [UInt8]] = [:]
    /// Where links were made; some may be gone again.
    private(set) var links: Set<[UInt8]> = []
    /// What is recorded below what; made when a directory is first forgotten, which hardly any layer asks for.
    private var index: PathIndex?
    private let limit: Int64

    init(limit: Int64) { self.limit = limit }

    mutating func setDirectory(_ path: [UInt8], _ attributes: Attributes) {
        directories[path] = attributes
        implicitDirectories.remove(path)
        index?.insert(path)
    }

    mutating func addImplicitDirectory(_ path: [UInt8]) throws(LayerError) {
        directories[path] = .implicit
        implicitDirectories.insert(path)
        index?.insert(path)
        try check(implicitDirectories.count)
    }

    /// An entry was made in a directory.
    mutating func noteEntry(in path: [UInt8], modified: Timestamp) {
        guard let directory = directories[path], directory.isImplicit, case let known = directory.modified,
            (known.seconds, known.nanoseconds) < (modified.seconds, modified.nanoseconds)
        else { return }
        directories[path]?.modified = modified
    }

    mutating func addWhiteout(_ path: [UInt8]) throws(LayerError) {
        whiteouts.insert(path)
        index?.insert(path)
        try check(whiteouts.count)
    }

    mutating func addOpaqueDirectory(_ path: [UInt8]) throws(LayerError) {
        opaqueDirectories.insert(path)
        index?.insert(path)
        try check(opaqueDirectories.count)
    }

    mutating func addHardLink(_ path: [UInt8], to target: [UInt8]) throws(LayerError) {
        openHardLinks[path] = target
        index?.insert(path)
        try check(openHardLinks.count)
    }

    mutating func addLink(_ path: [UInt8]) { links.insert(path) }

    /// An entry takes the place of a link that waits for its target, as it would of one that was made; so does the directory
    /// that it needs.
    mutating func removeHardLinks(onTheWayTo path: [UInt8]) {
        if openHardLinks.isEmpty { return }
        openHardLinks[path] = nil
        var parent = EntryPath.parent(path)
        while !parent.isEmpty {
            openHardLinks[Array(parent)] = nil
            parent = parent.lastIndex(of: EntryPath.slash).map { parent[..<$0] } ?? []
        }
    }

    mutating func removeHardLink(_ path: [UInt8]) { openHardLinks[path] = nil }

    /// A whiteout for what the layer holds itself: nothing to hide by name, but of a directory's lower namesake
    /// neither the contents nor the attributes must show.
    mutating func settleWhiteout(_ path: [UInt8], isDirectory: Bool) {
        whiteouts.remove(path)
        guard isDirectory else { return }
        opaqueDirectories.insert(path)
        implicitDirectories.remove(path)
    }

    /// Whether one of the directories that the path is in hides what the lower layers have there.
    func isBelowOpaque(_ path: [UInt8]) -> Bool {
        if opaqueDirectories.isEmpty { return false }
        var parent = EntryPath.parent(path)
        while !parent.isEmpty {
            if opaqueDirectories.contains(Array(parent)) { return true }
            parent = parent.lastIndex(of: EntryPath.slash).map { parent[..<$0] } ?? []
        }
        return opaqueDirectories.contains([])
    }

    mutating func removeWhiteout(_ path: [UInt8]) { whiteouts.remove(path) }

    /// Forgets a directory that was replaced, and all that was below it.
    mutating func forget(below path: [UInt8]) {
        var index = index ?? PathIndex(directories.keys, whiteouts, opaqueDirectories, openHardLinks.keys)
        // Held once: two holders would have it copied for each directory that is forgotten.
        self.index = nil
        for other in index.removeAll(below: path) {
            forgetDirectory(other)
            whiteouts.remove(other)
        }
        self.index = index
        // A whiteout of the path itself stays: it speaks of the lower layers.
        forgetDirectory(path)
    }

    private mutating func forgetDirectory(_ path: [UInt8]) {
        directories[path] = nil
        implicitDirectories.remove(path)
        opaqueDirectories.remove(path)
        openHardLinks[path] = nil
    }

    private func check(_ count: Int) throws(LayerError) {
        if count > limit { throw LayerError(.limit(.marks, limit: limit)) }
    }
}
