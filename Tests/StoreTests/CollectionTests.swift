import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

/// Removal by size, by age and because of damage, and images that must stay.
@Suite struct CollectionTests {
    static let day: Int64 = 86_400

    /// Images 1... with a layer of 1 MiB each, last used this many days ago.
    static func used(daysAgo: [Int64]) throws -> (shop: Workshop, store: ImageStore) {
        let shop = try Workshop()
        let store = try shop.open()
        for (index, days) in daysAgo.enumerated() {
            let byte = UInt8(index + 1)
            try addLayer(100 + byte, to: store)
            var record = try Workshop.record(byte, layers: [100 + byte])
            record.created = Clock.now.seconds - 100 * day
            try store.publish(record, manifest: [], config: [], names: [try Workshop.key("image:\(byte)")])
            try Self.use(shop, byte, daysAgo: days)
        }
        return (shop, store)
    }

    /// A layer of 1 MiB, as it is noted.
    static func addLayer(_ byte: UInt8, to store: ImageStore) throws {
        guard let draft = try store.draftLayer(try Workshop.digest(byte)) else { return }
        try store.publish([FinishedDraft(draft: draft, summary: [], bytes: 1 << 20)])
    }

    /// Sets the access time of the record, as reading it does.
    static func use(_ shop: Workshop, _ byte: UInt8, daysAgo: Int64) throws {
        let record = shop.path + "/images/\(try Workshop.digest(byte).directoryName)/record"
        let ended = try Command(["touch", "-a", "-d", "@\(Clock.now.seconds - daysAgo * day)", record]).run()
        #expect(ended.status == 0, "\(ended)")
    }

    static func left(_ store: ImageStore) throws -> [String] { try store.images().flatMap(\.names).sorted() }
    static func names(_ numbers: Int...) -> [String] { numbers.map { "docker.io/library/image:\($0)" } }

    @Test func bySizeTheLeastRecentlyUsedGoFirst() throws {
        let (shop, store) = try Self.used(daysAgo: [3, 9, 1, 6])
        defer { withExtendedLifetime(shop) {} }
        var rules = CollectionRules()
        rules.keepBytes = 5 << 19
        rules.dryRun = true
        #expect(try store.collect(rules).images == 2)
        #expect(try store.images().count == 4)
        rules.dryRun = false
        #expect(try store.collect(rules) == Collected(images: 2, layers: 2, bytes: 2 << 20))
        #expect(try Self.left(store) == Self.names(1, 3))
        #expect(try store.collect(rules) == Collected())
        rules.keepBytes = 0
        do {
            // An image in use stays, whatever its size.
            let lease = try there(try store.lease(try Workshop.digest(1)))
            #expect(try store.collect(rules).inUse == 1)
            #expect(try Self.left(store) == Self.names(1))
            withExtendedLifetime(lease.box) {}
        }
    }

    /// Anyone who can read a shared store can lock its layers.
    @Test func aLockOnALayerStopsACollectionUnlessItIsForced() throws {
        let (shop, store) = try Self.used(daysAgo: [90])
        let summary = shop.path + "/layers/\(try Workshop.digest(101).directoryName)/summary"
        let held = try OwnedFileDescriptor(opening: summary, [.readOnly])
        #expect(try held.tryLock(.shared))
        var rules = CollectionRules()
        rules.includesNamed = true
        #expect(try store.collect(rules).layers == 0)
        rules.ignoresLeases = true
        #expect(try store.collect(rules).layers == 1)
        withExtendedLifetime(held) {}
    }

    @Test func layersThatImagesShareCountOnce() throws {
        let (shop, store) = try Self.used(daysAgo: [1, 2])
        defer { withExtendedLifetime(shop) {} }
        try store.publish(
            try Workshop.record(9, layers: [101, 102]), manifest: [], config: [], names: [try Workshop.key("image:9")])
        var rules = CollectionRules()
        rules.keepBytes = 2 << 20
        #expect(try store.collect(rules) == Collected())
        rules.keepBytes = 1 << 20
        // Removing the oldest frees no space, because another image has its layer, but it is still removed first.
        #expect(try store.collect(rules).images >= 2)
    }

