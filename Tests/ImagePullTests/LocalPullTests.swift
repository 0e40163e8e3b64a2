import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import Layers
import Store
import TestSupport
import Testing

/// Pulls from all local sources into a separate store.
@Suite struct LocalPullTests {
    static let base = archive([.dir("etc"), .file("etc/os", "base"), .file("gone", "x")])
    static let top = archive([.dir("etc"), .file("etc/os", "top"), .file(".wh.gone"), .file("new", "y", 0o4755)])
    static let image = LocalImage(layers: [base, top])

    static func pull(
        _ source: ImageSource, into store: ImageStore, platform: Platform = .host
    ) async throws(PullError) -> PulledImage {
        let origin: any ImageOrigin
        switch source {
        case .ociLayout(let path, let tag): origin = try LayoutOrigin(directory: path, tag: tag)
        case .ociArchive(let path, let tag): origin = try LayoutOrigin(archive: path, tag: tag)
        case .dockerArchive(let path, let tag): origin = try DockerArchiveOrigin(path, tag: tag)
        default: throw .cancelled
        }
        return try await ImagePuller(store: store, origin: origin) { _ in }
            .pull(source, platform: platform, refresh: true)
    }

    static func fault(_ source: ImageSource, platform: Platform = .host) async throws -> PullError.LocalFault? {
        let place = try TemporaryDirectory()
        let store = try ImageStore.open(creating: place.path + "/store")
        do throws(PullError) {
            _ = try await pull(source, into: store, platform: platform)
            return nil
        } catch {
            // A failed pull must not leave anything.
            #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/drafts").isEmpty)
            #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/images").isEmpty)
            if case .local(let fault, _) = error { return fault }
            Issue.record("\(error)")
            return nil
        }
    }

    static func write(_ files: [String: [UInt8]], _ place: TemporaryDirectory, _ name: String) throws -> String {
        for (file, bytes) in files { try place.write(bytes, to: name + "/" + file) }
        return place.path + "/" + name
    }

    /// The image exists, and its files are those of its layers.
    static func check(_ pulled: PulledImage, _ store: ImageStore) throws {
        guard let lease = try store.lease(pulled.manifestDigest) else {
            Issue.record("the image is not in the store")
            return
        }
        #expect(lease.record.command == ["/bin/sh"])
        #expect(lease.record.overlay)
        #expect(lease.trees.count == 2)
        let top = try #require(lease.trees.last)
        #expect(try String(contentsOfFile: top + "/etc/os", encoding: .utf8) == "top")
    }

