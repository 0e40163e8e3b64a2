internal import CLinux
internal import LinuxKernel

/// Applies a layer's entries in order beneath one directory.
///
/// Where layer.md leaves a choice: the last entry for a name applies; an entry replaces an existing one by unlink and
/// create, never by writing through it; whiteouts apply only to lower layers wherever they are in the archive.
/// Whiteouts and directory attributes are therefore applied at the end. Directories have mode 0700 until then, so that
/// archives with unwritable directories unpack without privileges.
final class LayerApplier {
    let tree: RootedTree
    let reader: TarReader
    let writers: FileWriters
    let ownership: LayerUnpacker.Ownership
    let isReadableByAll: Bool
    let limits: UnpackLimits
    let records: Records
    let writeBack: WriteBackWindow
    /// The permission bits that the umask removes on creation.
    let maskedBits: UInt32
    /// Owner of the files created here. Directories get their owners at the end, so it is the same everywhere until
    /// then, even with a setgid bit above the store or the mount option `grpid`.
    private let maker: (user: UInt32, group: UInt32)
    private var path: [UInt8] = []
    private var linkPath: [UInt8] = []
    var counts = Counts()
    private(set) var copying: EntryCopy
    var hasBookkeeping = false
    static let bookkeeping = Array(".wh..wh.".utf8)

    struct Counts {
        var entries: Int64 = 0
        var fileBytes: Int64 = 0
        var skippedDevices: Int64 = 0
        var droppedAttributes: Int64 = 0
    }

    /// Shared with the tree's callbacks.
    final class Records {
        var layer: LayerRecords
        init(_ layer: LayerRecords) { self.layer = layer }
    }

    init(
        _ directory: DescriptorBox, _ reader: TarReader, _ writers: FileWriters, _ unpacker: LayerUnpacker
    ) throws(LayerError) {
        self.reader = reader
        self.writers = writers
        writeBack = WriteBackWindow(unpacker.writeBack)
        copying = EntryCopy(limit: unpacker.limits.totalBytes)
        ownership = unpacker.ownership
        isReadableByAll = unpacker.isReadableByAll
        limits = unpacker.limits
        let records = Records(LayerRecords(limit: limits.marks))
        self.records = records
        let tree = RootedTree(directory)
        self.tree = tree
        do throws(SystemError) {
            let made = try Self.probe(directory)
            maskedBits = 0o777 & ~made.permissions
            maker = (made.userID, made.groupID)
        } catch {
            throw LayerError(.system(error))
        }
        tree.onObstacle = { () throws(LayerError) in try writers.flush() }
        tree.onCreate = { (path) throws(LayerError) in try records.layer.addImplicitDirectory(path) }
        tree.onReplace = { [unowned tree] (place, name) throws(LayerError) in
            try Self.remove(name, in: place, tree, records)
        }
    }

    /// Creates a file to find the effective umask, because a default ACL may replace it, and umask(2) cannot read it
    /// without changing it for the whole process.
    private static func probe(_ directory: DescriptorBox) throws(SystemError) -> FileStatus {
        let name = ".berth-mode"
        let probe = try directory.descriptor.open(name, [.writeOnly, .create, .exclusive, .noFollow], mode: 0o777)
        try directory.descriptor.removeFile(name)
        return try probe.status()
    }

    /// Whether the owner of an entry's file must be changed.
    func needsOwner(_ entry: TarEntry) -> Bool {
        ownership == .preserve && (entry.userID, entry.groupID) != maker
    }

    // MARK: Entries

    /// Applies the reader's current entry.
    func apply() throws(LayerError) {
        let entry = reader.entry
        counts.entries += 1
        try EntryPath.normalize(entry.name, into: &path, limits)
        if path.isEmpty {
            // Another type would replace the root of the tree (CVE-2021-29136).
            guard entry.kind == .directory else { throw .archive(.rootIsNotADirectory) }
            try describe([], entry)
            return
        }
        let name = EntryPath.base(path)
        if try applyWhiteout(name) { return }
        // AUFS kept files such as `.wh..wh.plnk/12.34` in the image. The layer's hard links may refer to them, so they
        // are unpacked like other files and removed at the end.
        if path.starts(with: Self.bookkeeping) { hasBookkeeping = true }
        if entry.kind == .characterDevice || entry.kind == .blockDevice {
            counts.skippedDevices += 1
            return
        }
        guard case .place(let parent) = try tree.find(EntryPath.parent(path), .createReplacingFiles) else {
            throw .archive(.symlinkLoop)
        }
        records.layer.noteEntry(in: parent.path, modified: entry.modified)
        records.layer.removeHardLinks(onTheWayTo: EntryPath.join(parent.path, name))
        switch entry.kind {
        case .regular: try makeFile(name, in: parent, entry)
        case .directory: try makeDirectory(name, in: parent, entry)
        case .symlink: try makeSymlink(name, in: parent, entry)
        case .fifo: try makeFIFO(name, in: parent, entry)
        case .hardLink: try makeHardLink(name, in: parent, entry)
        case .characterDevice, .blockDevice: break
        }
    }

