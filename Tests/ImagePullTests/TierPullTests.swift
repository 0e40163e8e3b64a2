import Foundation
import ImagePull
import ImageSpec
import Layers
import LinuxKernel
import Store
import TestSupport
import Testing

/// Pulls of images that other stores already have.
@Suite struct TierPullTests {
    static func pull(_ scene: Scene, own: String, shared: [String], tag: String = "one") async throws -> PulledImage {
        let stores = try ImageStores(
            own: ImageStore.open(creating: own), shared: shared.map { StorePlace(path: $0) })
        let source = try ImageSource(parsing: scene.source(tag))
        return try await ImagePuller(
            stores: stores, origin: LayoutOrigin(directory: scene.layout + "/" + tag, tag: nil)
        ) { _ in }
        .pull(source, platform: .host, refresh: true)
    }

    static func names(_ path: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []  // absent: none
    }

    @Test func anImageThatASharedStoreHasIsOnlyNamed() async throws {
        let scene = try Scene(LocalPullTests.image)
        let shared = scene.place.path + "/shared"
        _ = try await Self.pull(scene, own: shared, shared: [])
        let pulled = try await Self.pull(scene, own: scene.store, shared: [shared])
        #expect(pulled.wasPresent && pulled.downloadedBytes == 0)
        #expect(Self.names(scene.store + "/layers").isEmpty && Self.names(scene.store + "/images").isEmpty)
        let key = try ImageKey(try ImageSource(parsing: scene.source()), platform: .host)
        let places = [scene.store, shared].map { StorePlace(path: $0) }
        let lease = try there(try ImageStores.lease(key, in: places))
        #expect(lease.trees.allSatisfy { $0.hasPrefix(shared + "/layers/") })
    }

