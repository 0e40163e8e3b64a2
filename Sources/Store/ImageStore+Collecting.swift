package import ImageSpec
package import LinuxKernel

/// What a collection removed, or would remove.
package struct Collected: Equatable, Sendable {
    package var images = 0
    package var layers = 0
    package var rootfs = 0
    /// Unpacked squashfs files.
    package var files = 0
    /// Images that would have gone, did not something run them still, or might on another node.
    package var inUse = 0
    /// Of files in the layers, root file systems and unpacked files that went.
    package var bytes: UInt64 = 0
}

/// What is to go, besides what nothing refers to.
package struct CollectionRules: Equatable, Sendable {
    /// Images with a name as well as those without.
    package var includesNamed = false
    /// Only images last used before this time, in seconds since 1970.
    package var unusedSince: Int64?
    /// Images used least recently, named or not, until what is left is no larger than this.
    package var keepBytes: UInt64?
    package var dryRun = false
    /// Images that are held by a lease, too: containers that run them lose their files.
    package var ignoresLeases = false
    /// Of these images only.
    package var ignoredLeases: Set<Digest> = []

    package init() {}
}

/// Removes trees, named in one directory, and reports nothing: what stays is swept by the next collection.
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

    /// Removes what the rules name, then layers and flattened trees that no image refers to, and what the dead left.
    ///
    /// Killed at any instant it leaves a consistent store: an image is moved out of sight before what it consists of
    /// goes, and nothing goes that a whole image refers to. What runs is held by a lease; what is being pulled, by its
    /// work lock. Where locks do not reach other nodes, what was used lately counts as running:
    /// docs/explanation/decisions/collection-and-locks.md
    ///
    /// - Parameter removing: How to remove what was moved out of sight; one file after the other where it is `nil`.
    package func collect(
        _ rules: CollectionRules, removing: TreeRemover? = nil
    ) throws(StoreError) -> Collected {
        try collect(rules, reach: LockReach(of: root, path: path), removing: removing)
    }

    func collect(
        _ rules: CollectionRules, reach: LockReach, removing: TreeRemover? = nil
    ) throws(StoreError) -> Collected {
        if !rules.dryRun { try settle() }
        var result = Collected()
        do {
            let alone = try lockAgainstPulls()
            defer { withExtendedLifetime(alone) {} }
            let nobodyPulls = alone != nil && reach == .everybody
            if !rules.dryRun {
                sweepDrafts(nobodyPulls: nobodyPulls, reach: reach)
                sweepKeptListing()
            }
            var round = try Round(self, rules, reach: reach, grace: nobodyPulls ? -1 : Self.grace)
            try round.removeImages()
            try round.removeLayers()
            result = round.result
            // Last: the round itself locked layers.
            if nobodyPulls, !rules.dryRun { sweepNamesAndLocks() }
        }
        // Pulls need not wait for this: it is out of sight.
        if !rules.dryRun { sweepRemoved(removing) }
        return result
    }

    /// Seconds for which a layer without an image is spared where somebody is pulling, or where nobody can tell.
    package static let grace: Int64 = 3600
    /// Seconds for which an image counts as running after its last start, where other nodes' leases can not be seen.
    package static let graceWithoutLeases: Int64 = 30 * 86_400

    func sweepRemoved(_ removing: TreeRemover?) {
        // Tidying: what stays is swept by the next collection.
        guard let drafts = try? root.open("drafts", .readOnly | .directory | .noFollow),
            let names = try? drafts.entries()
        else { return }
        let removed = names.filter { $0.starts(with: "removed-".utf8) }
        if let removing {
            removing(drafts, removed)
            return
        }
        for name in removed { try? drafts.removeTree(name) }
    }

    /// The names in a directory of the store, but for those that begin with a dot: what could not be removed.
    func entries(_ directory: String) throws(StoreError) -> [String] {
        guard try isSoundDirectory(directory) else { return [] }
        return try storing { () throws(SystemError) in
            try root.open(directory, .readOnly | .directory | .noFollow).entries().map(\.displayPath)
                .filter { $0.utf8.first != UInt8(ascii: ".") }
        }
    }
}

