import Foundation
import ImageSpec
import Layers
import LinuxKernel
import TestSupport
import Testing

/// Debian images of `Images/build`, unpacked by umoci and by Berth, with the tens of thousands of entries of a
/// distribution. The rows of `OracleTests` explain the differences.
@Suite(.serialized) struct BuiltImageTests {
    static let images = ["hello", "entrypoint"].filter {
        FileManager.default.fileExists(atPath: Oracle.packageRoot + "/build/images/\($0)/index.json")
    }

    static func json(_ path: String) throws -> [String: Any] {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        return try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    static func blob(_ layout: String, _ descriptor: Any?) throws -> String {
        let digest = try #require((descriptor as? [String: Any])?["digest"] as? String)
        return layout + "/blobs/" + digest.replacingOccurrences(of: ":", with: "/")
    }

    /// Flattened with the caller's ownership.
    static func own(_ layout: String) throws -> FileTree {
        let manifests = try json(layout + "/index.json")["manifests"] as? [Any]
        let manifest = try json(blob(layout, manifests?.first))
        let rootfs = try json(blob(layout, manifest["config"]))["rootfs"] as? [String: Any]
        let diffIDs = try #require(rootfs?["diff_ids"] as? [String])
        let layers = try #require(manifest["layers"] as? [Any])
        let place = try Workplace()
        var trees: [LayerTree] = []
        for (index, layer) in layers.enumerated() {
            let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: blob(layout, layer))))
            let directory = try place.directory("layer\(index)")
            let diffID = try Digest(parsing: diffIDs[index])
            trees.append(
                LayerTree(
                    directory, try LayerUnpacker.several.unpack(BytesSource(bytes), diffID: diffID, into: directory)))
        }
        let flat = try place.directory("flat")
        try Flattener().compose(trees, into: flat)
        return try FileTree(reading: flat.descriptor) { Array(digest($0).hex.utf8) }
    }

    @Test(
        .enabled(if: OracleTests.has("umoci") && !images.isEmpty, "needs umoci, and images of Images/build"),
        arguments: images)
    func umociUnpacksTheSame(_ name: String) throws {
        let layout = Oracle.packageRoot + "/build/images/" + name
        let place = try TemporaryDirectory()
        let ended = try Command(
            ["umoci", "unpack", "--rootless", "--image", layout + ":latest", place.path + "/bundle"],
            environment: ["PATH": "/usr/bin:/bin", "HOME": place.path], secondsAllowed: 120
        ).run()
        try #require(ended.status == 0, "\(ended)")
        let image = OracleImage(name, [[Item]]())
        let found = Oracle.compare(
            image, .umociRootless, try Self.own(layout), try Oracle.read(place.path + "/bundle/rootfs"))
        for one in found {
            #expect(OracleRow.all.contains { $0.peers.contains(.umociRootless) && $0.explains(one) }, "\(one)")
        }
    }
}