    @Test(arguments: [false, true]) func aLayerThatASharedStoreHasIsUsedFromThere(_ isFlattened: Bool) async throws {
        // Only another image has the lower of the two layers.
        let lower = archive([.dir("etc"), .file("etc/os", "base"), .file("gone", "x")])
        let upper = archive([.file(".wh.gone"), .file("new", "y")] + (isFlattened ? [.link("etc/os", "linked")] : []))
        let scene = try Scene(LocalImage(layers: [lower]), tag: "base")
        try scene.add(LocalImage(layers: [lower, upper]), "one")
        let shared = scene.place.path + "/shared"
        _ = try await Self.pull(scene, own: shared, shared: [], tag: "base")
        let pulled = try await Self.pull(scene, own: scene.store, shared: [shared])
        #expect(!pulled.wasPresent && pulled.downloadedBytes == Int64(upper.count))
        #expect(Self.names(scene.store + "/layers").count == 1)
        let store = try #require(try ImageStore.open(existing: scene.store))
        let lease = try there(try store.lease(pulled.manifestDigest))
        if isFlattened {
            #expect(lease.trees.count == 1 && lease.layers.isEmpty)
            #expect(try String(contentsOfFile: lease.trees[0] + "/linked", encoding: .utf8) == "base")
        } else {
            #expect(
                lease.trees[0].hasPrefix(shared) && lease.trees[1].hasPrefix(scene.store) && lease.layers.count == 1)
        }
    }

    /// After an administrator removed a layer of an image, the next pull downloads it.
    @Test func whatASharedStoreLostIsPulled() async throws {
        let lower = archive([.dir("etc"), .file("etc/os", "base")])
        let scene = try Scene(LocalImage(layers: [lower]), tag: "base")
        try scene.add(LocalImage(layers: [lower, archive([.file("new", "y")])]), "one")
        let shared = scene.place.path + "/shared"
        _ = try await Self.pull(scene, own: shared, shared: [], tag: "base")
        let first = try await Self.pull(scene, own: scene.store, shared: [shared])
        let other = try #require(try ImageStore.open(existing: shared))
        #expect(try soon { try other.collect(includingNamed: true).layers == 1 })
        let store = try #require(try ImageStore.open(existing: scene.store))
        #expect(try !isThere(store.lease(first.manifestDigest)))
        let again = try await Self.pull(scene, own: scene.store, shared: [shared])
        #expect(again.downloadedBytes == Int64(lower.count))
        #expect(try isThere(store.lease(first.manifestDigest)))
    }

    @Test(.enabled(if: Program.isBuilt)) func theSystemStoreIsFilledForEverybody() throws {
        let image = LocalImage(layers: [archive([.dir("root", 0o700), .file("root/key", "k", 0o600)])])
        let scene = try Scene(image)
        let pull = ["pull", "--system", scene.source()]
        let unnamed = try Program.command(pull, home: scene.place.path).run()
        #expect(unnamed.status == 125 && unnamed.errors.contains("system-store ="), "\(unnamed)")
        let system = scene.place.path + "/system"
        try scene.place.write("system-store = \(system)\n", to: "berth.conf")
        let pulled = try Program.command(pull, home: scene.place.path).run()
        #expect(pulled.status == 0, "\(pulled)")
        let both = try Program.command(["pull", "--system", "--store", "/x", scene.source()], home: scene.place.path)
            .run()
        #expect(both.status == 125, "\(both)")
        let tree = try #require(Self.names(system + "/layers").first)
        #expect(try FileStatus(of: "\(system)/layers/\(tree)/tree/root").permissions == 0o755)
        #expect(try FileStatus(of: "\(system)/layers/\(tree)/tree/root/key").permissions == 0o644)
        // All users find it there.
        let other = ["--store", scene.store]
        let again = try Program.command(["pull"] + other + [scene.source()], home: scene.place.path).run()
        #expect(again.errors.contains("is up to date"), "\(again)")
        #expect(Self.names(scene.store + "/layers").isEmpty)
        let list = try Program.command(["images", "-q"] + other, home: scene.place.path).run()
        #expect(list.lines.count == 1, "\(list)")
        let inspected = try Program.command(["inspect"] + other + [scene.source()], home: scene.place.path).run()
        #expect(inspected.output.contains(system + "/layers/"), "\(inspected)")
    }

    @Test(.enabled(if: Program.isBuilt)) func theConfigurationsLimitsHold() throws {
        let scene = try Scene(.sample(layers: 1, files: 20, largest: 10))
        try scene.place.write("layer-limit = entries=5\n", to: "berth.conf")
        let ended = try scene.pull().run()
        #expect(ended.status == 125 && ended.errors.contains("layer-limit = entries="), "\(ended)")
        try scene.place.write("layer-limit = entries=50\n", to: "berth.conf")
        #expect(try scene.pull().run().status == 0)
    }

    @Test(.enabled(if: Program.isBuilt)) func pruningBySizeAndAge() throws {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 1 << 20))
        #expect(try scene.pull().run().status == 0)
        for (options, images) in [
            (["--keep-storage", "10m"], 0), (["--filter", "until=1h"], 0), (["-a", "--filter", "until=1h"], 0),
            (["--dry-run", "--keep-storage", "1k"], 1), (["--keep-storage", "1k"], 1), (["-a"], 0),
        ] {
            let ended = try scene.prune(options).run()
            #expect(
                ended.status == 0 && ended.output.contains("removed \(images) images")
                    || ended.output.contains("would remove \(images) images"), "\(options): \(ended)")
        }
        for options in [["--keep-storage", "much"], ["--filter", "label=x"], ["--filter", "until=never"]] {
            #expect(try scene.prune(options).run().status == 125)
        }
        // The configuration limits the size without an option.
        #expect(try scene.pull().run().status == 0)
        try scene.place.write("keep-storage = 2m\n", to: "berth.conf")
        #expect(try scene.prune().run().output.contains("removed 0 images"))
        try scene.place.write("keep-storage = 100k\n", to: "berth.conf")
        #expect(try scene.prune().run().output.contains("removed 1 images"))
    }
}
