package import ImageSpec
package import LinuxKernel

/// What a collection removed, or would remove in a dry run.
package struct Collected: Equatable, Sendable {
    package var images = 0
    package var layers = 0
    package var rootfs = 0
    /// Unpacked squashfs files.
    package var files = 0
    /// Images that match the rules but are in use, or may be in use on another node.
    package var inUse = 0
    /// The size of the files in the removed layers, root file systems and unpacked files.
    package var bytes: UInt64 = 0
}

/// Something that a collection removed, or would remove.
package struct CollectedItem: Equatable, Sendable {
    package enum Kind: Sendable {
        case image, file
        /// Or a flattened tree.
        case layer
        /// What a process left that died.
        case draft
    }

    package let kind: Kind
    /// Below the store: `images/sha256-…`.
    package let place: String
    /// The image's names, the squashfs file that was unpacked; empty where there is none.
    package let names: [String]
    /// What is free once it is gone. An image by itself takes nothing: its layers do.
    package let bytes: UInt64
}

/// Which images to remove in addition to unreferenced data.
package struct CollectionRules: Equatable, Sendable {
    /// Include images that have a name.
    package var includesNamed = false
    /// Include only images last used before this time, in seconds since 1970.
    package var unusedSince: Int64?
    /// Remove the least recently used images, named or not, until the store is no larger than this.
    package var keepBytes: UInt64?
    package var dryRun = false
    /// Remove images that a lease protects, too. Containers that run them lose their files.
    package var ignoresLeases = false
    /// Ignore the leases of these images only.
    package var ignoredLeases: Set<Digest> = []

    package init() {}
}

/// Removes the named trees of one directory. It reports no errors: the next collection retries.
package typealias TreeRemover = (_ directory: borrowing OwnedFileDescriptor, _ names: [[UInt8]]) -> Void

extension ImageStore {
    package func collect(
        includingNamed: Bool = false, dryRun: Bool = false, removing: TreeRemover? = nil
    ) throws(StoreError) -> Collected {
        var rules = CollectionRules()
        rules.includesNamed = includingNamed
        rules.dryRun = dryRun
        return try collect(rules, removing: removing)
    }

    /// Removes the images that the rules select, unreferenced layers and flattened trees, and the drafts of dead
    /// processes.
    ///
    /// The store stays consistent if the process is killed: an image is moved away before its layers, and a layer that
    /// a complete image refers to stays. A lease protects an image in use; a work lock protects an image that is being
    /// pulled. If locks do not work across nodes, a recently used image counts as in use:
    /// docs/explanation/decisions/collection-and-locks.md
    ///
    /// - Parameters:
    ///   - removing: Deletes the trees that were moved away; `nil` deletes them one after the other.
    ///   - item: Called for each thing that was removed, or would be, before its space is free.
    package func collect(
        _ rules: CollectionRules, removing: TreeRemover? = nil, item: ((CollectedItem) -> Void)? = nil
    ) throws(StoreError) -> Collected {
        try collect(rules, scope: LockScope(of: root, path: path), removing: removing, item: item)
    }

    func collect(
        _ rules: CollectionRules, scope: LockScope, removing: TreeRemover? = nil,
        item: ((CollectedItem) -> Void)? = nil
    ) throws(StoreError) -> Collected {
        if !rules.dryRun { try flush() }
        var result = Collected()
        do {
            let alone = try lockAgainstPulls()
            defer { withExtendedLifetime(alone) {} }
            let noPulls = alone != nil && scope == .cluster
            let drafts = deadDrafts(noPulls: noPulls, scope: scope)
            if !rules.dryRun {
                sweep(drafts)
                sweepCachedListing()
            }
            var collection = try GarbageCollection(self, rules, scope: scope, grace: noPulls ? -1 : Self.grace)
            collection.items = drafts.map {
                CollectedItem(kind: .draft, place: "drafts/" + $0.displayPath, names: [], bytes: 0)
            }
            try collection.removeImages()
            try collection.removeLayers()
            result = collection.result
            if let item { collection.items.forEach(item) }
            // Last, because the collection itself acquires layer locks.
            if noPulls, !rules.dryRun { sweepNamesAndLocks() }
        }
        // Pulls need not wait for the deletion, because these trees are already moved away.
        if !rules.dryRun { sweepRemoved(removing) }
        return result
    }