/// One collection, while pulls wait.
private struct Round {
    let store: ImageStore
    let rules: CollectionRules
    let reach: LockReach
    let grace: Int64
    var result = Collected()

    private struct Image {
        /// `images/sha256-…` or `squashfs/…`.
        let place: String
        /// `layers/sha256-…` and `rootfs/sha256-…`, or itself for an unpacked file; nil where the record can not be read.
        let parts: [String]?
        let lastUse: Int64
        let isNamed: Bool
        var isFile: Bool { place.hasPrefix("squashfs/") }
    }

    private var images: [Image] = []
    /// Nothing that can be read is removed: it may run anywhere.
    private let mayHideUses: Bool
    private let names: [ImageStore.Naming]
    /// How many images that stay refer to each part.
    private var references: [String: Int] = [:]
    private var sizes: [String: UInt64] = [:]
    /// An image is in use whose record cannot be read: any layer may be its.
    private var hasUnknownParts = false
    /// From the first image that goes until the last name has gone.

    init(_ store: ImageStore, _ rules: CollectionRules, reach: LockReach, grace: Int64) throws(StoreError) {
        (self.store, self.rules, self.reach, self.grace) = (store, rules, reach, grace)
        mayHideUses = store.mayHideUses(reach)
        names = try store.namesAndDigests()
        let named = Set(names.map(\.digest.directoryName))
        for name in try store.entries("images") {
            let record = try store.sparingDamage { () throws(StoreError) in
                try store.recordForHousekeeping("images/\(name)/record")
            }
            // `layers/sha256-…/tree`; an absolute one is of another store.
            let parts = record?.record.trees.filter { !$0.hasPrefix("/") }.map {
                $0.split(separator: "/").prefix(2).joined(separator: "/")
            }
            images.append(
                Image(
                    place: "images/" + name, parts: parts, lastUse: record?.lastUse ?? 0,
                    isNamed: named.contains(name)))
            for part in parts ?? [] { references[part, default: 0] += 1 }
        }
        for file in try store.unpackedFiles() {
            images.append(
                Image(place: file.place, parts: [file.place], lastUse: file.lastUse, isNamed: file.isCurrent))
            references[file.place] = 1
        }
        images.sort { ($0.lastUse, $0.place) < ($1.lastUse, $1.place) }
    }

