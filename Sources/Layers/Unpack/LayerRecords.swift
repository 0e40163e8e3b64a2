internal import LinuxKernel

/// Records about a layer that can be resolved only after all its entries were read.
struct LayerRecords {
    struct Attributes {
        var permissions: UInt32
        var modified: Timestamp
        var userID: UInt32
        var groupID: UInt32
        var isImplicit = false

        /// The attributes of a directory without an entry. They do not depend on the user, so a layer's tree does not
        /// either. Its time is that of its newest entry.
        static let implicit = Attributes(
            permissions: 0o755, modified: Timestamp(seconds: 0), userID: 0, groupID: 0, isImplicit: true)
    }

    /// By real path; the root is the empty path.
    private(set) var directories: [[UInt8]: Attributes] = [[]: .implicit]
    private(set) var implicitDirectories: Set<[UInt8]> = [[]]
    private(set) var whiteouts: Set<[UInt8]> = []
    private(set) var opaqueDirectories: Set<[UInt8]> = []
    private(set) var openHardLinks: [[UInt8]: [UInt8]] = [:]
    /// The paths of created links. Some may be gone.
    private(set) var links: Set<[UInt8]> = []
    /// Which records are below which path. Created when a directory is first replaced, which is rare.
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

    /// Records that an entry was created in a directory.
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

    /// Removes pending links that an entry or its directories replace, as they would replace existing links.
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

    /// Resolves a whiteout at a path that the layer itself has. There is nothing to hide by name, but a directory must
    /// not show the contents or attributes of the lower one.
    mutating func resolveWhiteout(_ path: [UInt8], isDirectory: Bool) {
        whiteouts.remove(path)
        guard isDirectory else { return }
        opaqueDirectories.insert(path)
        implicitDirectories.remove(path)
    }

    /// Whether a directory above the path is opaque.
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

    /// Removes the records of a replaced directory and of everything below it.
    mutating func forget(below path: [UInt8]) {
        var index = index ?? PathIndex(directories.keys, whiteouts, opaqueDirectories, openHardLinks.keys)
        // Keep a single reference, because a second one would copy the index for each removed directory.
        self.index = nil
        for other in index.removeAll(below: path) {
            forgetDirectory(other)
            whiteouts.remove(other)
        }
        self.index = index
        // Keep a whiteout of the path itself, because it applies to lower layers.
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