    @Test func layoutDirectory() async throws {
        let place = try TemporaryDirectory()
        let path = try Self.write(LocalImage.layout([("one", Self.image)]), place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        for tag in [nil, "one"] {
            try Self.check(await Self.pull(.ociLayout(path: path, tag: tag), into: store), store)
        }
    }

    @Test func layoutWithAnIndexInside() async throws {
        let place = try TemporaryDirectory()
        var other = Self.image
        other.platform = Platform(os: "linux", architecture: "s390x")
        let path = try Self.write(LocalImage.layout([(nil, other), (nil, Self.image)], nested: true), place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        try Self.check(await Self.pull(.ociLayout(path: path, tag: nil), into: store), store)
        let fault = try await Self.fault(
            .ociLayout(path: path, tag: nil), platform: Platform(os: "linux", architecture: "riscv64"))
        #expect(
            fault
                == .noMatchingPlatform(
                    wanted: Platform(os: "linux", architecture: "riscv64"), offered: [other.platform, .host]))
    }

    @Test func layoutArchive() async throws {
        let place = try TemporaryDirectory()
        let files = LocalImage.layout([("v1", Self.image)]).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let path = try place.write(LocalImage.tar(files), to: "image.tar")
        let store = try ImageStore.open(creating: place.path + "/store")
        try Self.check(await Self.pull(.ociArchive(path: path, tag: "v1"), into: store), store)
        let fault = try await Self.fault(.ociArchive(path: path, tag: "v2"))
        #expect(fault == .unknownTag("v2", present: ["v1"]))
    }

    static func save(_ tags: [String], config: String? = nil, layers: [String]) -> [UInt8] {
        let name = config ?? Digest(hashing: image.config, with: .sha256).hex + ".json"
        return Array(
            """
            [{"Config":"\(name)","RepoTags":[\(tags.map { "\"\($0)\"" }.joined(separator: ","))],\
            "Layers":[\(layers.map { "\"\($0)\"" }.joined(separator: ","))]}]
            """.utf8)
    }

    @Test func dockerSaveOfOldAndNew() async throws {
        let place = try TemporaryDirectory()
        let config = Digest(hashing: Self.image.config, with: .sha256).hex
        let old = LocalImage.tar(
            [
                ("aa/layer.tar", Self.base), ("cc/layer.tar", Self.top), ("\(config).json", Self.image.config),
                (
                    "manifest.json",
                    Self.save(["busy:1", "docker.io/library/other:2"], layers: ["aa/layer.tar", "bb/layer.tar"])
                ),
            ], links: [("bb/layer.tar", "../cc/layer.tar")])
        let new = LocalImage.tar([
            ("blobs/sha256/\(config)", Self.image.config), ("blobs/sha256/base", Self.base),
            ("blobs/sha256/top", Self.top),
            (
                "manifest.json",
                Self.save(
                    ["busy:1"], config: "blobs/sha256/\(config)", layers: ["blobs/sha256/base", "blobs/sha256/top"])
            ),
        ])
        var digests: Set<Digest> = []
        for (index, bytes) in [old, new].enumerated() {
            let path = try place.write(bytes, to: "image\(index).tar")
            let store = try ImageStore.open(creating: place.path + "/store\(index)")
            for tag in [nil, "busy:1", "docker.io/library/busy:1", "1"] {
                let pulled = try await Self.pull(.dockerArchive(path: path, tag: tag), into: store)
                try Self.check(pulled, store)
                if index == 0 { digests.insert(pulled.digest) }
            }
        }
        // One content has one digest.
        #expect(digests.count == 1)
        let path = place.path + "/image0.tar"
        #expect(
            try await Self.fault(.dockerArchive(path: path, tag: "9"))
                == .unknownTag("9", present: ["busy:1", "docker.io/library/other:2"]))
    }

    @Test func compressedLayersInAnArchive() async throws {
        let place = try TemporaryDirectory()
        try place.write(Self.top, to: "top.tar")
        #expect(try Command(["/bin/gzip", "-k", place.path + "/top.tar"]).run().status == 0)
        let gzip = [UInt8](try Data(contentsOf: URL(fileURLWithPath: place.path + "/top.tar.gz")))
        let config = Digest(hashing: Self.image.config, with: .sha256).hex
        let path = try place.write(
            LocalImage.tar([
                ("\(config).json", Self.image.config), ("a.tar", Self.base), ("b.tar.gz", gzip),
                ("manifest.json", Self.save(["x:1"], layers: ["a.tar", "b.tar.gz"])),
            ]), to: "image.tar")
        let store = try ImageStore.open(creating: place.path + "/store")
        try Self.check(await Self.pull(.dockerArchive(path: path, tag: nil), into: store), store)
    }

