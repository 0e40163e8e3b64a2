import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

/// The caller's own store and shared stores.
@Suite struct TierTests {
    /// An image with one layer in a separate store.
    static func stocked(_ byte: UInt8, layer: UInt8, names: [String]) throws -> (shop: Workshop, store: ImageStore) {
        let shop = try Workshop()
        let store = try shop.open()
        try Workshop.addLayer(layer, to: store)
        try store.publish(
            try Workshop.record(byte, layers: [layer]), manifest: [1], config: [2],
            names: try names.map { try Workshop.key($0) })
        return (shop, store)
    }

    static func places(_ shops: Workshop...) -> [StorePlace] { shops.map { StorePlace(path: $0.path) } }

    @Test func theOwnStoreComesFirstThenTheOthersInTheirOrder() throws {
        let own = try Self.stocked(1, layer: 11, names: ["both:1", "mine:1"])
        let system = try Self.stocked(2, layer: 12, names: ["both:1", "site:1"])
        let shared = try Self.stocked(3, layer: 13, names: ["both:1", "site:1", "team:1"])
        let places = Self.places(own.shop, system.shop, shared.shop)
        for (name, byte) in [("both:1", UInt8(1)), ("mine:1", 1), ("site:1", 2), ("team:1", 3)] {
            let lease = try there(try ImageStores.lease(try Workshop.key(name), in: places))
            #expect(try lease.record.digest == Workshop.digest(byte), "\(name)")
        }
        #expect(try !isThere(ImageStores.lease(try Workshop.key("nobody:1"), in: places)))
        let lease = try there(try ImageStores.lease(try Workshop.key("team:1"), in: places))
        #expect(lease.trees == [shared.shop.path + "/layers/\(try Workshop.digest(13).directoryName)/tree"])
        #expect(lease.mountPoint == shared.shop.path + "/mount")
    }

    @Test func storesThatAreNotThereArePassedOver() throws {
        let shared = try Self.stocked(3, layer: 13, names: ["team:1"])
        let places = [StorePlace(path: "/nonexistent/own"), StorePlace(path: "/nonexistent/other")]
        let lease = try there(
            try ImageStores.lease(try Workshop.key("team:1"), in: places + Self.places(shared.shop)))
        #expect(lease.record.name == "image")
    }

    /// A user's tag may refer to an image that only a shared store has.
    @Test func aNameMayBeInOneStoreAndTheImageInAnother() throws {
        let own = try Workshop()
        let store = try own.open()
        let shared = try Self.stocked(3, layer: 13, names: ["team:1"])
        try store.name(try Workshop.digest(3), [try Workshop.key("mine:latest")])
        let lease = try there(
            try ImageStores.lease(try Workshop.key("mine:latest"), in: Self.places(own, shared.shop)))
        #expect(try lease.record.digest == Workshop.digest(3))
    }

    @Test func aSharedStoresImageIsHeldLikeOnesOwn() throws {
        let shared = try Self.stocked(3, layer: 13, names: [])
        let own = try Workshop()
        try (try own.open()).name(try Workshop.digest(3), [try Workshop.key("mine:1")])
        do {
            let lease = try there(try ImageStores.lease(try Workshop.key("mine:1"), in: Self.places(own, shared.shop)))
            #expect(try shared.store.collect().inUse == 1)
            withExtendedLifetime(lease.box) {}
        }
        #expect(try soon { try shared.store.collect().images == 1 })
    }

    // MARK: Layers of another store

    /// An image in `own` whose lower layer is in `shared`.
    static func leaning() throws -> (own: Workshop, store: ImageStore, shared: Workshop, other: ImageStore) {
        let shared = try Workshop()
        let other = try shared.open()
        try Workshop.addLayer(13, to: other, text: "shared")
        let own = try Workshop()
        let store = try own.open()
        try Workshop.addLayer(14, to: store, text: "own")
        var record = try Workshop.record(5, layers: [14])
        let layer = try #require(try other.sharedLayer(Workshop.digest(13)))
        record.trees.insert(layer.path, at: 0)
        try store.publish(record, manifest: [], config: [], names: [try Workshop.key("lean:1")])
        return (own, store, shared, other)
    }

