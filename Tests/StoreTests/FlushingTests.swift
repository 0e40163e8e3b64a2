import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

/// Data that is visible before it is on disk, and its state after another boot.
@Suite struct FlushingTests {
    /// Whether publishing in the temporary directory does not wait for the disk.
    static let isLater: Bool = {
        // Skip if the store cannot be opened.
        guard let shop = try? Workshop(), let store = try? shop.open(),
            case .later = store.durability
        else {
            FileHandle.standardError.write(
                Data("\n*** SKIPPED: /var/tmp is not on ext4 with a journal, xfs, btrfs or f2fs\n\n".utf8))
            return false
        }
        return true
    }()

    static let otherBoot = "01234567-89ab-cdef-0123-456789abcdef"

    /// An image of one layer, published and not flushed.
    static func stocked(_ byte: UInt8 = 1, layer: UInt8 = 11) throws -> (shop: Workshop, store: ImageStore) {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(layer, to: store)
        try store.publish(
            try Workshop.record(byte, layers: [layer]), manifest: [1], config: [2],
            names: [try Workshop.key("image:1")])
        return (shop, store)
    }

    static func layer(_ byte: UInt8 = 11) throws -> String { "layers/" + (try Workshop.digest(byte).directoryName) }
    static func image(_ byte: UInt8 = 1) throws -> String { "images/" + (try Workshop.digest(byte).directoryName) }

    static func record(_ shop: Workshop) throws -> LaunchRecord {
        let bytes = try contents(of: "\(shop.path)/\(try image())/record")
        return try #require(LaunchRecord(decoding: bytes))
    }

    /// Simulates a reboot.
    static func startAnew(_ shop: Workshop, mark: String = otherBoot) throws {
        try shop.directory.write(mark, to: "parent/store/\(try layer())/boot")
        var record = try record(shop)
        record.boot = mark.isEmpty ? otherBoot : mark
        try shop.directory.write(record.encoded, to: "parent/store/\(try image())/record")
    }

    // MARK: Marks

    @Test(.enabled(if: isLater)) func whatIsNotOnDiskYetIsMarkedUntilItIsFlushed() throws {
        let (shop, store) = try Self.stocked()
        let boot = try #require(Boot.identifier)
        #expect(shop.directory.text("parent/store/\(try Self.layer())/boot") == boot)
        #expect(try Self.record(shop).boot == boot)
        #expect(try shop.names("unsettled").count == 2)
        #expect(try store.hasLayer(try Workshop.digest(11)))
        #expect(try isThere(store.lease(try Workshop.key("image:1"))))

        let used = Timestamp(seconds: 1_500_000_000)
        let image = try OwnedFileDescriptor(opening: "\(shop.path)/\(try Self.image())", [.readOnly, .directory])
        try image.open("record", .readOnly).setTimes(accessed: used, modified: used)
        try store.flush()
        #expect(try image.status(of: "record").accessed == used, "flushing does not count as a use of the image")
        #expect(try shop.names(try Self.layer()) == ["summary", "tree"])
        #expect(try shop.names(try Self.image()) == ["config.json", "lease", "manifest.json", "names", "record"])
        #expect(try Self.record(shop).boot == "")
        #expect(try Self.record(shop) == Workshop.record(1, layers: [11]))
        #expect(try shop.names("unsettled") == [])
        #expect(try isThere(store.lease(try Workshop.key("image:1"))))
        // An image published later uses a flushed layer, but its own files are not flushed.
        try store.publish(try Workshop.record(2, layers: [11]), manifest: [], config: [], names: [])
        #expect(try shop.names("unsettled") == ["images." + (try Workshop.digest(2).directoryName)])
    }

    @Test func aSharedStoreIsOnDiskBeforeAnybodySeesIt() throws {
        let shop = try Workshop()
        let store = try ImageStore.open(creating: shop.path, isShared: true)
        try Workshop.addLayer(11, to: store)
        #expect(store.durability == .first)
        #expect(try shop.names(try Self.layer()) == ["summary", "tree"])
        #expect(try shop.names("").contains("unsettled") == false)
    }

