import Foundation
import ImageSpec
import LinuxKernel
@testable import Store
import Testing
import TestSupport

/// `berth rmi`: the accepted names, and the effect on a running image.
@Suite(.enabled(if: Program.isBuilt)) struct RemovalTests {
    static func remove(_ scene: Scene, _ words: String...) throws -> Ended {
        try Program.command(["rmi", "--store", scene.store] + words, home: scene.place.path).run()
    }

    static func store(_ scene: Scene) throws -> ImageStore { try #require(try ImageStore.open(existing: scene.store)) }

    static func pulled() throws -> Scene {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 10))
        #expect(try scene.pull().run().status == 0)
        return scene
    }

    @Test func aLayoutIsRemovedWhateverBecameOfIt() throws {
        for name in ["source", "path", "dotted"] {
            let scene = try Self.pulled()
            let path = scene.layout + "/one"
            try FileManager.default.removeItem(atPath: path)
            let text = name == "source" ? scene.source() : name == "path" ? path : "oci:" + scene.layout + "/./one"
            let ended = try Self.remove(scene, text)
            #expect(ended.status == 0, "\(text): \(ended)")
            #expect(try Self.store(scene).images().isEmpty)
            let again = try Self.remove(scene, text)
            #expect(again.status == 125 && again.errors.contains("is not in the store"), "\(again)")
        }
    }

    @Test func anImageIsRemovedByTheDigestThatIsListed() throws {
        let scene = try Self.pulled()
        let digest = try #require(try Self.store(scene).images().first).record.digest
        let short = String(digest.hex.prefix(12))
        let list = try Program.command(["images", "--store", scene.store], home: scene.place.path).run()
        #expect(list.output.contains(short), "\(list)")
        #expect(try Self.remove(scene, "ffffffffffff").status == 125)
        try Self.store(scene).name(digest, [try ImageKey(try ImageSource(parsing: "other:1"), platform: .host)])
        let several = try Self.remove(scene, short)
        #expect(several.status == 125 && several.errors.contains("has 2 names"), "\(several)")
        #expect(several.errors.contains("docker.io/library/other:1"), "\(several)")
        #expect(try Self.remove(scene, "other:1").status == 0)
        let ended = try Self.remove(scene, digest.description)
        #expect(ended.status == 0 && ended.output == digest.description + "\n", "\(ended)")
        #expect(try Self.store(scene).images().isEmpty)
    }

    /// As in Docker: refused without --force; with it, the name is removed and the container continues.
    @Test func anImageThatRunsKeepsItsFiles() throws {
        let scene = try Self.pulled()
        let store = try Self.store(scene)
        let digest = try #require(try store.images().first).record.digest
        var lease = Optional(try #require(try Self.box(store, digest)))
        let refused = try Self.remove(scene, scene.source())
        #expect(refused.status == 125 && refused.errors.contains("a container runs it"), "\(refused)")
        #expect(refused.errors.contains("process \(getpid())"), "\(refused)")
        #expect(try store.images().first?.names.count == 1)
        let forced = try Self.remove(scene, "-f", scene.source())
        #expect(forced.status == 0, "\(forced)")
        #expect(try store.images().first?.names == [])
        #expect(store.isWhole(digest), "the container goes on")
        withExtendedLifetime(lease) {}
        lease = nil
        #expect(try soon { try scene.prune().run().output.contains("removed 1 images") })
        #expect(try store.images().isEmpty)
    }

    /// The lease that a container inherits.
    private static func box(_ store: ImageStore, _ digest: Digest) throws -> DescriptorBox? {
        guard let lease = try store.lease(digest) else { return nil }
        return lease.box
    }
}
