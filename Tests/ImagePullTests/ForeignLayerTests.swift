import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import Store
import TestSupport
import Testing

/// "Non-distributable" layers: by layer.md and descriptor.md, neither their type nor their `urls` determines whether
/// they are fetched.
@Suite struct ForeignLayerTests {
    /// The type, and the compressor with an option to keep its input.
    static let types: [(MediaType, [String], suffix: String)] = [
        (.ociForeignLayer, [], ""), (.ociForeignLayerGzip, ["gzip", "-nk"], ".gz"),
        (.ociForeignLayerZstd, ["zstd", "-qk"], ".zst"), (.dockerForeignLayerGzip, ["gzip", "-nk"], ".gz"),
    ]

    /// The upper layer of the manifest has a foreign type and lists URLs.
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

    /// A missing blob is an error: Berth does not try the URLs.
    @Test func theirURLsAreNotAsked() async throws {
        let place = try TemporaryDirectory()
        let files = try Self.layout(.ociForeignLayer, LocalPullTests.top, hasBlob: false)
        let path = try LocalPullTests.write(files, place, "layout")
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        let digest = Digest(hashing: LocalPullTests.top, with: .sha256)
        #expect(fault == .notAnImage("the blob \(digest) is missing"))
    }
}