    mutating func removeImages() throws(StoreError) {
        var removed: Set<String> = []
        for image in images {
            let isOldEnough = rules.unusedSince.map { image.lastUse < $0 } ?? true
            // What can not be read serves nobody, name or no name.
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
        // After the images: a name without an image is a miss like any other, an image without a name is garbage.
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
        removed.insert(image.place)
        for part in image.parts ?? [] { references[part, default: 1] -= 1 }
    }

    /// `false` where something runs it or may do so; otherwise it is out of sight.
    private mutating func isFree(_ image: Image) throws(StoreError) -> Bool {
        let isRecent = Clock.now.seconds - image.lastUse < ImageStore.graceWithoutLeases
        let isForced =
            rules.ignoresLeases || rules.ignoredLeases.contains { "images/" + $0.directoryName == image.place }
        if reach == .thisNode, isRecent || mayHideUses, image.parts != nil, !isForced { return false }
        let (store, dryRun) = (store, rules.dryRun)
        // Of a file that is being unpacked; pulls of images wait.
        var work: DescriptorBox?
        if image.isFile {
            let key = image.place.hasSuffix(".new") ? String(image.place.dropLast(4)) : image.place
            guard let lock = try store.tryWorkLock(key) else { return false }
            work = lock.descriptor
        }
        defer { withExtendedLifetime(work) {} }
        // What is no file, or not of this store's, holds nothing.
        let lease = try store.sparingDamage { () throws(StoreError) in
            try store.openLease(image.place + "/lease")
        }
        if let lease {
            let isHeld: Bool = try storing { () throws(SystemError) in
                do throws(SystemError) { return try !lease.descriptor.tryLock(.exclusive) } catch {
                    if error.meansNoLocks { return isRecent }
                    throw error
                }
            }
            if isHeld, !isForced { return false }
        }
        // Moved while it is locked: whoever comes now finds nothing.
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
            }
        }
    }

    /// Under the lock that a pull of the same layer takes, and while there are pulls only if the layer has been there
    /// for longer than `grace`: a pull that has just found it present has not published its image yet. Images of other
    /// stores that run hold it by its summary.
    private func removeUnreferenced(_ kind: String, _ name: String) throws(StoreError) -> Bool {
        guard let lock = try store.tryWorkLock("\(kind)/\(name)") else { return false }
        defer { withExtendedLifetime(lock) {} }
        let (store, grace, reach, mayHideUses, dryRun) = (store, grace, reach, mayHideUses, rules.dryRun)
        return try storing { () throws(SystemError) in
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
                if reach == .thisNode, mayHideUses || age <= ImageStore.graceWithoutLeases { return false }
                do throws(SystemError) { guard try summary.tryLock(.exclusive) else { return false } } catch {
                    if !error.meansNoLocks { throw error }
                }
                age = Clock.now.seconds - status.modified.seconds
            } catch {
                // ENOENT, ENOTDIR: a layer without one is no layer.
                if error.errno != Errno.ENOENT && error.errno != Errno.ENOTDIR { throw error }
            }
            guard age > grace else { return false }
            if dryRun { return true }
            do throws(SystemError) { try store.moveAway(place) } catch {
                if error.errno == Errno.ENOENT { return false }  // likewise, where there are no locks
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
    /// An image's record without counting as a use of it, and when it was used last: the record's access time, which
    /// each start sets at most once a day. nil where it is no record, or not to be believed any more.
    func recordForHousekeeping(_ path: String) throws(StoreError) -> (record: LaunchRecord, lastUse: Int64)? {
        guard let found = try anyRecord(path), found.record.isOnDiskOrOfThisBoot else { return nil }
        return found
    }

    /// Whether it is to be believed or not.
    func anyRecord(_ path: String) throws(StoreError) -> (record: LaunchRecord, lastUse: Int64)? {
        let limit = Self.largestRecord
        // EPERM: another user's store.
        let flags = isCallers || Identity.isRoot ? OpenFlags.readOnly | .noAccessTime : .readOnly
        guard let file = try openFile(path, flags, limit: limit) else { return nil }
        return try storing { () throws(SystemError) in
            let status = try file.status()
            guard let record = LaunchRecord(decoding: try file.readAll(limit: Int(limit))) else { return nil }
            return (record, max(status.accessed.seconds, record.created))
        }
    }

    /// The images and unpacked files that are in use on this node or, where locks reach that far, on others.
    package func inUse() throws(StoreError) -> [(name: String, lease: DescriptorBox)] {
        var found: [(name: String, lease: DescriptorBox)] = []
        let images = try images().map { ($0.names.first ?? $0.record.name, "images/" + $0.record.digest.directoryName) }
        for (name, place) in images + (try unpackedFiles().map { ($0.source, $0.place) }) {
            let lease = try sparingDamage { () throws(StoreError) in try openLease(place + "/lease") }
            // Without locks there is nothing to be seen.
            if let lease, (try? lease.descriptor.isUnlocked()) == false { found.append((name, lease)) }
        }
        return found
    }

    /// What a layer or flattened tree takes: as noted when it was unpacked, else counted.
    func bytes(of part: String) throws(StoreError) -> UInt64 {
        let noted = try sparingDamage { () throws(StoreError) in
            try fileContents(part + "/bytes", limit: 64)?.displayPath
        }
        if let noted, let bytes = UInt64(noted.prefix { $0 != "\n" }) { return bytes }
        return try optional { () throws(SystemError) in
            try Self.count(try root.open(part, .readOnly | .directory | .noFollow))
        } ?? 0
    }

    /// Files with one name only: the others are a layer's, too.
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
