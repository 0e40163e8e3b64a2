import ImageSpec
@testable import Layers
import LinuxKernel
import TestSupport
import Testing

/// The cost must grow linearly. The limits are far above the expected times and far below quadratic ones.
@Suite(.serialized) struct ScaleTests {
    static func seconds(_ items: [Item]) throws -> Double {
        let place = try Workplace()
        let tar = archive(items)
        let start = Clock.monotonicNanoseconds
        _ = try place.unpack(tar)
        return Double(Clock.monotonicNanoseconds - start) / 1e9
    }

    /// Each link refers to the next one, and the file comes last.
    @Test func aChainOfLinksBeforeTheirTarget() throws {
        let count = 20_000
        let links = (0..<count).map { Item.link("l\($0 + 1)", "l\($0)") }
        #expect(try Self.seconds(links + [.file("l\(count)", "1")]) < 60)
    }

    @Test func manyLinksBeforeOneTarget() throws {
        let links = (0..<20_000).map { Item.link("target", "l\($0)") }
        #expect(try Self.seconds(links + [.file("target", "1")]) < 60)
    }

    /// A file replaces each directory, which removes the records below it.
    @Test func manyDirectoriesThatAreReplaced() throws {
        let items = (0..<5000).flatMap { [Item.dir("d\($0)"), .file("d\($0)/f", "1"), .file("d\($0)", "2")] }
        #expect(try Self.seconds(items) < 60)
    }

    // MARK: Removing

    @Test func treesAreRemovedWhole() throws {
        let place = try TemporaryDirectory()
        for number in 0..<40 {
            for file in 0..<50 { try place.write("x", to: "trees/a/d\(number)/e/f\(file)") }
        }
        try place.write("stays", to: "outside/file")
        try place.link("trees/a/link", to: "../../outside")
        try place.write("x", to: "trees/file")
        try place.makeDirectory("trees/a/closed/inner", mode: 0o000)
        // Deeper than the maximum length of a path.
        let deep = try Command([
            "sh", "-c",
            "cd \(place.path)/trees/a && for i in $(seq 60); do d=$(printf 'x%.0s' $(seq 100)); mkdir $d && cd -P $d || exit 1; done",
        ]).run()
        #expect(deep.status == 0, "\(deep)")
        let directory = try OwnedFileDescriptor(opening: place.path + "/trees", [.readOnly, .directory])
        TreeRemoval.remove(in: directory, [Array("a".utf8), Array("file".utf8), Array("absent".utf8)])
        #expect(try directory.entries().isEmpty)
        #expect(place.text("outside/file") == "stays")
    }
}
