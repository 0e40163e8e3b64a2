import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import Layers
import Store
import TestSupport
import Testing

/// go-containerregistry's pkg/v1/tarball and umoci's bats tests of damaged images with our own data. `LocalPullTests`
/// has the rest; docs/reference/corpora.md is the list.
@Suite struct ForeignImageTests {
    static let image = LocalPullTests.image
    static let config = Digest(hashing: image.config, with: .sha256).hex + ".json"

    static func entry(_ tags: String, config: String = config, layers: String) -> String {
        #"{"Config":"\#(config)","RepoTags":\#(tags),"Layers":[\#(layers)]}"#
    }

    static func docker(
        _ manifest: String, _ place: TemporaryDirectory, _ more: [(String, [UInt8])] = [],
        name: String = "manifest.json"
    ) throws -> String {
        let parts = [
            (config, image.config), ("a/layer.tar", LocalPullTests.base), ("b/layer.tar", LocalPullTests.top),
            (name, Array(manifest.utf8)),
        ]
        // A name that occurs twice is a fault of its own.
        let own = parts.filter { part in !more.contains { $0.0 == part.0 } }
        return try place.write(LocalImage.tar(own + more), to: "image.tar")
    }

    static let layers = #""a/layer.tar","b/layer.tar""#

    // MARK: TestNullManifest, TestNoManifest, TestLoadManifest, TestLoadManifestPrefixPath

