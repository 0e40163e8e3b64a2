import Foundation
import Layers
import LinuxKernel
import Synchronization
import TestSupport
import Testing

/// Several threads that create files must give the same result as one.
@Suite struct WritersTests {
    /// The result of unpacking: the tree with all attributes and the summary, or the error.
    static func outcome(_ tar: [UInt8], writers: Int, slotBytes: Int = 512 << 10) throws -> [String] {
        let place = try Workplace()
        var unpacker = LayerUnpacker()
        unpacker.writers = writers
        unpacker.slotBytes = slotBytes
        let summary: LayerSummary
        do throws(LayerError) {
            summary = try unpacker.unpack(BytesSource(tar), diffID: digest(tar), into: place.root)
        } catch { return ["\(error.reason)"] }
        return try lines(place.root.descriptor) + ["\(summary)"]
    }

    static func lines(_ directory: borrowing OwnedFileDescriptor, prefix: String = "") throws -> [String] {
        var lines: [String] = []
        for name in try directory.entries() {
            let (status, path) = (try directory.status(of: name), prefix + name.displayPath)
            // The time of a whiteout is its creation time.
            let modified = status.kind == .characterDevice ? Timestamp(seconds: 0) : status.modified
            var line = "\(path) \(status.kind) \(status.permissions) \(status.size) \(modified) \(status.links)"
            if status.kind == .symlink { line += (try directory.linkTarget(name)).displayPath }
            if status.kind == .regular {
                line += (try directory.open(name, .readOnly | .noFollow).readAll()).displayPath
            }
            lines.append(line)
            if status.kind == .directory {
                lines += try Self.lines(
                    directory.open(name, .readOnly | .directory | .noFollow), prefix: path + "/")
            }
        }
        return lines.sorted()
    }

    /// Few names, so that entries replace each other and lead through links.
    static func quarrel(_ generator: inout FlattenerTests.Seeded) -> [Item] {
        let depth = Int.random(in: 1...3, using: &generator)
        func name() -> String {
            (0..<Int.random(in: 1...depth, using: &generator)).map { _ in
                ["a", "b", "c"].randomElement(using: &generator) ?? "a"
            }.joined(separator: "/")
        }
        return (0..<Int.random(in: 2...60, using: &generator)).map { number in
            switch Int.random(in: 0..<20, using: &generator) {
            case 0..<11:
                .file(name(), String(repeating: "\(number) ", count: Int.random(in: 0...300, using: &generator)))
            case 11..<14: .dir(name(), [0o755, 0o700, 0o555].randomElement(using: &generator) ?? 0o755)
            case 14..<16:
                .symlink([name(), "/" + name(), "../" + name()].randomElement(using: &generator) ?? "a", name())
            case 16..<18: .link(name(), name())
            case 18: .fifo(name())
            default: .file(name() + "/.wh.b")
            }
        }
    }

    @Test(arguments: 0..<40) func leaveWhatOneLeaves(_ seed: Int) throws {
        var generator = FlattenerTests.Seeded(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 7)
        for _ in 0..<4 {
            let items = Self.quarrel(&generator)
            let tar = archive(items)
            let one = try Self.outcome(tar, writers: 1)
            let slot = [2048, 4096, 512 << 10].randomElement(using: &generator) ?? 4096
            #expect(
                try Self.outcome(tar, writers: 4, slotBytes: slot) == one,
                "\(items.map { ($0.type, $0.name, $0.link) })")
        }
    }

    /// Each queued file keeps its directory open, and a process may have only some thousand descriptors.
    @Test func fewDirectoriesAreOpenAtOnce() throws {
        let tar = archive(
            (0..<400).flatMap { [.dir("d\($0)"), .file("d\($0)/a", "\($0)"), .file("d\($0)/b", "", 0o755)] })
        let place = try Workplace()
        let most = Mutex(0)
        var unpacker = LayerUnpacker()
        unpacker.writers = 8
        let summary = try unpacker.unpack(BytesSource(tar), diffID: digest(tar), into: place.root) {
            let open = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []  // absent: fails below
            let below = open.filter {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0))?  // closed since
                    .hasPrefix(place.path + "/") ?? false
            }.count
            most.withLock { $0 = max($0, below) }
            return false
        }
        #expect(summary.entries == 1200)
        #expect((10...64).contains(most.withLock { $0 }))
        #expect(try Self.lines(place.root.descriptor).count == 1200)
    }

    /// The error names the first file that cannot be created.
    @Test func aFileThatCanNotBeMadeIsNamed() throws {
        let place = try Workplace()
        let long = String(repeating: "n", count: 300)
        let tar = archive([.file("fine", "1"), .file("d/" + long, "2"), .file("also", "3"), .file("e/" + long, "4")])
        let error = #expect(throws: LayerError.self) { try place.unpack(tar) }
        #expect(error?.entry.map { $0.displayPath } == "d/" + long)
    }
}
