import Foundation
import ImageSpec
import LinuxKernel
import Store
import TestSupport
import Testing

/// File systems that refuse what others take, made of this one by answering in the kernel's place.
@Suite(.serialized, .enabled(if: Program.isBuilt && KillTests.hasStrace, "needs strace")) struct FallbackTests {
    /// What no call of a kind is answered with anything else than.
    struct Refusal: Sendable, CustomTestStringConvertible {
        let call: String
        let error: String
        /// Why layers that overlayfs joins elsewhere are flattened here; nil where they are joined here, too.
        let reason: String?
        var testDescription: String { call + " " + error }
    }

    static let noMarks = "the file system took no whiteouts or attributes (layer 2)"
    static let refusals = [
        Refusal(call: "mknodat", error: "EPERM", reason: noMarks),
        Refusal(call: "mknodat", error: "EOPNOTSUPP", reason: noMarks),
        Refusal(call: "fsetxattr", error: "EOPNOTSUPP", reason: noMarks),
        Refusal(call: "fsetxattr", error: "EPERM", reason: noMarks),
        Refusal(call: "flock", error: "ENOLCK", reason: nil), Refusal(call: "flock", error: "EOPNOTSUPP", reason: nil),
        Refusal(call: "linkat", error: "EPERM", reason: nil),
    ]

    static let stack: [[Item]] = [
        [.dir("d"), .file("d/gone", "1"), .file("d/kept", "2"), .dir("o"), .file("o/old", "3"), .dir("o/below")],
        [.file("d/.wh.gone"), .dir("o"), .file("o/.wh..wh..opq"), .file("o/new", "4")],
    ]
    /// The same with a link into the layer below, which only flattening can show.
    static let linked: [[Item]] = [stack[0], stack[1] + [.link("d/kept", "link")]]

    /// Without such a link, which a file system without links cannot hold: its reason to be flattened is another.
    static let hiding: [[Item]] = [stack[0], [.file(".wh..wh..opq"), .dir("n"), .file("n/new", "5")]]

    static func image(_ layers: [[Item]]) -> LocalImage { LocalImage(layers: layers.map(archive)) }

    /// As `berth inspect` says it, and what the image holds where it is one tree.
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
        // Where a launch mounts: in every flattened tree, whatever its image has.
        let own = nodes?.filter { !["dev", "proc", "sys", "tmp"].contains($0.key) }
        return (answer["compositionReason"] as? String, own)
    }

    @Test(arguments: refusals) func whatIsRefusedIsDoneWithout(_ refusal: Refusal) throws {
        let scene = try Scene(Self.image(Self.stack), tag: "stack")
        let hasLinks = refusal.call != "linkat"
        try scene.add(Self.image(hasLinks ? Self.linked : Self.hiding), "flat")
        let quiet = scene.place.path + "/quiet"
        let trace = [
            "strace", "-f", "-qq", "-o", scene.place.path + "/trace", "-e", "trace=\(refusal.call)", "-e",
            "inject=\(refusal.call):error=\(refusal.error)",
        ]
        for tag in ["stack", "flat"] {
            #expect(try scene.pull(tag, store: quiet).run().status == 0)
            let ended = try scene.pull(tag, through: trace).run()
            #expect(ended.status == 0, "\(refusal): \(ended)")
            if tag == "flat" || hasLinks {
                #expect(scene.place.text("trace")?.contains("INJECTED") == true, "\(refusal.call) is not made")
            }
        }
        var model = LayerModel()
        for layer in Self.stack { model.apply(layer) }

        let joined = try Self.look(scene, "stack", quiet)
        #expect(joined.reason == nil && joined.nodes == nil)
        let stack = try Self.look(scene, "stack", scene.store)
        #expect(stack.reason == refusal.reason)
        #expect(stack.nodes == (refusal.reason == nil ? nil : model.nodes))

        let undisturbed = try Self.look(scene, "flat", quiet)
        let flat = try Self.look(scene, "flat", scene.store)
        if hasLinks {
            model.nodes["link"] = "file 644 2"
        } else {
            model.nodes = ["n": "dir 755", "n/new": "file 644 5"]
        }
        #expect(
            undisturbed.reason
                == (hasLinks ? "layer 2 has a hard link into a lower layer: link" : "layer 2 hides everything below it")
        )
        #expect(undisturbed.nodes == model.nodes)
        #expect(flat.reason == refusal.reason ?? undisturbed.reason)
        #expect(flat.nodes == undisturbed.nodes)
        // Times and modes, too.
        let (here, there) = (try scene.images(), try scene.images(in: quiet))
        for (digest, prints) in here where prints.count == 1 && there[digest]?.count == 1 {
            #expect(prints == there[digest])
        }
        #expect(try scene.prune().run().status == 0)
        #expect(try scene.garbage() == [])
    }

    /// More than the kernel stacks (OVL_MAX_STACK).
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