    @Test(arguments: ["null", "[]", "{}", "", "[{}]", "[null]", #"[{"Config":""}]"#]) func manifestsOfNothing(
        _ text: String
    ) async throws {
        let place = try TemporaryDirectory()
        let path = try Self.docker(text, place)
        #expect(try await LocalPullTests.fault(.dockerArchive(path: path, tag: nil)) != nil)
    }

    @Test(arguments: ["manifest.json", "./manifest.json", "/manifest.json"]) func theManifestByAnySpelling(
        _ name: String
    ) async throws {
        let place = try TemporaryDirectory()
        let path = try Self.docker("[\(Self.entry("null", layers: Self.layers))]", place, name: name)
        let store = try ImageStore.open(creating: place.path + "/store")
        try LocalPullTests.check(await LocalPullTests.pull(.dockerArchive(path: path, tag: nil), into: store), store)
    }

    // MARK: TestBundleSingle, TestBundleMultiple

    @Test func ofSeveralOneIsNamed() async throws {
        let place = try TemporaryDirectory()
        let other = LocalImage(layers: [LocalPullTests.base])
        let otherConfig = Digest(hashing: other.config, with: .sha256).hex + ".json"
        let path = try Self.docker(
            "["
                + [
                    Self.entry(#"["test_image_1:latest","index.docker.io/library/named:latest"]"#, layers: Self.layers),
                    Self.entry(#"["test_image_2:v2"]"#, config: otherConfig, layers: #""a/layer.tar""#),
                ].joined(separator: ",") + "]", place, [(otherConfig, other.config)])
        #expect(
            try await LocalPullTests.fault(.dockerArchive(path: path, tag: nil))
                == .unknownTag(
                    nil, present: ["test_image_1:latest", "index.docker.io/library/named:latest", "test_image_2:v2"]))
        let store = try ImageStore.open(creating: place.path + "/store")
        let names = [
            ("test_image_1", 2), ("test_image_1:latest", 2), ("index.docker.io/library/test_image_1:latest", 2),
            ("docker.io/library/test_image_1", 2), ("named", 2), ("test_image_2:v2", 1), ("v2", 1),
        ]
        for (name, count) in names {
            let pulled = try await LocalPullTests.pull(.dockerArchive(path: path, tag: name), into: store)
            #expect(try store.lease(pulled.manifestDigest)?.record.trees.count == count, "\(name)")
        }
        #expect(
            try await LocalPullTests.fault(.dockerArchive(path: path, tag: "test_image_2")) != nil,
            "there is no :latest")
    }

    // MARK: TestManifestEmptyDiffIDs, TestLayerByDiffIDMoreDiffIDsThanLayers

    @Test func layersWithoutDiffIDsAndTheReverse() async throws {
        for (layers, diffIDs) in [(1, 0), (0, 1), (2, 1), (1, 2)] {
            let place = try TemporaryDirectory()
            let known = [LocalPullTests.base, LocalPullTests.top]
            let config = LocalImage(layers: Array(known[..<diffIDs])).config
            let name = Digest(hashing: config, with: .sha256).hex + ".json"
            let paths = [#""a/layer.tar""#, #""b/layer.tar""#][..<layers].joined(separator: ",")
            let path = try Self.docker(
                "[\(Self.entry("null", config: name, layers: paths))]", place, [(name, config)])
            #expect(
                try await LocalPullTests.fault(.dockerArchive(path: path, tag: nil))
                    == .notAnImage("\(diffIDs) diff_ids for \(layers) layers"))
        }
    }

    // MARK: TestSymlinkCycle, and a link out of the archive

    @Test func linksOfLayers() async throws {
        for links in [
            [("c/layer.tar", "../d/layer.tar"), ("d/layer.tar", "../c/layer.tar")], [("c/layer.tar", "/etc/passwd")],
            [("c/layer.tar", "layer.tar")], [("c/layer.tar", "../nowhere")],
        ] {
            let place = try TemporaryDirectory()
            let manifest = "[\(Self.entry("null", layers: #""a/layer.tar","c/layer.tar""#))]"
            let bytes = LocalImage.tar(
                [
                    (Self.config, Self.image.config), ("a/layer.tar", LocalPullTests.base),
                    ("manifest.json", Array(manifest.utf8)),
                ], links: links)
            let path = try place.write(bytes, to: "image.tar")
            #expect(try await LocalPullTests.fault(.dockerArchive(path: path, tag: nil)) != nil, "\(links)")
        }
    }

    // MARK: umoci bats, hardening.bats: each blob of a layout, damaged in ways that keep or change its length

    @Test(arguments: ["a blank in front", "a NUL behind", "a bit", "the last byte gone", "nothing left"])
    func everyBlobIsVerified(_ damage: String) async throws {
        let whole = LocalImage.layout([(nil, Self.image)])
        for name in whole.keys where name.hasPrefix("blobs/") {
            let place = try TemporaryDirectory()
            var files = whole
            let blob = files[name] ?? []
            files[name] =
                switch damage {
                case "a blank in front": [0x20] + blob
                case "a NUL behind": blob + [0]
                case "a bit": blob[..<20] + [blob[20] ^ 1] + blob[21...]
                case "the last byte gone": blob.dropLast()
                default: []
                }
            let path = try LocalPullTests.write(files, place, "layout")
            let store = try ImageStore.open(creating: place.path + "/store")
            await #expect(throws: PullError.self, "\(name)") {
                _ = try await LocalPullTests.pull(.ociLayout(path: path, tag: nil), into: store)
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/images").isEmpty)
            #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/store/drafts").isEmpty)
        }
    }

    /// TestExtractVerifiesLayerDigest: a layer with a valid archive, but another one than expected.
    @Test func anotherLayerIsNotTaken() async throws {
        let place = try TemporaryDirectory()
        let manifest = "[\(Self.entry("null", layers: #""a/layer.tar","a/layer.tar""#))]"
        let path = try Self.docker(manifest, place)
        let store = try ImageStore.open(creating: place.path + "/store")
        let error = await #expect(throws: PullError.self) {
            _ = try await LocalPullTests.pull(.dockerArchive(path: path, tag: nil), into: store)
        }
        guard case .layer = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    /// umoci bats, mixed compression: TestLayerFromFile's three compressions in one image.
    @Test func layersOfAllPackings() async throws {
        let place = try TemporaryDirectory()
        try place.write(LocalPullTests.base, to: "base.tar")
        try place.write(LocalPullTests.top, to: "top.tar")
        for words in [["/usr/bin/gzip", "-k"], ["/usr/bin/zstd", "-q"]] {
            for name in ["base.tar", "top.tar"] {
                #expect(try Command(words + [place.path + "/" + name]).run().status == 0)
            }
        }
        func bytes(_ name: String) throws -> [UInt8] {
            [UInt8](try Data(contentsOf: URL(fileURLWithPath: place.path + "/" + name)))
        }
        for lower in ["base.tar", "base.tar.gz", "base.tar.zst"] {
            for upper in ["top.tar", "top.tar.gz", "top.tar.zst"] {
                let inner = try TemporaryDirectory()
                let path = try Self.docker(
                    "[\(Self.entry("null", layers: #""x","y""#))]", inner, [("x", bytes(lower)), ("y", bytes(upper))])
                let store = try ImageStore.open(creating: inner.path + "/store")
                try LocalPullTests.check(
                    await LocalPullTests.pull(.dockerArchive(path: path, tag: nil), into: store), store)
            }
        }
    }
}
