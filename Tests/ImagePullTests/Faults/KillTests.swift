import Distribution
import Foundation
import Hashing
import ImageSpec
import Store
import TestSupport
import Testing

/// `kill -9` at random instants. `BERTH_KILLS` is the number of kills (100), `BERTH_SEED` the seed.
@Suite(.serialized, .enabled(if: Program.isBuilt)) struct KillTests {
    static func number(_ name: String, _ otherwise: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? otherwise
    }

    /// A user's store and the site's, a blob cache, and two images in a layout and a registry.
    struct Yard {
        let scene: Scene
        let registry: SlowRegistry
        let tags = ["one", "flat"]
        let system: String
        let cache: String
        /// Results without kills: the images' contents, and the time of each pull by source.
        private(set) var expected: [Digest: [UInt64]] = [:]
        private(set) var seconds: [String: Double] = [:]

        init() throws {
            scene = try Scene(.sample())
            try scene.add(.sample(layers: 2, files: 50, isFlattened: true), "flat")
            system = scene.place.path + "/system"
            cache = scene.place.path + "/cache"
            try scene.place.makeDirectory("cache")
            // Only for pulls into the site's store, because users do not pull what it has.
            try scene.place.write("system-store = \(system)\n", to: "system.conf")
            registry = try SlowRegistry(scene, bytesPerSecond: 12 << 20)
            let quiet = scene.place.path + "/quiet"
            for tag in tags {
                for isRemote in [false, true] {
                    let started = Date()
                    let ended = try pull(tag, isRemote: isRemote, ["--store", quiet + (isRemote ? "-remote" : "")])
                        .run()
                    try #require(ended.status == 0, "\(ended)")
                    seconds["\(tag) \(isRemote)"] = -started.timeIntervalSinceNow
                }
            }
            try #require(try scene.images(in: quiet) == scene.images(in: quiet + "-remote"))
            expected = try scene.images(in: quiet)
            try #require(expected.count == 2)
            try emptyCache()
        }

        func pull(_ tag: String, isRemote: Bool, _ options: [String]) throws -> Command {
            let source = isRemote ? registry.reference(tag) : scene.source(tag)
            return try Program.command(
                ["pull", "-q"] + (isRemote ? ["--blob-cache", cache] : []) + options + [source],
                home: scene.place.path, environment: environment(options))
        }

        func prune(_ options: [String]) throws -> Command {
            try Program.command(["prune"] + options, home: scene.place.path, environment: environment(options))
        }

        private func environment(_ options: [String]) -> [String: String] {
            let isSystem = options.contains("--system")
            return registry.environment.merging(isSystem ? ["BERTH_CONFIG": scene.place.path + "/system.conf"] : [:]) {
                $1
            }
        }

        /// Removes complete blobs, but not the unfinished ones of killed processes.
        func emptyCache() throws {
            for name in (try? FileManager.default.contentsOfDirectory(atPath: cache + "/blobs")) ?? [] {  // none yet
                try FileManager.default.removeItem(atPath: cache + "/blobs/" + name)
            }
        }

        /// Checks that each named blob is valid, and returns their number.
        func checkCache(_ context: Comment) throws -> Int {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: cache + "/blobs")) ?? []  // none yet
            for name in names {
                let bytes = Array(FileManager.default.contents(atPath: cache + "/blobs/" + name) ?? Data())
                #expect(Digest(hashing: bytes, with: .sha256).directoryName == name, context)
            }
            return names.count
        }
    }

    @Test func whateverIsKilledTheStoreIsWhole() throws {
        let kills = Self.number("BERTH_KILLS", 100)
        let seed = Self.number("BERTH_SEED", 1)
        var random = Seeded(state: UInt64(seed))
        let yard = try Yard()
        defer { yard.registry.stop() }
        let (scene, system) = (yard.scene, yard.system)
        let own = ["--store", scene.store]

        var killed: [String: Int] = [:]
        var (visible, blobs, round) = (0, 0, 0)
        while killed.values.reduce(0, +) < kills {
            round += 1
            let context: Comment = "seed \(seed), round \(round), killed \(killed)"
            let tag = yard.tags.randomElement(using: &random) ?? "one"
            let (what, command, seconds): (String, Command, Double?) =
                switch Int.random(in: 0..<12, using: &random) {
                case 0..<4: ("pull", try yard.pull(tag, isRemote: false, own), yard.seconds[tag + " false"])
                case 4..<8: ("download", try yard.pull(tag, isRemote: true, own), yard.seconds[tag + " true"])
                case 8:
                    (
                        "system", try yard.pull(tag, isRemote: round.isMultiple(of: 2), ["--system"]),
                        yard.seconds[tag + " true"]
                    )
                case 9: ("prune", try scene.prune(), nil)
                case 10: ("prune by size", try scene.prune(["--keep-storage", "1m"]), nil)
                default: ("prune all", try scene.prune(["--all"]), nil)
                }
            // Keep the cache in half of the rounds, to read from it rather than from the network.
            if round % 4 < 2 { try yard.emptyCache() }
            let running = try command.start()
            // Pruning is quick, and pulling an existing image, too.
            let longest = seconds ?? (yard.seconds["flat false"] ?? 0.2) / 2
            usleep(UInt32.random(in: 0...UInt32(longest * 1.1 * 1_000_000), using: &random))
            running.signal(SIGKILL)
            let ended = try running.wait()
            if ended.signal == SIGKILL {
                killed[what, default: 0] += 1
            } else {
                #expect(ended.status == 0, "\(context): \(what): \(ended)")
            }

            // Visible images are complete.
            for store in [scene.store, system] {
                let images = try scene.images(in: store)
                for (digest, prints) in images { #expect(prints == yard.expected[digest], context) }
                visible += images.count
            }
            blobs += try yard.checkCache(context)

            if round % 6 == 0 {
                try checkNextPull(yard, tag, own, in: scene.store, isEmptied: round % 12 == 0, context)
                if round % 24 == 0 {
                    try checkNextPull(yard, tag, ["--system"], in: system, isEmptied: true, context)
                }
            }
        }
        try checkNextPull(yard, "one", own, in: scene.store, isEmptied: true, "at the end")
        try checkNextPull(yard, "flat", ["--system"], in: system, isEmptied: true, "at the end")
        let ranges = yard.registry.requests.filter { $0.contains("bytes=") }.count
        print(
            "\(killed.values.reduce(0, +)) killed in \(round) rounds: \(killed.sorted { $0.key < $1.key }); \(visible) images and "
                + "\(blobs) cached blobs seen, all whole; \(ranges) downloads continued")
        #expect(killed.count >= min(4, kills), "\(killed)")
    }

    /// A pull succeeds, sometimes from the registry, and leaves no garbage.
    private func checkNextPull(
        _ yard: Yard, _ tag: String, _ options: [String], in store: String, isEmptied: Bool, _ context: Comment
    ) throws {
        let pulled = try yard.pull(tag, isRemote: isEmptied, options).run()
        #expect(pulled.status == 0, "\(context): \(pulled)")
        let pruned = try yard.prune(options).run()
        #expect(pruned.status == 0, "\(context): \(pruned)")
        #expect(try yard.scene.garbage(in: store) == [], context)
        let images = try yard.scene.images(in: store)
        #expect(!images.isEmpty && images.allSatisfy { yard.expected[$0.key] == $0.value }, context)
        guard isEmptied else { return }
        #expect(try yard.prune(options + ["--all"]).run().status == 0, context)
        #expect(try yard.scene.garbage(in: store) == [], context)
        #expect(try yard.scene.images(in: store) == [:], context)
    }

    /// Random kills rarely hit publishing and collecting, so kill the process at each of their calls.
    @Test(
        .enabled(if: hasStrace, "needs strace"),
        arguments: ["renameat2", "renameat", "linkat", "symlinkat", "unlinkat", "fcntl"], [true, false])
    func killedAtEachCallThatPublishesOrCollects(_ call: String, _ isPull: Bool) throws {
        let scene = try Scene(.sample(layers: 2, files: 6, largest: 1000))
        try scene.add(.sample(layers: 2, files: 4, largest: 1000, isFlattened: true), "flat")
        func pullBoth(_ store: String? = nil) throws {
            for tag in ["one", "flat"] {
                let ended = try scene.pull(tag, store: store).run()
                #expect(ended.status == 0, "\(ended)")
            }
        }
        let quiet = scene.place.path + "/quiet"
        try pullBoth(quiet)
        let expected = try scene.images(in: quiet)
        try #require(expected.count == 2)
        var killed = 0
        for number in [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 19, 24, 30] {
            let trace = [
                "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                "inject=\(call):signal=KILL:when=\(number)",
            ]
            if !isPull { try pullBoth() }
            let command =
                isPull
                ? try scene.pull("flat", through: trace)
                : try Program.command(
                    ["prune", "--all", "--store", scene.store], home: scene.place.path, through: trace)
            let ended = try command.run()
            let context: Comment = "\(call) no. \(number): \(ended)"
            let isKilled = ended.signal == SIGKILL || ended.status == 128 + SIGKILL
            if isKilled { killed += 1 } else { #expect(ended.status == 0, context) }
            for (digest, prints) in try scene.images() { #expect(prints == expected[digest], context) }
            try pullBoth()
            #expect(try scene.images() == expected, context)
            #expect(try scene.prune().run().status == 0, context)
            #expect(try scene.garbage() == [], context)
            #expect(try scene.prune(["--all"]).run().status == 0, context)
            #expect(try scene.garbage() == [] && scene.images().isEmpty, context)
            // There were no more such calls.
            if !isKilled { break }
        }
        // Which calls occur depends on the state.
        let isMade = isPull ? ["renameat2", "renameat", "fcntl"] : ["renameat", "unlinkat", "fcntl"]
        if isMade.contains(call) { #expect(killed > 0, "\(call) was never made") }
        print("\(call), \(isPull ? "pull" : "prune"): \(killed) killed")
    }

    static let launcher: String? = {
        let root = packageRoot(#filePath.replacingOccurrences(of: "/Faults/", with: "/"))
        return Program.newest(
            ["build/bin/berth", ".build/lean/release/berth", ".build/debug/berth"].map { root + "/" + $0 })
    }()

    /// Killing only the launcher also stops the pull that it started, which cleans up.
    /// A terminal or scheduler signals both; the launcher's death must not count as a second interrupt.
    @Test(
        .enabled(if: launcher != nil && hasStrace, "needs a built berth, and strace"),
        arguments: [(SIGTERM, false), (SIGKILL, false), (SIGINT, true), (SIGTERM, true)])
    func aPullEndsWithItsLauncher(_ signal: Int32, both: Bool) throws {
        let scene = try Scene(.sample(layers: 1, files: 300, largest: 1000))
        try scene.place.makeDirectory("prefix/bin")
        let berth = scene.place.path + "/prefix/bin/berth"
        try FileManager.default.copyItem(atPath: try #require(Self.launcher), toPath: berth)
        // Slowed down, so that the signal arrives in the middle; -D: strace is not its parent.
        try scene.place.write(
            """
            #!/bin/sh
            echo $$ >"$HOME/pull"
            exec strace -D -f -qq -o /dev/null -e trace=utimensat -e inject=utimensat:delay_enter=100000 \
                \(try #require(Program.path)) "$@"
            """, to: "prefix/libexec/berth/berth-image", mode: 0o755)
        var command = try Program.command([], home: scene.place.path)
        command.arguments = [berth, "run", "--store", scene.store, scene.source(), "--", "true"]
        let running = try command.start()
        try running.until("a draft") { _ in
            (try? FileManager.default.contentsOfDirectory(atPath: scene.store + "/drafts").isEmpty) == false  // not yet
        }
        let pull = try #require(Int32((scene.place.text("pull") ?? "").filter(\.isNumber)))
        #expect(kill(pull, 0) == 0)
        if both { kill(pull, signal) }
        running.signal(signal)
        #expect(try running.wait().signal == signal)
        #expect(soon { kill(pull, 0) != 0 }, "the pull goes on")
        if kill(pull, 0) == 0 { kill(pull, SIGKILL) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: scene.store + "/drafts") == [])
        #expect(try scene.images() == [:])
    }

    /// After a program changed directory without a shell, PWD is wrong.
    @Test(.enabled(if: Program.isBuilt, "needs a built berth-image"))
    func aRelativePathIsOfWhereTheProgramStands() throws {
        let scene = try Scene(.sample(layers: 1, files: 3, largest: 100))
        try scene.place.makeDirectory("elsewhere")
        let words = ["pull", "-q", "--store", scene.store, "oci:layout/one"]
        for named in ["/", "elsewhere", "gone"].map({ $0 == "/" ? $0 : scene.place.path + "/" + $0 }) + [""] {
            let ended = try Program.command(
                words, home: scene.place.path, through: ["env", "-C", scene.place.path, "PWD=" + named]
            ).run()
            #expect(ended.status == 0, "PWD=\(named): \(ended)")
        }
    }

    /// A connection or a layer's file must not become standard error and receive progress output. Checked while the
    /// program waits for a registry that accepts connections and does not answer.
    @Test(.enabled(if: Program.isBuilt, "needs a built berth-image"), arguments: ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
    func closedStreamsAreNobodyElses(_ closed: String) throws {
        let scene = try Scene(.sample(layers: 1, files: 1, largest: 10))
        let listener = try Command(
            [
                "python3", "-c",
                "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
                    + "print(s.getsockname()[1], flush=True); time.sleep(600)",
            ], secondsAllowed: 120
        ).start()
        defer {
            listener.signal(SIGKILL)
            _ = try? listener.wait()  // ended, whatever it says
        }
        try listener.until("a port") { $0.printed.hasSuffix("\n") }
        let port = listener.printed.filter(\.isNumber)
        var command = try Program.command([], home: scene.place.path)
        command.arguments = [
            "sh", "-c", #"exec "$0" pull --store "$1" "$2" \#(closed)"#, try #require(Program.path), scene.store,
            "127.0.0.1:\(port)/a:1",
        ]
        let running = try command.start()
        defer {
            running.signal(SIGKILL)
            _ = try? running.wait()  // ended, whatever it says
        }
        func open(_ number: String) -> String {
            let path = "/proc/\(running.processID)/fd/\(number)"
            return (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) ?? ""  // not open, or not yet
        }
        try running.until("a connection") { _ in (3..<64).contains { open("\($0)").hasPrefix("socket:") } }
        for number in ["0", "1", "2"] where closed.contains(number == "0" ? "<&-" : number == "1" ? " >&-" : "2>&-") {
            #expect(open(number) == "/dev/null", "descriptor \(number)")
        }
    }

    static let hasStrace = FileManager.default.isExecutableFile(atPath: "/usr/bin/strace")
}