    @Test func aLayerOfASharedStoreIsUsedFromThere() throws {
        let (own, store, shared, other) = try Self.leaning()
        do {
            let lease = try there(try store.lease(try Workshop.key("lean:1")))
            #expect(lease.trees[0].hasPrefix(shared.path + "/layers/") && lease.trees[1].hasPrefix(own.path + "/"))
            #expect(lease.layers.count == 1)
            // In use, although no image of its own store has it.
            #expect(try other.collect().layers == 0)
            withExtendedLifetime(lease.layers) {}
        }
        #expect(try store.collect() == Collected())
        #expect(try soon { try other.collect().layers == 1 })
        // The image is incomplete until a pull repairs it.
        #expect(try !isThere(store.lease(try Workshop.key("lean:1"))))
        #expect(!store.isWhole(try Workshop.digest(5)))
    }

    @Test func anImageThatLostALayerIsReplacedByTheNextPull() throws {
        let (own, store, shared, other) = try Self.leaning()
        defer { withExtendedLifetime((own, shared)) {} }
        #expect(try soon { try other.collect().layers == 1 })
        try Workshop.addLayer(13, to: store)
        try store.publish(
            try Workshop.record(5, layers: [13, 14]), manifest: [], config: [], names: [try Workshop.key("lean:1")])
        let lease = try there(try store.lease(try Workshop.key("lean:1")))
        #expect(lease.layers.isEmpty && lease.trees.count == 2)
    }

    // MARK: Trust

    static func fault(_ reason: UntrustedPath.Reason, _ path: String) throws -> UntrustedPath {
        let isMode = if case .mode = reason { true } else { false }
        return UntrustedPath(
            path: path, reason: reason, expected: geteuid() == 0 ? [0] : [geteuid(), 0],
            owner: isMode ? geteuid() : nil)
    }

    @Test(arguments: [0o775, 0o757, 0o777, 0o1777] as [UInt32]) func aStoreThatOthersMayFillIsRefused(_ mode: UInt32)
        throws
    {
        let (shop, _) = try Self.stocked(1, layer: 2, names: ["a:1"])
        chmod(shop.path, mode)
        let refusal = StoreError.untrusted(path: shop.path, try Self.fault(.mode(mode), shop.path))
        #expect(throws: refusal) { _ = try ImageStore.open(existing: shop.path) }
        #expect(throws: refusal) { _ = try ImageStore.open(creating: shop.path) }
        #expect(throws: refusal) {
            _ = try ImageStores.lease(try Workshop.key("a:1"), in: [StorePlace(path: shop.path)])
        }
    }

    @Test(.enabled(if: geteuid() == 0, "gives a store away: root only")) func onlyTheSiteVouchesForSomebodyElsesStore()
        throws
    {
        let (shop, _) = try Self.stocked(1, layer: 2, names: ["a:1"])
        chown(shop.path, 4321, 0)
        #expect(throws: StoreError.untrusted(path: shop.path, try Self.fault(.owner(4321), shop.path))) {
            _ = try ImageStore.open(existing: shop.path)
        }
        #expect(throws: StoreError.self) { _ = try ImageStore.open(existing: shop.path, owner: 4322) }
        #expect(try ImageStore.open(existing: shop.path, owner: 4321) != nil)
        let places = [StorePlace(path: "/nonexistent"), StorePlace(path: shop.path, owner: 4321)]
        #expect(try isThere(ImageStores.lease(try Workshop.key("a:1"), in: places)))
    }

    /// Another user could add a record that mounts any file.
    @Test(.enabled(if: geteuid() == 0, "gives a store away: root only")) func deviceRecordsNeedATrustedStore() throws {
        let (shop, _) = try Self.stocked(1, layer: 2, names: [])
        DeviceRecords.write([1], "cdi-0~a", store: shop.path)
        #expect(DeviceRecords.read("cdi-0~a", store: shop.path) == [1])
        chown(shop.path, 4321, 0)
        #expect(DeviceRecords.read("cdi-0~a", store: shop.path) == nil)
        DeviceRecords.write([2], "cdi-0~a", store: shop.path)
        #expect(DeviceRecords.read("cdi-0~a", store: shop.path, owner: 4321) == [1])
    }
}