    /// How long an unreferenced layer is kept while a pull may be running, in seconds.
    package static let grace: Int64 = 3600
    /// How long an image counts as in use after its last start if leases of other nodes are not visible, in seconds.
    package static let graceWithoutLeases: Int64 = 30 * 86_400

    func sweepRemoved(_ removing: TreeRemover?) {
        // Best effort: the next collection retries.
        guard let drafts = try? root.open("drafts", .readOnly | .directory | .noFollow),  // best effort
            let names = try? drafts.entries()  // likewise
        else { return }
        let removed = names.filter { $0.starts(with: "removed-".utf8) }
        if let removing {
            removing(drafts, removed)
            return
        }
        for name in removed { try? drafts.removeTree(name) }  // likewise
    }

    /// The entries of a directory of the store, without those that `moveAway` hid behind a leading dot.
    func entries(_ directory: String) throws(StoreError) -> [String] {
        guard try isSoundDirectory(directory) else { return [] }
        return try mapError { () throws(SystemError) in
            try root.open(directory, .readOnly | .directory | .noFollow).entries().map(\.displayPath)
                .filter { $0.utf8.first != UInt8(ascii: ".") }
        }
    }
}

/// One collection, during which no pull runs.
private struct GarbageCollection {
    let store: ImageStore
    let rules: CollectionRules
    let scope: LockScope
    let grace: Int64
    var result = Collected()
    /// In the order in which they went.
    var items: [CollectedItem] = []

    private struct Image {
        /// `images/sha256-…` or `squashfs/…`.
        let place: String
        /// `layers/sha256-…` and `rootfs/sha256-…`, or the unpacked file itself; `nil` if the record is unreadable.
        let parts: [String]?
        let lastUse: Int64
        let isNamed: Bool
        /// For people.
        let names: [String]
        var isFile: Bool { place.hasPrefix("squashfs/") }
    }

    private var images: [Image] = []
    /// Uses may be invisible here, so readable images stay.
    private let mayHideUses: Bool
    private let names: [ImageStore.Naming]
    /// How many of the remaining images refer to each part.
    private var references: [String: Int] = [:]
    private var sizes: [String: UInt64] = [:]
    /// An image in use has an unreadable record, so any layer may belong to it.
    private var hasUnknownParts = false

    init(_ store: ImageStore, _ rules: CollectionRules, scope: LockScope, grace: Int64) throws(StoreError) {
        (self.store, self.rules, self.scope, self.grace) = (store, rules, scope, grace)
        mayHideUses = store.mayHideUses(scope)
        names = try store.namesAndDigests()
        let named = Dictionary(grouping: names, by: \.digest.directoryName)
        for name in try store.entries("images") {
            let record = try store.sparingDamage { () throws(StoreError) in
                try store.recordForHousekeeping("images/\(name)/record")
            }
            let parts = record?.record.parts
            let keys = named[name] ?? []
            let shown = keys.filter { !$0.key.isPinned }.map { $0.key.display(pulledAs: record?.record.name ?? "") }
            images.append(
                Image(
                    place: "images/" + name, parts: parts, lastUse: record?.lastUse ?? 0, isNamed: !keys.isEmpty,
                    names: Set(shown).sorted()))
            for part in parts ?? [] { references[part, default: 0] += 1 }
        }
        for file in try store.unpackedFiles() {
            images.append(
                Image(place: file.place, parts: [file.place], lastUse: file.lastUse, isNamed: file.isCurrent,
                    names: file.source.isEmpty ? [] : [file.source]))
            references[file.place] = 1
        }
        images.sort { ($0.lastUse, $0.place) < ($1.lastUse, $1.place) }
    }

    mutating func removeImages() throws(StoreError) {
        var removed: Set<String> = []
        for image in images {
            let isOldEnough = rules.unusedSince.map { image.lastUse < $0 } ?? true
            // An unreadable image cannot be started, whether it has a name or not.
            let isUnwanted = image.parts == nil || ((!image.isNamed || rules.includesNamed) && isOldEnough)
            if isUnwanted { try remove(image, &removed) }
        }
        if let keep = rules.keepBytes {
            var total: UInt64 = 0
            for part in references.keys where references[part] ?? 0 > 0 { total += try size(of: part) }
            for image in images where total > keep && !removed.contains(image.place) {
                if let since = rules.unusedSince, image.lastUse >= since { continue }
                var freed: UInt64 = 0
                for part in Set(image.parts ?? []) where references[part] == 1 { freed += try size(of: part) }
                try remove(image, &removed)
                if removed.contains(image.place) { total -= min(freed, total) }
            }
        }
        if rules.dryRun { return }
        // After the images: a name without an image only causes a pull, but an image without a name is garbage.
        for naming in names where removed.contains("images/" + naming.digest.directoryName) {
            _ = try store.optional { () throws(SystemError) in try store.root.removeFile("refs/" + naming.key.path) }
        }
    }