    @Test func byAgeWhatIsUsedStays() throws {
        let (shop, store) = try Self.used(daysAgo: [3, 9, 1, 40])
        defer { withExtendedLifetime(shop) {} }
        var rules = CollectionRules()
        rules.unusedSince = Clock.now.seconds - 5 * Self.day
        // Named images are removed only on request.
        #expect(try store.collect(rules) == Collected())
        rules.includesNamed = true
        #expect(try store.collect(rules) == Collected(images: 2, layers: 2, bytes: 2 << 20))
        #expect(try Self.left(store) == Self.names(1, 3))
    }

    /// What `--dry-run` names is what the same rules then remove, and nothing else.
    @Test func aDryRunNamesWhatIsRemoved() throws {
        let (shop, store) = try Self.used(daysAgo: [3, 9, 1, 40])
        try store.publish(
            try Workshop.record(9, layers: [101, 102]), manifest: [], config: [], names: [try Workshop.key("shared:9")])
        try Self.addLayer(200, to: store)
        try shop.directory.makeDirectory("parent/store/drafts/elsewhere-1/tree")
        let lease = try there(try store.lease(try Workshop.digest(3)))
        for keep: UInt64? in [nil, 3 << 20, 2 << 20, 0] {
            var rules = CollectionRules()
            rules.keepBytes = keep
            rules.dryRun = true
            func all() throws -> Set<String> {
                Set(try ["images", "layers", "drafts"].flatMap { kind in try shop.names(kind).map { kind + "/" + $0 } })
            }
            let before = try all()
            var (named, removed): ([CollectedItem], [CollectedItem]) = ([], [])
            let counted = try store.collect(rules, item: { named.append($0) })
            #expect(try all() == before)
            rules.dryRun = false
            #expect(try store.collect(rules, item: { removed.append($0) }) == counted)
            #expect(named == removed, "\(keep ?? 1)")
            #expect(try before.subtracting(all()) == Set(named.map(\.place)), "\(keep ?? 1)")
            #expect(named.reduce(0) { $0 + $1.bytes } == counted.bytes)
            #expect(named.count { $0.kind == .image } == counted.images)
            let names = named.filter { $0.kind == .image }.map(\.names)
            if keep == nil { #expect(names == [] && named.map(\.kind) == [.draft, .layer]) }
            if keep == 3 << 20 { #expect(names == [["docker.io/library/image:4"]]) }
        }
        #expect(try Self.left(store) == Self.names(3))
        withExtendedLifetime(lease.box) {}
    }

    @Test func sharedAndUniqueSizesAndWhatIsReclaimable() throws {
        let (shop, store) = try Self.used(daysAgo: [3, 9])
        try store.publish(
            try Workshop.record(9, layers: [101]), manifest: [], config: [], names: [try Workshop.key("shared:9")])
        try Self.addLayer(200, to: store)
        _ = try store.makeContainer("kept", image: "image:1", digest: "")
        let sizes = try store.sizes(of: try store.images())
        let mebibyte: UInt64 = 1 << 20
        #expect(sizes[try Workshop.digest(1)] == ImageSize(shared: mebibyte))
        #expect(sizes[try Workshop.digest(9)] == ImageSize(shared: mebibyte))
        #expect(sizes[try Workshop.digest(2)] == ImageSize(unique: mebibyte))
        let lease = try there(try store.lease(try Workshop.digest(2)))
        let use = try store.use()
        #expect(use.images == DiskUse(total: 3, active: 1, bytes: 2 * mebibyte, reclaimable: mebibyte))
        #expect(use.layers == DiskUse(total: 1, bytes: mebibyte, reclaimable: mebibyte))
        #expect(use.containers.total == 1 && use.containers.active == 0)
        #expect(use.files == DiskUse())
        #expect(try shop.names("images").count == 3, "looking removes nothing")
        #expect(try store.images().first { $0.record.digest == lease.record.digest }?.names == ["docker.io/library/image:2"])
        withExtendedLifetime(lease.box) {}
    }

    /// Listing an image does not count as a use; running it does.
    @Test func listingIsNoUse() throws {
        let (shop, store) = try Self.used(daysAgo: [9])
        _ = try store.images()
        _ = try store.image(try Workshop.digest(1))
        var rules = CollectionRules()
        rules.unusedSince = Clock.now.seconds - 5 * Self.day
        rules.includesNamed = true
        rules.dryRun = true
        #expect(try store.collect(rules).images == 1)
        let mount = try Command(["findmnt", "-no", "OPTIONS", "-T", shop.path]).run().output
        guard mount.contains("relatime") else {
            FileHandle.standardError.write(Data("SKIPPED: the file system keeps no access times (\(mount))\n".utf8))
            return
        }
        #expect(try isThere(store.lease(try Workshop.digest(1))))
        #expect(try store.collect(rules).images == 0)
    }

    @Test(arguments: ["", "garbage", "\u{0}\u{0}\u{0}"]) func anImageThatCanNotBeReadGoesAndComesBack(_ text: String)
        throws
    {
        let (shop, store) = try Self.used(daysAgo: [1])
        let digest = try Workshop.digest(1)
        try shop.directory.write(text, to: "parent/store/images/\(digest.directoryName)/record")
        // A power failure may leave a small file empty. A pull replaces it.
        var record = try Workshop.record(1, layers: [101])
        record.name = "again"
        try store.publish(record, manifest: [], config: [], names: [])
        #expect(try there(try store.lease(digest)).record.name == "again")
        try shop.directory.write(text, to: "parent/store/images/\(digest.directoryName)/record")
        #expect(try store.collect() == Collected(images: 1, layers: 1, bytes: 1 << 20))
    }

    // MARK: Drafts and garbage

    @Test func whileNobodyPullsAllThatIsUnfinishedGoes() throws {
        let shop = try Workshop()
        let store = try shop.open()
        for place in ["drafts/elsewhere-1/tree", "drafts/removed-1/tree", "drafts/old.new"] {
            try shop.directory.makeDirectory("parent/store/" + place)
        }
        try shop.directory.write("x", to: "parent/store/refs/docker/r.io/a/.draft-0123")
        try shop.directory.write("x", to: "parent/store/locks/layers-1234")
        try shop.directory.write("x", to: "parent/store/version.0123")
        do {
            let pulling = try store.beginPulling()
            _ = try store.collect()
            #expect(try shop.names("drafts") == ["elsewhere-1", "old.new"])
            withExtendedLifetime(pulling) {}
        }
        #expect(
            try soon {
                _ = try store.collect()
                return try shop.names("drafts") == [] && shop.names("locks") == ["pulling"] && shop.names("refs") == []
            })
        #expect(try shop.names("").contains("version.0123") == false)
    }

    @Test func treesDeeperThanFilesMayBeOpenAreRemoved() throws {
        let directory = try TemporaryDirectory()
        let top = try OwnedFileDescriptor(opening: directory.path, [.readOnly, .directory])
        try top.makeDirectory("deep", mode: 0o755)
        var here = try top.open("deep", [.readOnly, .directory])
        for level in 0..<3000 {
            try here.makeDirectory("d", mode: level % 500 == 499 ? 0o000 : 0o755)
            if level % 500 == 499, geteuid() != 0 { try here.setPermissions(of: "d", 0o700) }
            try here.open("f", [.writeOnly, .create], mode: 0o644).writeAll([1])
            here = try here.open("d", [.readOnly, .directory])
        }
        try top.removeTree("deep")
        #expect(try top.entries().isEmpty)
    }
}
