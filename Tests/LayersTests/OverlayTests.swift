import Layers
import LinuxKernel
import TestSupport
import Testing

/// The kernel's overlayfs shows of unpacked layers what the model says, and what flattening makes of them.
@Suite(.serialized, .enabled(if: OverlayMounts.isPossible, "needs overlayfs with userxattr")) struct OverlayTests {
    struct Stack {
        let trees: [LayerTree]
        let paths: [String]
        let place: Workplace

        init(_ layers: [[Item]]) throws {
            place = try Workplace()
            var trees: [LayerTree] = []
            for (index, items) in layers.enumerated() {
                trees.append(try place.unpack(archive(items), as: "layer\(index)"))
            }
            self.trees = trees
            let path = place.path
            // overlayfs joins two or more.
            paths = layers.indices.map { "\(path)/layer\($0)" } + (layers.count == 1 ? [path + "/empty"] : [])
            if layers.count == 1 { _ = try place.directory("empty") }
        }

        var isCompatible: Bool { get throws { try OverlayCompatibility.check(trees) == .compatible } }
    }

    @Test(arguments: 0..<8) func agreesWithTheModel(_ seed: Int) throws {
        var generator = FlattenerTests.Seeded(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 77)
        var stacks: [(stack: Stack, layers: [[Item]])] = []
        for _ in 0..<40 {
            let layers = (0..<Int.random(in: 1...5, using: &generator)).map { LayerModel.randomLayer($0, &generator) }
            let stack = try Stack(layers)
            if try stack.isCompatible { stacks.append((stack, layers)) }
        }
        try #require(stacks.count > 10, "hardly any could be stacked")
        let mounts = try OverlayMounts(stacks.map(\.stack.paths))
        for (number, (_, layers)) in stacks.enumerated() {
            var model = LayerModel()
            for items in layers { model.apply(items) }
            #expect(try listing(mounts.tree(number)) == model.nodes, "\(layers.map { $0.map(\.name) })")
        }
        withExtendedLifetime(mounts) {}
    }

    @Test func corporaShowAsTheyAreFlattened() throws {
        var stacks: [(stack: Stack, table: CorpusTests.Case)] = []
        for table in CorpusTests.cases {
            let stack = try Stack(table.layers)
            if try stack.isCompatible { stacks.append((stack, table)) }
        }
        // Two thirds: the others hold hard links and directories that only flattening can express.
        try #require(stacks.count * 3 > CorpusTests.cases.count * 2, "\(stacks.count) of \(CorpusTests.cases.count)")
        let mounts = try OverlayMounts(stacks.map(\.stack.paths))
        for (number, (_, table)) in stacks.enumerated() {
            #expect(try listing(mounts.tree(number)) == table.expected, "\(table.name)")
        }
        withExtendedLifetime(mounts) {}
    }
}