    @Test func whatEndsWithTheMachineIsNeitherMarkedNorWaitedFor() throws {
        let memory = try OwnedFileDescriptor(opening: "/dev/shm", [.readOnly, .directory])
        try #require(CrashOrder(of: memory) == .volatile, "no tmpfs at /dev/shm")
        let path = "/dev/shm/berth-test-\(try Random.hexadecimal(bytes: 8))"
        defer { try? FileManager.default.removeItem(atPath: path) }  // best effort
        let store = try ImageStore.open(creating: path)
        #expect(store.durability == .never)
        try Workshop.addLayer(11, to: store)
        #expect(
            try OwnedFileDescriptor(opening: "\(path)/\(try Self.layer())", [.readOnly, .directory]).entries().count
                == 2)
    }

    @Test func kernelFileSystemsAreNotTakenForDisks() throws {
        #expect(CrashOrder(of: try OwnedFileDescriptor(opening: "/proc", [.readOnly, .directory])) == .unknown)
    }

    @Test func memoryToBeWrittenIsCounted() throws {
        #expect(
            WriteBack.pendingBytes(meminfo: "MemFree: 3 kB\nDirty:   12 kB\nWriteback:  1 kB\nX: 9 kB\n") == 13 << 10)
        #expect(WriteBack.pendingBytes(meminfo: "MemFree: 3 kB\n") == nil)
        #expect(WriteBack.pendingBytes != nil)
    }

    // MARK: Another boot

    /// A power failure may leave a mark empty.
    @Test(.enabled(if: isLater), arguments: [otherBoot, "", "lost"]) func whatAnotherBootDidNotFlushIsMissing(
        _ mark: String
    ) throws {
        let (shop, store) = try Self.stocked()
        try Self.startAnew(shop, mark: mark)
        let digest = try Workshop.digest(11)
        #expect(try !store.hasLayer(digest))
        #expect(try store.sharedLayer(digest) == nil)
        #expect(try !isThere(store.lease(try Workshop.key("image:1"))))
        let isWhole = store.isWhole(try Workshop.digest(1))
        #expect(!isWhole)
        #expect(try store.images() == [])
        // Flushing must not make lost data valid.
        try store.flush()
        #expect(try !store.hasLayer(digest))
        #expect(try !isThere(store.lease(try Workshop.key("image:1"))))

        // Unpacking it again makes it valid.
        let draft = try #require(try store.draftLayer(digest))
        #expect(try shop.names("layers") == [])
        #expect(try shop.names("drafts").count == 1)
        try draft.tree.descriptor.open("file", [.writeOnly, .create], mode: 0o644).writeAll(Array("anew".utf8))
        try store.publish(draft, summary: [1])
        try store.publish(try Workshop.record(1, layers: [11]), manifest: [], config: [], names: [])
        #expect(try isThere(store.lease(try Workshop.key("image:1"))))
        try store.flush()
        #expect(try Self.record(shop).boot == "")
        #expect(shop.directory.text("parent/store/\(try Self.layer())/tree/file") == "anew")
    }

    @Test(.enabled(if: isLater)) func whatAnotherBootDidNotFlushIsCollected() throws {
        let (shop, store) = try Self.stocked()
        try Workshop.addLayer(12, to: store)
        try store.publish(
            try Workshop.record(2, layers: [12]), manifest: [], config: [], names: [try Workshop.key("image:2")])
        try Self.startAnew(shop)
        let collected = try store.collect()
        #expect(collected.images == 1 && collected.layers == 1)
        #expect(try shop.names("images") == [try Workshop.digest(2).directoryName])
        #expect(try shop.names("layers") == [try Workshop.digest(12).directoryName])
        // A collection flushes what is valid.
        #expect(try shop.names("unsettled") == [])
        #expect(try !shop.names(try Self.layer(12)).contains("boot"))
    }

    @Test func aNameAndARecordThatAPowerCutEmptiedAreMissing() throws {
        let (shop, store) = try Self.stocked()
        try shop.directory.write("", to: "parent/store/\(try Self.image())/record")
        #expect(try !isThere(store.lease(try Workshop.key("image:1"))))
        try shop.directory.write("", to: "parent/store/refs/docker/docker.io/library/image/:1")
        #expect(try store.digest(of: try Workshop.key("image:1")) == nil)
        try shop.directory.write("", to: "parent/store/version")
        #expect(try ImageStore.open(existing: shop.path) == nil)
        #expect(try shop.open().hasLayer(try Workshop.digest(11)))
        #expect(shop.directory.text("parent/store/version") == "berth-store 1\n")
    }

    // MARK: Dependencies between stores

    /// A user's own store, from which an image of another store uses a layer.
    @Test(.enabled(if: isLater)) func anImageIsFlushedAfterItsLayers() throws {
        let other = try Self.stocked(3, layer: 13)
        let (shop, store) = try Self.stocked()
        var record = try Workshop.record(1, layers: [11])
        record.digest = try Workshop.digest(5)
        record.trees.append("\(other.shop.path)/\(try Self.layer(13))/tree")
        try store.publish(record, manifest: [], config: [], names: [])
        try store.flush()
        #expect(try shop.names("unsettled") == ["images." + (try Workshop.digest(5).directoryName)])
        try other.store.flush()
        try store.flush()
        #expect(try shop.names("unsettled") == [])
        #expect(try isThere(store.lease(record.digest)))
    }

    @Test(.enabled(if: isLater)) func whatIsGoneIsForgotten() throws {
        let (shop, store) = try Self.stocked()
        var rules = CollectionRules()
        rules.includesNamed = true
        _ = try store.collect(rules)
        try shop.directory.write("", to: "parent/store/unsettled/layers.sha256-gone")
        try store.flush()
        #expect(try shop.names("unsettled") == [])
    }

    @Test(.enabled(if: isLater)) func manyMayPublishAndFlushAtOnce() throws {
        let shop = try Workshop()
        let store = try shop.open()
        try concurrently(16) { number in
            let own = try shop.open()
            let layer = UInt8(20 + number % 8)
            try Workshop.addLayer(layer, to: own)
            try own.publish(try Workshop.record(UInt8(number), layers: [layer]), manifest: [], config: [], names: [])
            try own.flush()
        }
        #expect(try store.images().count == 16)
        try store.flush()
        #expect(try shop.names("unsettled") == [])
        for image in try store.images() { #expect(image.record.boot == "") }
    }
}
