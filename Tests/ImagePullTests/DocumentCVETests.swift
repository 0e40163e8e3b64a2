import Distribution
import Foundation
import Hashing
import ImagePull
import ImageSpec
import Store
import TestSupport
import Testing

/// Attacks of manifests, indexes and archives on other programs, by number.
@Suite struct DocumentCVETests {
    static func write(_ files: [String: [UInt8]]) throws -> (place: TemporaryDirectory, path: String) {
        let place = try TemporaryDirectory()
        for (file, bytes) in files { try place.write(bytes, to: "layout/" + file) }
        return (place, place.path + "/layout")
    }

    /// CVE-2014-9358: an image ID that is a path.
    @Test(arguments: ["../../outside.json", "/etc/hostname", "../outside.json"])
    func cve_2014_9358_namesInAnArchiveAreNotPaths(_ name: String) async throws {
        let place = try TemporaryDirectory()
        try place.write(LocalPullTests.image.config, to: "outside.json")
        let path = try place.write(
            LocalImage.tar([
                ("manifest.json", Array(#"[{"Config":"\#(name)","RepoTags":["x:1"],"Layers":["\#(name)"]}]"#.utf8))
            ]), to: "sub/image.tar")
        let fault = try await LocalPullTests.fault(.dockerArchive(path: path, tag: nil))
        #expect(fault == .notAnImage("it holds no \(name)"))
    }

    /// CVE-2021-41190: a document that is a manifest to one reader and an index to another.
    @Test(arguments: [#""manifests":[]"#, #""fsLayers":[]"#, #""mediaType":"application/vnd.oci.image.index.v1+json""#])
    func cve_2021_41190_aManifestThatIsSomethingElseToo(_ extra: String) async throws {
        let image = LocalPullTests.image
        var (files, descriptor) = image.blobs()
        let plain = String(decoding: files["blobs/sha256/\(descriptor.digest.hex)"] ?? [], as: UTF8.self)
        let without = plain.replacing(#""mediaType":"application/vnd.oci.image.manifest.v1+json","#, with: "")
        let both = Array((without.dropLast() + "," + extra + "}").utf8)
        descriptor = Descriptor(
            mediaType: .ociManifest, digest: Digest(hashing: both, with: .sha256), size: Int64(both.count))
        files["blobs/sha256/\(descriptor.digest.hex)"] = both
        files["oci-layout"] = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)
        files["index.json"] = image.json(ImageIndex(manifests: [descriptor]))
        let (place, path) = try Self.write(files)
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        guard case .notAnImage? = fault else {
            Issue.record("\(String(describing: fault)) \(place.path)")
            return
        }
    }

    /// Similar to CVE-2021-41190: keys that readers interpret differently, in each document that decides what runs.
    @Test(
        arguments: ["index.json", "oci-layout", "manifest", "config"],
        [#","X":1,"X":2}"#, #","schemaversion":2}"#, "bom"])
    func cve_2021_41190_readersMustAgree(_ document: String, _ end: String) async throws {
        var end = end
        if end.contains("schema"), document == "config" { end = #","Config":{}}"# }
        if end.contains("schema"), document == "oci-layout" { end = #","imagelayoutversion":"1.0.0"}"# }
        func changed(_ bytes: [UInt8]) -> [UInt8] {
            end == "bom"
                ? [0xEF, 0xBB, 0xBF] + bytes : Array(String(decoding: bytes, as: UTF8.self).dropLast().utf8) + end.utf8
        }
        let image = LocalPullTests.image
        var (files, descriptor) = image.blobs()
        if document == "manifest" || document == "config" {
            let path = "blobs/sha256/\(descriptor.digest.hex)"
            var manifest = try JSONDecoder().decode(Manifest.self, from: Data(files[path] ?? []))
            if document == "config" {
                let bytes = changed(files["blobs/sha256/\(manifest.config.digest.hex)"] ?? [])
                manifest.config.digest = Digest(hashing: bytes, with: .sha256)
                manifest.config.size = Int64(bytes.count)
                files["blobs/sha256/\(manifest.config.digest.hex)"] = bytes
            }
            let bytes = document == "config" ? image.json(manifest) : changed(files[path] ?? [])
            descriptor = Descriptor(
                mediaType: .ociManifest, digest: Digest(hashing: bytes, with: .sha256), size: Int64(bytes.count))
            files["blobs/sha256/\(descriptor.digest.hex)"] = bytes
        }
        files["oci-layout"] = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)
        files["index.json"] = image.json(ImageIndex(manifests: [descriptor]))
        if let bytes = files[document] { files[document] = changed(bytes) }
        let (place, path) = try Self.write(files)
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        guard case .notAnImage(let what)? = fault, what.hasPrefix("cannot read ") else {
            Issue.record("\(String(describing: fault)) \(place.path)")
            return
        }
        #expect(
            what.contains(end == "bom" ? "byte order mark" : end.contains("\"X\"") ? "twice" : "only in case"),
            "\(what)")
    }

    /// A configuration of 16 MiB with millions of values needed hundreds of MB.
    @Test func valuesWithoutEndAreRefused() async throws {
        let many =
            Array("{\"schemaVersion\":2,\"manifests\":[],\"x\":[".utf8)
            + Array(repeatElement(Array("{},".utf8), count: 1_000_000).joined()) + Array("{}]}".utf8)
        let (place, path) = try Self.write(["index.json": many])
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        #expect(fault == .notAnImage("cannot read index.json: x: it has more than 250000 values"), "\(place.path)")
    }

    /// CVE-2023-25153: an index.json that would exhaust the memory.
    @Test func cve_2023_25153_documentsWithoutEnd() async throws {
        let (place, path) = try Self.write(["oci-layout": Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)])
        let file = try place.write([UInt8](), to: "layout/index.json")
        #expect(truncate(file, 1 << 40) == 0)
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        #expect(fault == .notAnImage("index.json is larger than 16777216 bytes"))
    }

    /// CVE-2024-3727: a digest that is a path.
    @Test(arguments: [
        "sha256:../../../../etc/passwd", "sha256:..", "../x:00", "sha256:" + String(repeating: "A", count: 64),
    ])
    func cve_2024_3727_digestsAreChecked(_ text: String) async throws {
        #expect(throws: DigestError.self) { _ = try Digest(parsing: text) }
        var files = LocalImage.layout([(nil, LocalPullTests.image)])
        let digest = LocalPullTests.image.blobs().manifest.digest.description
        let index = String(decoding: files["index.json"] ?? [], as: UTF8.self).replacing(digest, with: text)
        files["index.json"] = Array(index.utf8)
        let (place, path) = try Self.write(files)
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        guard case .notAnImage(let what)? = fault, what.hasPrefix("cannot read index.json: manifests.") else {
            Issue.record("\(String(describing: fault)) \(place.path)")
            return
        }
    }

    /// GHSA-f36w-mj3v-6jqv: a size that would exhaust the memory.
    @Test(arguments: [-1, 1 << 40]) func ghsa_f36w_mj3v_6jqv_sizesAreChecked(_ size: Int64) async throws {
        var files = LocalImage.layout([(nil, LocalPullTests.image)])
        let manifest = LocalPullTests.image.blobs().manifest
        let index = String(decoding: files["index.json"] ?? [], as: UTF8.self)
            .replacing("\"size\":\(manifest.size)", with: "\"size\":\(size)")
        files["index.json"] = Array(index.utf8)
        let (place, path) = try Self.write(files)
        let fault = try await LocalPullTests.fault(.ociLayout(path: path, tag: nil))
        guard case .notAnImage? = fault else {
            Issue.record("\(String(describing: fault)) \(place.path)")
            return
        }
    }
}
