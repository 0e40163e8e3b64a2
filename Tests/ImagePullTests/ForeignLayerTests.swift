import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import Store
import TestSupport
import Testing

/// Layers that "are not to be distributed": layer.md and descriptor.md have it that neither their type nor their `urls`
/// says whether they are fetched.
@Suite struct ForeignLayerTests {
    /// Type, and the program that packs, which is told to keep its input.
    static let types: [(MediaType, [String], suffix: String)] = [
        (.ociForeignLayer, [], ""), (.ociForeignLayerGzip, ["gzip", "-nk"], ".gz"),
        (.ociForeignLayerZstd, ["zstd", "-qk"], ".zst"), (.dockerForeignLayerGzip, ["gzip", "-nk"], ".gz"),
    ]

    /// The manifest's upper layer is of a foreign type and says where else it is.
    static func layout(_ type: MediaType, _ packed: [UInt8], hasBlob: Bool = true) throws -> [String: [UInt8]] {
        let image = LocalPullTests.image
        var files: [String: [UInt8]] = ["oci-layout": Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)]
        func descriptor(_ bytes: [UInt8], _ type: MediaType, _ more: String = "", isKept: Bool = true) -> String {
            let digest = Digest(hashing: bytes, with: .sha256)
            if isKept { files["blobs/sha256/\(digest.hex)"] = bytes }
            return #"{"mediaType":"\#(type.rawValue)","digest":"\#(digest)","size":\#(bytes.count)\#(more)}"#
        }
        let config = descriptor(image.config, .ociConfig)
        let base = descriptor(LocalPullTests.base, .ociLayer)
        let top = descriptor(
            packed, type, #","urls":["http://127.0.0.1:9/layer","file:///etc/passwd"]"#, isKept: hasBlob)
        let manifest = Array(#"{"schemaVersion":2,"config":\#(config),"layers":[\#(base),\#(top)]}"#.utf8)
        let entry = descriptor(manifest, .ociManifest)
        files["index.json"] = Array(#"{"schemaVersion":2,"manifests":[\#(entry)]}"#.utf8)
        return files
    }

    @Test(arguments: types.indices) func theyAreUnpackedLikeAnyOther(_ index: Int) async throws {
        let (type, program, suffix) = Self.types[index]
        let place = try TemporaryDirectory()
        let file = try place.write(LocalPullTests.top, to: "top.tar")
        if !program.isEmpty {
            let ended = try Command(program + [file]).run()
            try #require(ended.status == 0, "\(ended)")
        }
        let packed = Array(try Data(contentsOf: URL(fileURLWithPath: file + suffix)))
        let path = try LocalPullTests.write(Self.layout(type, packed), place, "layout")
        let store = try ImageStore.open(creating: place.path + "/store")
        try LocalPullTests.check(await LocalPullTests.pull(.ociLayout(path: path, tag: nil), into: store), store)
    }

    /// Where the blob is not, it is missing: nobody else is asked for it.
    @Test func theirURLsAreNotAsked() async throws {
        let place = try TemporaryDirectory()
        let files = try Self.layout(.ociForeignLayer, LocalPullTests.top, hasBlob: false)
        let path = try LocalPullTests.write(files, place, "layout")
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        let digest = Digest(hashing: LocalPullTests.top, with: .sha256)
        #expect(fault == .notAnImage("the blob \(digest) is missing"))
    }
}
