import Foundation
import ImageSpec
import LinuxKernel
import Store
import TestSupport
import Testing

/// Simulates file systems without certain features by failing calls with strace.
@Suite(.serialized, .enabled(if: Program.isBuilt && KillTests.hasStrace, "needs strace")) struct FallbackTests {
    /// A call that always fails with this error.
    struct Refusal: Sendable, CustomTestStringConvertible {
        let call: String
        let error: String
        /// Why layers are flattened that overlayfs can stack elsewhere; `nil` if they are stacked.
        let reason: String?
        var testDescription: String { call + " " + error }
    }

    static let noMarks = "the file system took no whiteouts or attributes (layer 2)"
    static let refusals = [
        Refusal(call: "mknodat", error: "EPERM", reason: noMarks),
        Refusal(call: "mknodat", error: "EOPNOTSUPP", reason: noMarks),
        Refusal(call: "fsetxattr", error: "EOPNOTSUPP", reason: noMarks),
        Refusal(call: "fsetxattr", error: "EPERM", reason: noMarks),
        Refusal(call: "linkat", error: "EPERM", reason: nil), Refusal(call: "linkat", error: "EXDEV", reason: nil),
        Refusal(call: "linkat", error: "EMLINK", reason: nil),
    ]

    static let stack: [[Item]] = [
        [.dir("d"), .file("d/gone", "1"), .file("d/kept", "2"), .dir("o"), .file("o/old", "3"), .dir("o/below")],
        [.file("d/.wh.gone"), .dir("o"), .file("o/.wh..wh..opq"), .file("o/new", "4")],
    ]
    /// The same, with links into the lower layer, which require flattening, and within the layer.
    static let linked: [[Item]] = [
        stack[0],
        stack[1] + [
            .link("d/kept", "link"), .link("d/gone", "held"), .symlink("o/new", "s"), .link("s", "s2"), .fifo("p"),
            .file("own", "6", 0o640).at(7), .link("own", "o/own"), .link("later", "early"),
            .file("later", "8", 0), .file("taken", "9"), .link("own", "taken"),
        ],
    ]
    static let shownOfLinked = [
        "link": "file 644 2", "held": "file 644 1", "s": "symlink o/new", "s2": "symlink o/new", "p": "fifo 644",
        "own": "file 640 6", "o/own": "file 640 6", "early": "file 0 8", "later": "file 0 8",
        "taken": "file 640 6",
    ]

    static func image(_ layers: [[Item]]) -> LocalImage { LocalImage(layers: layers.map(archive)) }

    /// The text of `berth inspect`, and the entries of a flattened image.
    static func look(_ scene: Scene, _ tag: String, _ store: String) throws -> (
        reason: String?, nodes: [String: String]?
    ) {
        let ended = try Program.command(["inspect", "--store", store, scene.source(tag)], home: scene.place.path).run()
        #expect(ended.status == 0, "\(ended)")
        let found = try JSONSerialization.jsonObject(with: Data(ended.output.utf8))
        let answer = try #require(found as? [String: Any] ?? (found as? [[String: Any]])?.first, "\(ended)")
        let trees = try #require(answer["trees"] as? [String])
        let tree = trees.count == 1 ? trees[0] : nil
        let nodes = try tree.map { try listing(OwnedFileDescriptor(opening: $0, [.readOnly, .directory])) }
        // The mount points of a launch are in every flattened tree, whatever the image contains.
        let own = nodes?.filter { !["dev", "proc", "sys", "tmp"].contains($0.key) }
        return (answer["compositionReason"] as? String, own)
    }

    @Test(arguments: refusals) func whatIsRefusedIsDoneWithout(_ refusal: Refusal) throws {
        let scene = try Scene(Self.image(Self.stack), tag: "stack")
        let hasPipes = refusal.call != "mknodat"
        try scene.add(Self.image([Self.linked[0], Self.linked[1] + (hasPipes ? [.link("p", "p2")] : [])]), "flat")
        let quiet = scene.place.path + "/quiet"
        let trace = [
            "strace", "-f", "-qq", "-o", scene.place.path + "/trace", "-e", "trace=\(refusal.call)", "-e",
            "inject=\(refusal.call):error=\(refusal.error)",
        ]
        for tag in ["stack", "flat"] {
            #expect(try scene.pull(tag, store: quiet).run().status == 0)
            let ended = try scene.pull(tag, through: trace).run()
            #expect(ended.status == 0, "\(refusal): \(ended)")
            if tag == "flat" || refusal.call != "linkat" {
                #expect(scene.place.text("trace")?.contains("INJECTED") == true, "\(refusal.call) is not made")
            }
        }
        let shown = ["d": "dir 755", "d/kept": "file 644 2", "o": "dir 755", "o/new": "file 644 4"]

        let joined = try Self.look(scene, "stack", quiet)
        #expect(joined.reason == nil && joined.nodes == nil)
        let stack = try Self.look(scene, "stack", scene.store)
        #expect(stack.reason == refusal.reason)
        #expect(stack.nodes == (refusal.reason == nil ? nil : shown))

        let undisturbed = try Self.look(scene, "flat", quiet)
        let flat = try Self.look(scene, "flat", scene.store)
        #expect(undisturbed.reason == "layer 2 has a hard link into a lower layer: held")
        let linked = Self.shownOfLinked.merging(hasPipes ? ["p2": "fifo 644"] : [:]) { $1 }
        #expect(undisturbed.nodes == shown.merging(linked) { $1 })
        #expect(flat.reason == refusal.reason ?? undisturbed.reason)
        #expect(flat.nodes == undisturbed.nodes?.filter { hasPipes || $0.key != "p" })
        // Compare times and modes, too.
        let (here, there) = (try scene.images(), try scene.images(in: quiet))
        for (digest, prints) in here where hasPipes && prints.count == 1 && there[digest]?.count == 1 {
            #expect(prints == there[digest])
        }
        #expect(try scene.prune().run().status == 0)
        #expect(try scene.garbage() == [])
    }

    /// Copies a file that its owner may not read, such as `/etc/shadow` in some images.
    @Test(.enabled(if: getuid() == 0, "root, to become somebody else"))
    func withoutLinksAUserHasWhatHeMayNotRead() throws {
        let scene = try Scene(Self.image(Self.linked), tag: "flat")
        let (home, nobody) = (scene.place.path + "/nobody", "65534")
        try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: false)
        try #require(chmod(scene.place.path, 0o755) == 0 && chown(home, 65534, 65534) == 0)
        let store = home + "/store"
        let trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat", "-e", "inject=linkat:error=EPERM"]
        let user = ["setpriv", "--reuid", nobody, "--regid", nobody, "--clear-groups"]
        let ended = try scene.pull("flat", through: user + trace, store: store).run()
        #expect(ended.status == 0, "\(ended)")
        let flat = try #require(try FileManager.default.contentsOfDirectory(atPath: store + "/rootfs").first)
        let tree = try OwnedFileDescriptor(opening: "\(store)/rootfs/\(flat)/tree", [.readOnly, .directory])
        let nodes = try listing(tree)
        #expect(nodes["early"] == "file 0 8" && nodes["later"] == "file 0 8" && nodes["held"] == "file 644 1")
    }

    /// A small archive may link a large file many times; without hard links, the tree would grow each time.
    @Test func copiesInsteadOfLinksAreLimited() throws {
        let links = (0..<20).map { Item.link("large", "l\($0)") }
        let scene = try Scene(
            Self.image([[.file("large", String(repeating: "x", count: 100_000))] + links]), tag: "bomb")
        let trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat", "-e", "inject=linkat:error=EPERM"]
        try scene.place.write("layer-limit = bytes=1000000\n", to: "berth.conf")
        let limited = ["BERTH_CONFIG": scene.place.path + "/berth.conf"]
        #expect(try scene.pull("bomb").run(with: limited).status == 0)
        let store = scene.place.path + "/no-links"
        let ended = try scene.pull("bomb", through: trace, store: store).run(with: limited)
        #expect(ended.status == 125 && ended.errors.contains("bytes"), "\(ended)")
        #expect(try scene.images(in: store).isEmpty)
    }

    /// More layers than the kernel supports (OVL_MAX_STACK).
    @Test func moreLayersThanOverlayfsJoinsAreFlattened() throws {
        let layers = (0...500).map { [Item.dir("d"), .file("d/f\($0)", "\($0)")] }
        let scene = try Scene(Self.image(layers), tag: "many")
        try scene.add(Self.image(Array(layers.dropLast())), "fewer")
        for tag in ["many", "fewer"] {
            let ended = try scene.pull(tag).run()
            #expect(ended.status == 0, "\(ended)")
        }
        let many = try Self.look(scene, "many", scene.store)
        #expect(many.reason == "501 layers are more than overlayfs joins")
        #expect(many.nodes?.count == 502 && many.nodes?["d/f500"] == "file 644 500")
        let fewer = try Self.look(scene, "fewer", scene.store)
        #expect(fewer.reason == nil && fewer.nodes == nil)
    }
}