    /// Handles whiteouts; returns false for other names. See layer.md, "Whiteouts".
    private func applyWhiteout(_ name: [UInt8]) throws(LayerError) -> Bool {
        let prefix: [UInt8] = [0x2E, 0x77, 0x68, 0x2E]  // ".wh."
        guard name.starts(with: prefix) else { return false }
        let hidden = Array(name.dropFirst(prefix.count))
        if hidden.isEmpty || hidden == [0x2E] || hidden == [0x2E, 0x2E] { throw .archive(.whiteout) }
        let isMeta = hidden.starts(with: prefix)
        let isOpaque = isMeta && hidden.dropFirst(prefix.count).elementsEqual(".opq".utf8)
        // Other names that start with `.wh..wh.` are AUFS's own data in old images.
        if isMeta && !isOpaque { return true }
        // If the directory is a file of this layer, it already hides the lower layers.
        guard case .place(let parent) = try tree.find(EntryPath.parent(path), .create) else { return true }
        if isOpaque {
            try records.layer.addOpaqueDirectory(parent.path)
        } else {
            try records.layer.addWhiteout(EntryPath.join(parent.path, hidden))
        }
        return true
    }

    private func makeDirectory(_ name: [UInt8], in parent: RootedTree.Place, _ entry: TarEntry) throws(LayerError) {
        let real = EntryPath.join(parent.path, name)
        try making(name, in: parent) { () throws(SystemError) in
            do throws(SystemError) { try parent.directory.descriptor.makeDirectory(name, mode: 0o700) } catch {
                // Both are directories: replace the attributes and keep the contents.
                guard error.errno == EEXIST, try parent.directory.descriptor.status(of: name).kind == .directory else {
                    throw error
                }
            }
        }
        try describe(real, entry)
    }

    /// Records the attributes of a directory's entry; a later entry replaces an earlier one.
    private func describe(_ path: [UInt8], _ entry: TarEntry) throws(LayerError) {
        let isAgain = records.layer.directories[path]?.isImplicit == false
        records.layer.setDirectory(path, attributes(entry))
        if entry.extendedAttributes.isEmpty && !isAgain { return }
        try mapError { () throws(SystemError) in
            let directory = try tree.openBeneath(path)
            for old in isAgain ? try directory.extendedAttributeNames() : [] where old.starts(with: "user.".utf8) {
                try directory.removeExtendedAttribute(old)
            }
            try setExtendedAttributes(entry, on: directory)
        }
    }

    private func makeSymlink(_ name: [UInt8], in parent: RootedTree.Place, _ entry: TarEntry) throws(LayerError) {
        if entry.linkName.isEmpty { throw .archive(.emptyName) }
        try making(name, in: parent) { () throws(SystemError) in
            try parent.directory.descriptor.makeSymlink(name, to: entry.linkName)
        }
        if writers.areSeveral { records.layer.addLink(EntryPath.join(parent.path, name)) }
        counts.droppedAttributes += Int64(entry.extendedAttributes.count)
        try finish(name, in: parent, entry)
    }

    private func makeFIFO(_ name: [UInt8], in parent: RootedTree.Place, _ entry: TarEntry) throws(LayerError) {
        let isMade = try making(name, in: parent, unless: EntryCopy.meansNoPipes) { () throws(SystemError) in
            try parent.directory.descriptor.makeFIFO(name, mode: 0o600)
        }
        if !isMade {
            // Programs create the pipes that they need, so an image works without this one.
            counts.skippedDevices += 1
            return
        }
        counts.droppedAttributes += Int64(entry.extendedAttributes.count)
        try mapError { () throws(SystemError) in
            try parent.directory.descriptor.setPermissions(of: name, permissions(entry))
        }
        try finish(name, in: parent, entry)
    }

    private func makeHardLink(_ name: [UInt8], in parent: RootedTree.Place, _ entry: TarEntry) throws(LayerError) {
        try EntryPath.normalize(entry.linkName, into: &linkPath, limits)
        if linkPath.isEmpty { throw .archive(.hardLinkToDirectory) }
        let real = EntryPath.join(parent.path, name)
        if let target = try link(name, in: parent, real, to: linkPath) {
            // The target is not in this layer, or comes later: look for it again at the end, or else in the lower
            // layers. Remove what has the name, and its records.
            try remove(name, in: parent)
            try records.layer.addHardLink(real, to: target)
        }
    }

    /// Creates the link. If the target is missing in this layer, returns the target's path.
    func link(
        _ name: [UInt8], in parent: RootedTree.Place, _ real: [UInt8], to target: [UInt8]
    ) throws(LayerError) -> [UInt8]? {
        try writers.flush()
        let base = EntryPath.base(target)
        let place: RootedTree.Place
        switch try tree.find(EntryPath.parent(target), .report) {
        case .place(let found): place = found
        case .missing(let path): return EntryPath.join(path, base)
        case .obstructed: throw .archive(.hardLinkTargetMissing)
        }
        let realTarget = EntryPath.join(place.path, base)
        guard let kind = try tree.kind(of: base, in: place) else {
            // A link to a pending link: both refer to the same lower file.
            return records.layer.openHardLinks[realTarget] ?? realTarget
        }
        if kind == .directory { throw .archive(.hardLinkToDirectory) }
        if realTarget == real { return nil }
        // Replacing the directory by the link would remove the target.
        if EntryPath.isBelow(realTarget, real) { throw .archive(.hardLinkTargetMissing) }
        // If the target is a symbolic link, link the link itself and not its target (CVE-2021-32760).
        let isMade = try making(name, in: parent, unless: EntryCopy.standsIn) { () throws(SystemError) in
            try parent.directory.descriptor.makeHardLink(name, to: base, in: place.directory.descriptor)
        }
        if !isMade {
            let source = place.directory
            let status = try mapError { () throws(SystemError) in try source.descriptor.status(of: base) }
            try copying.make(name, in: parent.directory.descriptor, of: base, in: source.descriptor, status)
        }
        if writers.areSeveral, kind == .symlink { records.layer.addLink(real) }
        return nil
    }
}