    private mutating func remove(_ image: Image, _ removed: inout Set<String>) throws(StoreError) {
        let size = image.isFile ? try size(of: image.place) : 0
        guard try isFree(image) else {
            result.inUse += 1
            if image.parts == nil { hasUnknownParts = true }
            return
        }
        if image.isFile { result.files += 1 } else { result.images += 1 }
        result.bytes += size
        items.append(
            CollectedItem(
                kind: image.isFile ? .file : .image, place: image.place, names: image.names, bytes: size))
        removed.insert(image.place)
        for part in image.parts ?? [] { references[part, default: 1] -= 1 }
    }

    /// Moves an image away. Returns `false` if the image is in use or may be.
    private mutating func isFree(_ image: Image) throws(StoreError) -> Bool {
        let isRecent = Clock.now.seconds - image.lastUse < ImageStore.graceWithoutLeases
        let isForced =
            rules.ignoresLeases || rules.ignoredLeases.contains { "images/" + $0.directoryName == image.place }
        if scope == .node, isRecent || mayHideUses, image.parts != nil, !isForced { return false }
        let (store, dryRun) = (store, rules.dryRun)
        // An unpacked file may be in the making; images are safe because pulls wait.
        var work: DescriptorBox?
        if image.isFile {
            let key = image.place.hasSuffix(".new") ? String(image.place.dropLast(4)) : image.place
            guard let lock = try store.tryWorkLock(key) else { return false }
            work = lock.descriptor
        }
        defer { withExtendedLifetime(work) {} }
        // A damaged lease protects nothing.
        let lease = try store.sparingDamage { () throws(StoreError) in
            try store.openLease(image.place + "/lease")
        }
        if let lease {
            let isHeld: Bool = try mapError { () throws(SystemError) in
                do throws(SystemError) { return try !lease.descriptor.tryLock(.exclusive) } catch {
                    if error.meansNoLocks { return isRecent }
                    throw error
                }
            }
            if isHeld, !isForced { return false }
        }
        // Move it while the lock is held, so that a new launch cannot acquire the lease in between.
        if dryRun { return true }
        _ = try store.optional { () throws(SystemError) in try store.moveAway(image.place) }
        return true
    }

    mutating func removeLayers() throws(StoreError) {
        if hasUnknownParts { return }
        for kind in ["layers", "rootfs"] {
            for name in try store.entries(kind) where references[kind + "/" + name] ?? 0 == 0 {
                let size = try size(of: kind + "/" + name)
                guard try removeUnreferenced(kind, name) else { continue }
                if kind == "layers" { result.layers += 1 } else { result.rootfs += 1 }
                result.bytes += size
                items.append(
                    CollectedItem(kind: .layer, place: kind + "/" + name, names: [], bytes: size))
            }
        }
    }

    /// Removes an unreferenced part under the lock that a pull of the same layer takes.
    ///
    /// While pulls run, a part younger than `grace` stays: a pull may have found the layer present and not published
    /// its image yet. Running images of other stores hold the layer by a lock on its summary.
    private func removeUnreferenced(_ kind: String, _ name: String) throws(StoreError) -> Bool {
        guard let lock = try store.tryWorkLock("\(kind)/\(name)") else { return false }
        defer { withExtendedLifetime(lock) {} }
        let (store, grace, scope, mayHideUses, dryRun) = (store, grace, scope, mayHideUses, rules.dryRun)
        let isForced = rules.ignoresLeases
        return try mapError { () throws(SystemError) in
            let place = "\(kind)/\(name)"
            var age: Int64
            do throws(SystemError) {
                age = Clock.now.seconds - (try store.root.status(of: place).modified.seconds)
            } catch {
                if error.errno == Errno.ENOENT { return false }  // another collection was first
                throw error
            }
            do throws(SystemError) {
                guard try store.root.status(of: place + "/summary").kind == .regular else {
                    throw SystemError(call: "fstatat", errno: Errno.ENOENT, subject: place)
                }
                let summary = try store.root.open(
                    place + "/summary", .readWrite | .noFollow | .nonBlocking | .noAccessTime)
                let status = try summary.status()
                age = Clock.now.seconds - max(status.modified.seconds, status.accessed.seconds)
                if scope == .node, !isForced, mayHideUses || age <= ImageStore.graceWithoutLeases { return false }
                do throws(SystemError) {
                    guard try summary.tryLock(.exclusive) || isForced else { return false }
                } catch {
                    if !error.meansNoLocks { throw error }
                }
                age = Clock.now.seconds - status.modified.seconds
            } catch {
                // ENOENT, ENOTDIR: without a summary, the layer is incomplete.
                if error.errno != Errno.ENOENT && error.errno != Errno.ENOTDIR { throw error }
            }
            guard age > grace else { return false }
            if dryRun { return true }
            do throws(SystemError) { try store.moveAway(place) } catch {
                if error.errno == Errno.ENOENT { return false }  // likewise, if there are no locks
                throw error
            }
            return true
        }
    }

