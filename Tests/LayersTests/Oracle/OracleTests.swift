import Foundation
import LinuxKernel
import Synchronization
import TestSupport
import Testing

/// Unpacks the same images with umoci, podman and Berth, and compares all properties of all entries. `OracleRow.all`
/// has the rows of the table in docs/reference/unpacking.md; a difference without a row fails the test.
@Suite(.serialized) struct OracleTests {
    static func has(_ program: String) -> Bool {
        let found = FileManager.default.isExecutableFile(atPath: "/usr/bin/" + program)
        if !found { FileHandle.standardError.write(Data("SKIPPED: no \(program)\n".utf8)) }
        return found
    }

    static let isRoot = Identity.userID == 0
    static let images = OracleImage.corpora + OracleImage.ofOurOwn

    /// Each difference needs a row, and each row a difference, so fixed differences must be removed from the table.
    static func check(_ peer: OraclePeer, _ found: [OracleDifference]) {
        var used: Set<String> = []
        for one in found {
            let rows = OracleRow.all.filter { $0.peers.contains(peer) && $0.explains(one) }
            used.formUnion(rows.map(\.what))
            #expect(!rows.isEmpty, "\(one)")
        }
        let expected = Set(OracleRow.all.filter { $0.peers.contains(peer) }.map(\.what))
        #expect(expected.subtracting(used) == [], "rows that \(peer.rawValue) no longer has")
    }

    @Test func everyRowIsInTheTable() throws {
        let page = try String(contentsOfFile: Oracle.packageRoot + "/docs/reference/unpacking.md", encoding: .utf8)
        // The first table of the page; another follows.
        let lines = page.components(separatedBy: "\n").drop { !$0.hasPrefix("| ") }
        let table = lines.prefix { $0.hasPrefix("|") }.filter { $0.hasPrefix("| ") }.dropFirst()
        let cells = table.map { $0.components(separatedBy: " | ")[0].dropFirst(2) }.map(String.init)
        #expect(cells == OracleRow.all.map(\.what))
    }

    @Test(
        .enabled(if: has("umoci"), "needs umoci"),
        arguments: isRoot ? [OraclePeer.umociRootless, .umoci] : [.umociRootless])
    func umociUnpacksTheSame(_ peer: OraclePeer) throws {
        let place = try TemporaryDirectory()
        let tagged = Self.images.enumerated().map { (tag: "t\($0)", image: $1) }
        try OracleImage.write(tagged, to: place)
        let found = Mutex<[OracleDifference]>([])
        try concurrently(2) { half in
            for (number, (tag, image)) in tagged.enumerated() where number % 2 == half {
                let bundle = place.path + "/bundle-" + tag
                let ended = try Command(
                    ["umoci", "unpack"] + (peer == .umociRootless ? ["--rootless"] : [])
                        + ["--image", "\(place.path):\(tag)", bundle],
                    environment: ["PATH": "/usr/bin:/bin", "HOME": place.path]
                ).run()
                let outcome: OracleOutcome =
                    ended.status == 0 ? .tree(try Oracle.read(bundle + "/rootfs")) : .refused(ended.errors)
                let differences = try Oracle.differences(image, peer, outcome)
                found.withLock { $0 += differences }
            }
        }
        Self.check(peer, found.withLock { $0 })
    }

    @Test(.enabled(if: has("podman") && isRoot, "needs podman, and root for its plainest storage"))
    func podmansStorageHoldsTheSame() throws {
        // podman interprets the path as a name, which must not contain capitals.
        let layout = "/var/tmp/berth-oracle-\(getpid())"
        let place = try TemporaryDirectory()
        let tagged = Self.images.enumerated().map { (tag: "t\($0)", image: $1) }
        try OracleImage.write(tagged, to: place)
        try FileManager.default.createSymbolicLink(atPath: layout, withDestinationPath: place.path)
        defer { try? FileManager.default.removeItem(atPath: layout) }  // best effort
        let plain = try Podman().pull("\(layout):t0")
        guard case .tree = plain else {
            // Fail rather than skip: either podman is missing on this machine, or this test is broken.
            Issue.record("podman does not pull the plainest image: \(plain)")
            return
        }
        let found = Mutex<[OracleDifference]>([])
        try concurrently(2) { half in
            for (number, (tag, image)) in tagged.enumerated() where number % 2 == half {
                let outcome = try Podman().pull("\(layout):\(tag)")
                let differences = try Oracle.differences(image, .podman, outcome)
                found.withLock { $0 += differences }
            }
        }
        Self.check(.podman, found.withLock { $0 })
    }

    /// A separate storage for each image, because podman reuses layers of earlier images and fails at their links.
    struct Podman {
        let place: TemporaryDirectory

        init() throws { place = try TemporaryDirectory() }

        func pull(_ reference: String) throws -> OracleOutcome {
            let pulled = try Command(
                [
                    "podman", "--root", place.path + "/root", "--runroot", place.path + "/run", "--storage-driver",
                    "vfs",
                    "pull", "-q", "oci:" + reference,
                ], environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": place.path]
            ).run()
            guard pulled.status == 0 else { return .refused(pulled.errors) }
            // With this driver, a layer's directory also contains all lower layers.
            let data = try Data(contentsOf: URL(fileURLWithPath: place.path + "/root/vfs-images/images.json"))
            let images = try #require(JSONSerialization.jsonObject(with: data) as? [[String: Any]])
            let layer = try #require(images.first?["layer"] as? String)
            return .tree(try Oracle.read(place.path + "/root/vfs/dir/" + layer))
        }
    }
}
