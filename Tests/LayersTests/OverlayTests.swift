import Layers
import LinuxKernel
import TestSupport
import Testing

/// The kernel's overlayfs must show unpacked layers like the model and like the flattened tree.
@Suite(.serialized, .enabled(if: OverlayMounts.isPossible, "needs overlayfs with userxattr")) struct OverlayTests {
    struct Stack {
        let trees: [LayerTree]
        let paths: [String]
        let place: Workplace

        init(_ layers: [[Item]], ownership: LayerUnpacker.Ownership = .caller) throws {
            place = try Workplace()
            var trees: [LayerTree] = []
            var unpacker = LayerUnpacker.several
            unpacker.ownership = ownership
            for (index, items) in layers.enumerated() {
                trees.append(try place.unpack(archive(items), as: "layer\(index)", unpacker))
            }
            self.trees = trees
            let path = place.path
            // overlayfs needs at least two layers.
            paths = (layers.count == 1 ? [path + "/empty"] : []) + layers.indices.map { "\(path)/layer\($0)" }
            if layers.count == 1 { _ = try place.directory("empty") }
        }

        var isCompatible: Bool { get throws { try OverlayCompatibility.check(trees) == .compatible } }
    }

    @Test(arguments: 0..<8) func agreesWithTheModel(_ seed: Int) throws {
        var generator = FlattenerTests.Seeded(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 77)
        var stacks: [(stack: Stack, layers: [[Item]], model: LayerModel)] = []
        for _ in 0..<120 {
            let (layers, model, isRefused) = FlattenerTests.stack(&generator)
            if isRefused { continue }
            let stack = try Stack(layers, ownership: .asRoot)
            if try stack.isCompatible { stacks.append((stack, layers, model)) }
        }
        try #require(stacks.count > 10, "hardly any could be stacked: \(stacks.count)")
        #expect(stacks.contains { $0.layers.count > 1 })
        let mounts = try OverlayMounts(stacks.map(\.stack.paths))
        for (number, (_, layers, model)) in stacks.enumerated() {
            var (shown, expected) = (try FileTree(reading: mounts.tree(number)), model.tree.onDisk)
            // overlayfs shows the topmost layer's time even if that layer has no entry for the directory.
            for path in model.withoutEntryOnTop {
                shown.entries[path]?.modified = Timestamp(seconds: 0)
                expected.entries[path]?.modified = Timestamp(seconds: 0)
            }
            let found = shown.differences(from: expected)
            #expect(found == [], "\(found.joined(separator: "\n"))\n\(layers.map { $0.map(\.summary) })")
        }
        withExtendedLifetime(mounts) {}
    }

    @Test func corporaShowAsTheyAreFlattened() throws {
        var stacks: [(stack: Stack, table: CorpusTests.Case)] = []
        for table in CorpusTests.cases {
            let stack = try Stack(table.layers)
            if try stack.isCompatible { stacks.append((stack, table)) }
        }
        // Two thirds: the others have hard links and directories that only flattening supports.
        try #require(stacks.count * 3 > CorpusTests.cases.count * 2, "\(stacks.count) of \(CorpusTests.cases.count)")
        let mounts = try OverlayMounts(stacks.map(\.stack.paths))
        for (number, (_, table)) in stacks.enumerated() {
            #expect(try listing(mounts.tree(number)) == table.expected, "\(table.name)")
        }
        withExtendedLifetime(mounts) {}
    }
}