    @Test func brokenSources() async throws {
        let place = try TemporaryDirectory()
        // Compressed as a whole.
        let packed = try place.write([0x1F, 0x8B, 8, 0, 0, 0, 0, 0], to: "packed.tar.gz")
        #expect(try await Self.fault(.dockerArchive(path: packed, tag: nil)) == .compressedArchive("gzip"))
        // No manifest; a link loop.
        let empty = try place.write(LocalImage.tar([("x", [1])]), to: "empty.tar")
        #expect(try await Self.fault(.dockerArchive(path: empty, tag: nil)) == .notAnImage("it holds no manifest.json"))
        let circle = try place.write(
            LocalImage.tar([("x", [1])], links: [("manifest.json", "a"), ("a", "manifest.json")]), to: "circle.tar")
        #expect(
            try await Self.fault(.dockerArchive(path: circle, tag: nil)) == .notAnImage("it holds no manifest.json"))
        // A configuration whose name is the digest of another one.
        let wrong = try place.write(
            LocalImage.tar([
                (String(repeating: "0", count: 64) + ".json", Self.image.config),
                ("manifest.json", Self.save(["x:1"], config: String(repeating: "0", count: 64) + ".json", layers: [])),
            ]), to: "wrong.tar")
        guard case .digestMismatch = try await Self.fault(.dockerArchive(path: wrong, tag: nil)) else {
            Issue.record("a configuration of another digest passed")
            return
        }
        // A layout's blob with a bit flipped.
        var files = LocalImage.layout([(nil, Self.image)])
        let manifest = Self.image.blobs().manifest
        files["blobs/sha256/\(manifest.digest.hex)"]?[5] ^= 1
        let path = try Self.write(files, place, "layout")
        guard case .digestMismatch = try await Self.fault(.ociLayout(path: path, tag: nil)) else {
            Issue.record("a manifest of another digest passed")
            return
        }
        guard case .system = try await Self.fault(.ociLayout(path: place.path + "/nowhere", tag: nil)) else {
            Issue.record("a missing directory passed")
            return
        }
        // A blob that is a link out of the layout.
        var links = LocalImage.layout([(nil, Self.image)])
        links["blobs/sha256/\(manifest.digest.hex)"] = nil
        let outside = try Self.write(links, place, "links")
        try FileManager.default.createSymbolicLink(
            atPath: outside + "/blobs/sha256/\(manifest.digest.hex)", withDestinationPath: path + "/oci-layout")
        #expect(
            try await Self.fault(.ociLayout(path: outside, tag: nil))
                == .notAnImage("the blob \(manifest.digest) is missing"))
    }

    @Test func aDamagedLayerLeavesNothing() async throws {
        let place = try TemporaryDirectory()
        var files = LocalImage.layout([(nil, Self.image)])
        let layer = Digest(hashing: Self.top, with: .sha256)
        files["blobs/sha256/\(layer.hex)"]?[700] ^= 1
        let path = try Self.write(files, place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        let error = await #expect(throws: PullError.self) {
            _ = try await Self.pull(.ociLayout(path: path, tag: nil), into: store)
        }
        guard case .layer(2, 2, layer, let cause) = error, case .blobDigest = cause.reason else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/drafts").isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/images").isEmpty)
    }

    /// A layer that occurs twice counts once, unless the one in between depends on the lower occurrence.
    @Test func aLayerThatOccursTwice() async throws {
        let place = try TemporaryDirectory()
        let store = try ImageStore.open(creating: place.path + "/store")
        func trees(_ twice: [Item], _ between: [Item]) async throws -> [String] {
            let image = LocalImage(layers: [archive(twice), archive(between), archive(twice)])
            let path = try Self.write(
                LocalImage.layout([("twice", image)]), place, "layout-\(twice.count)-\(between.count)")
            let pulled = try await Self.pull(.ociLayout(path: path, tag: "twice"), into: store)
            return try store.lease(pulled.manifestDigest)?.trees ?? []
        }
        let plain = try await trees([.dir("d"), .file("d/a", "1")], [.dir("d"), .file("d/b", "2")])
        #expect(plain.count == 2)
        let through = try await trees([.dir("r"), .symlink("r", "l")], [.file("l/f", "x")])
        try #require(through.count == 1)
        #expect(try String(contentsOfFile: through[0] + "/r/f", encoding: .utf8) == "x")
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: through[0] + "/l") == "r")
    }
}
