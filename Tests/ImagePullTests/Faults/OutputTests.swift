import Foundation
import TestSupport
import Testing

/// Failed writes and failed starts are errors within seconds.
@Suite(.enabled(if: Program.isBuilt, "no built berth-image: run Scripts/build")) struct OutputTests {
    static func shell(_ script: String) -> [String] { ["bash", "-c", script + #"; exec "$@""#, "bash"] }
    static let full = ["bash", "-c", #"exec "$@" >/dev/full"#, "bash"]

    @Test func outputThatCannotBeWrittenIsAFailure() throws {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 100))
        #expect(try scene.pull("one").run().status == 0)
        let image = scene.source("one")
        let store = ["--store", scene.store]
        let verbs: [[String]] = [
            ["--help"], ["--version"], ["pull", "--help"], ["run", "--help"], ["--generate-completion-script", "bash"],
            ["images"] + store, ["images", "-q"] + store, ["images", "--json"] + store, ["inspect", image] + store,
            ["doctor"] + store, ["doctor", "--json"] + store, ["pull", "-q", image] + store,
            ["export", "-q", image, "oci:\(scene.place.path)/out"] + store, ["prune", "--dry-run"] + store,
            ["rmi", image] + store,
        ]
        for arguments in verbs {
            let ended = try Program.command(arguments, home: scene.place.path, through: Self.full).run()
            #expect(ended.status == 125, "\(arguments): \(ended)")
            #expect(
                ended.errors.contains("berth: cannot write to standard output: No space left on device (ENOSPC)"),
                "\(arguments): \(ended)")
        }
    }

    @Test func aReaderThatGoesAwayIsNoFailure() throws {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 100))
        let ended = try Program.command(
            ["--help"], home: scene.place.path,
            through: ["bash", "-c", #"trap '' PIPE; "$@" > >(exec true); echo "status $?""#, "bash"]
        ).run()
        #expect(ended.output.contains("status 0") && ended.errors.isEmpty, "\(ended)")
    }

    @Test func namesSteerNoTerminal() throws {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 100))
        let odd = scene.place.path + "/a\u{1B}[31m\u{9B}x\u{202E}\nforged"
        try FileManager.default.createDirectory(atPath: odd, withIntermediateDirectories: true)
        let layout = String(scene.source("one").dropFirst("oci:".count))
        try FileManager.default.copyItem(atPath: layout, toPath: odd + "/layout")
        let store = ["--store", scene.store]
        for arguments in [
            ["pull", "oci:\(odd)/layout"], ["pull", "-q", "oci:\(odd)/layout"], ["images"], ["images", "-q"],
            ["images", "--json"], ["inspect", "oci:\(odd)/layout"], ["inspect", "oci:\(odd)/none"],
            ["pull", "oci:\(odd)/none"], ["export", "oci:\(odd)/layout", "oci:\(odd)/out"], ["doctor"],
            ["rmi", "oci:\(odd)/layout"],
        ] {
            let ended = try Program.command(arguments + store, home: scene.place.path).run()
            for text in [ended.output, ended.errors] {
                #expect(!text.contains("\nforged"), "\(arguments): \(ended)")
                let bad = text.unicodeScalars.filter {
                    ($0.value < 0x20 && $0 != "\n") || (0x7F...0x9F).contains($0.value) || $0 == "\u{202E}"
                }
                #expect(bad.isEmpty, "\(arguments): \(ended)")
            }
        }
        // The machine-readable name is exact.
        #expect(
            try Program.command(["pull", "-q", "oci:\(odd)/layout"] + store, home: scene.place.path).run().status == 0)
        let json = try Program.command(["images", "--json"] + store, home: scene.place.path).run()
        let images = try #require(JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]])
        let names = images.flatMap { $0["names"] as? [String] ?? [] }
        #expect(
            names.contains { $0.unicodeScalars.contains("\u{1B}") && $0.unicodeScalars.contains("\u{202E}") }, "\(json)"
        )
    }

    // MARK: Several arguments

    @Test func aMissingImageKeepsNoOtherFromGoing() throws {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 100))
        #expect(try scene.pull("one").run().status == 0)
        let store = ["--store", scene.store]
        let missing = "example.invalid/none:1"
        let ended = try Program.command(
            ["rmi", missing, scene.source("one"), missing] + store, home: scene.place.path
        ).run()
        #expect(ended.status == 125 && ended.lines == [scene.source("one")], "\(ended)")
        #expect(ended.errors.components(separatedBy: " is not in the store ").count == 3, "each is reported: \(ended)")
        #expect(try Program.command(["images", "-q"] + store, home: scene.place.path).run().output == "")
    }

    /// Other commands accept the name that `pull` prints.
    @Test func everyCommandTakesTheNameThatPullPrints() throws {
        let scene = try Scene(.sample(layers: 1, files: 2, largest: 100))
        let store = ["--store", scene.store]
        let pulled = try Program.command(["pull", "-q", scene.source("one")] + store, home: scene.place.path).run()
        let name = try #require(pulled.lines.first)
        for arguments in [["inspect", name], ["pull", "-q", name], ["rmi", name]] {
            let ended = try Program.command(arguments + store, home: scene.place.path).run()
            #expect(ended.status == 0, "\(arguments): \(ended)")
        }
    }

    // MARK: Threads

    /// A user without processes, so that the limit counts only these.
    static let stranger = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]

    @Test(.enabled(if: Program.isRoot, "changes its user"), arguments: [1, 2, 4, 6, 8, 10, 12, 16])
    func fewProcessesAreAnErrorAndNoHang(_ limit: Int) throws {
        let scene = try Scene(.sample(layers: 3, files: 2, largest: 100))
        try Self.everybody(scene)
        for arguments in [["--version"], ["images"], ["pull", "--help"], ["inspect", "x"]] {
            let ended = try run(arguments, scene, "ulimit -u \(limit)", asStranger: true)
            #expect([0, 125].contains(ended.status) && !ended.errors.contains("thread"), "\(arguments): \(ended)")
        }
        for arguments in [["pull", scene.source("one")], ["export", "dir:/etc", "oci:\(scene.place.path)/out"]] {
            let ended = try run(arguments, scene, "ulimit -u \(limit)", asStranger: true)
            // Eight threads are needed, so more may succeed.
            if limit >= 8, ended.status == 0 { continue }
            #expect(ended.status == 125 && ended.errors.contains("berth: "), "\(arguments): \(ended)")
        }
    }

    @Test(arguments: stride(from: 100_000, through: 800_000, by: 50_000).map { $0 })
    func littleAddressSpaceIsAnErrorAndNoHang(_ limit: Int) throws {
        let scene = try Scene(.sample(layers: 3, files: 2, largest: 100))
        for arguments in [["--version"], ["images"], ["--help"], ["inspect", "x"], ["pull", scene.source("one")]] {
            let ended = try run(arguments, scene, "ulimit -v \(limit)")
            // A dynamically linked program may not even load; Berth's is a single file.
            let isLoaded = !ended.errors.contains("error while loading shared libraries")
            if isLoaded, arguments[0] == "pull", limit < 640 << 10 {
                #expect(ended.status == 125, "\(limit): \(ended)")
            }
            #expect(ended.signal == nil && (!isLoaded || [0, 125].contains(ended.status)), "\(arguments): \(ended)")
        }
    }

    private func run(_ arguments: [String], _ scene: Scene, _ limit: String, asStranger: Bool = false) throws -> Ended {
        let began = ContinuousClock.now
        let ended = try Program.command(
            arguments + (arguments[0] == "--version" || arguments.contains("--help") ? [] : ["--store", scene.store]),
            home: scene.place.path,
            through: (asStranger ? Self.stranger : []) + Self.shell(limit)
        ).run()
        #expect(ContinuousClock.now - began < .seconds(60), "\(arguments): \(ended)")
        return ended
    }

    private static func everybody(_ scene: Scene) throws {
        _ = try Command(["chmod", "-R", "a+rwX", scene.place.path]).run()
    }
}