    private mutating func size(of part: String) throws(StoreError) -> UInt64 {
        if let known = sizes[part] { return known }
        let size = try store.bytes(of: part)
        sizes[part] = size
        return size
    }
}

extension ImageStore {
    /// Reads an image's record without updating its access time, which is the time of last use. Each start updates it
    /// at most once a day. Returns `nil` if there is no record, or if it belongs to another boot and was not flushed.
    func recordForHousekeeping(_ path: String) throws(StoreError) -> (record: LaunchRecord, lastUse: Int64)? {
        guard let found = try anyRecord(path), found.record.isOnDiskOrOfThisBoot else { return nil }
        return found
    }

    /// Like `recordForHousekeeping`, but also returns records that were not flushed in another boot.
    func anyRecord(_ path: String) throws(StoreError) -> (record: LaunchRecord, lastUse: Int64)? {
        let limit = Self.largestRecord
        // O_NOATIME fails with EPERM on files of another user.
        let flags = isCallers || Identity.isRoot ? OpenFlags.readOnly | .noAccessTime : .readOnly
        guard let file = try openFile(path, flags, limit: limit) else { return nil }
        return try mapError { () throws(SystemError) in
            let status = try file.status()
            guard let record = LaunchRecord(decoding: try file.readAll(limit: Int(limit))) else { return nil }
            return (record, max(status.accessed.seconds, record.created))
        }
    }

    /// The images and unpacked files in use on this node and, if locks work across nodes, on the others.
    package func inUse() throws(StoreError) -> [(name: String, lease: DescriptorBox)] {
        var found: [(name: String, lease: DescriptorBox)] = []
        let images = try images().map { ($0.names.first ?? $0.record.name, "images/" + $0.record.digest.directoryName) }
        for (name, place) in images + (try unpackedFiles().map { ($0.source, $0.place) }) {
            if let lease = try useLease(ofPlace: place) { found.append((name, lease)) }
        }
        return found
    }

    /// The size of a layer or flattened tree: the recorded size, or else the sum of its files.
    func bytes(of part: String) throws(StoreError) -> UInt64 {
        let noted = try sparingDamage { () throws(StoreError) in
            try fileContents(part + "/bytes", limit: 64)?.displayPath
        }
        if let noted, let bytes = UInt64(noted.prefix { $0 != "\n" }) { return bytes }
        return try optional { () throws(SystemError) in
            try Self.count(try root.open(part, .readOnly | .directory | .noFollow))
        } ?? 0
    }

    /// Sums up regular files with a single link. Files with more links are shared with a layer.
    static func count(_ directory: borrowing OwnedFileDescriptor) throws(SystemError) -> UInt64 {
        var total: UInt64 = 0
        for name in try directory.entries() {
            let status: FileStatus
            do throws(SystemError) { status = try directory.status(of: name) } catch {
                if error.errno == Errno.ENOENT { continue }  // removed in between
                throw error
            }
            if status.kind == .directory {
                let inner: OwnedFileDescriptor
                do throws(SystemError) { inner = try directory.open(name, .readOnly | .directory | .noFollow) } catch {
                    // EACCES: an image's own closed directory. ENOENT: removed in between.
                    if error.errno == Errno.EACCES || error.errno == Errno.ENOENT { continue }
                    throw error
                }
                total += try count(inner)
            } else if status.links == 1 {
                total += UInt64(max(0, status.allocatedBytes))
            }
        }
        return total
    }
}
