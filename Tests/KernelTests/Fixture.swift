import Foundation
import Synchronization
import Testing
import TestSupport

/// The built launcher and the probe, copied to where every user may run them.
struct Fixture: Sendable {
    let berth: String
    let probe: String
    let directory: TemporaryDirectory

    /// Why there is no launcher to test; said once, loudly.
    static let made: Result<Fixture, TestSupportError> = {
        do {
            return .success(try Fixture())
        } catch let error as TestSupportError {
            FileHandle.standardError.write(Data("\n*** KernelTests do not run: \(error)\n\n".utf8))
            return .failure(error)
        } catch {
            return .failure(TestSupportError("\(error)"))
        }
    }()

    /// Names no loader: it runs wherever it is put.
    var isStatic: Bool {
        let ended = try? Command(["readelf", "-l", berth]).run()  // without binutils nobody can tell
        return ended?.status == 0 && ended?.output.contains("INTERP") == false
    }

    static var isThere: Bool { if case .success = made { true } else { false } }
    static func get() throws -> Fixture { try made.get() }

    private static let leftover = Mutex<String?>(nil)

    private init() throws {
        let root = packageRoot()
        let environment = ProcessInfo.processInfo.environment
        var found = environment["BERTH_BIN"]
        if found == nil {
            let built =
                [root + "/build/bin/berth"]
                + ["lean/", "lean-test/", ""].flatMap {
                    ["\(root)/.build/\($0)release/berth", "\(root)/.build/\($0)debug/berth"]
                }
            // The newest: a stale one would be tested in silence.
            found = built.filter(FileManager.default.isExecutableFile(atPath:)).max { Self.age($0) < Self.age($1) }
        }
        guard let found, FileManager.default.isExecutableFile(atPath: found) else {
            throw TestSupportError("no built launcher: run Scripts/build --lean, or name one with BERTH_BIN")
        }
        let directory = try TemporaryDirectory()
        self.directory = directory
        // Kept by a static, it has no last owner.
        Self.leftover.withLock { $0 = directory.path }
        atexit {
            if let path = Fixture.leftover.withLock({ $0 }) {
                try? FileManager.default.removeItem(atPath: path)  // left to /var/tmp's own sweeping
            }
        }
        try directory.makeDirectory("bin")
        berth = directory.path + "/bin/berth"
        try FileManager.default.copyItem(atPath: found, toPath: berth)
        try directory.makeDirectory("libexec/berth")
        try FileManager.default.copyItem(
            atPath: root + "/build/libexec/berth/seccomp", toPath: directory.path + "/libexec/berth/seccomp")
        probe = directory.path + "/bin/probe"
        let source = root + "/Tests/Probe/probe.c"
        let compiled = try Command(["cc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", probe, source]).run()
        guard compiled.status == 0 else { throw TestSupportError("the probe does not compile: \(compiled)") }
    }
}

extension Fixture {
    fileprivate static func age(_ path: String) -> Date {
        (try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date) ?? .distantPast  // unreadable: not wanted
    }
}

/// Who starts the launcher.
enum Caller: String, Sendable, CustomTestStringConvertible {
    case root, ordinary

    static let all: [Caller] = geteuid() == 0 ? [.root, .ordinary] : [.ordinary]
    static let isRoot = geteuid() == 0

    /// Of the tests' own process, by its number in capabilities(7).
    static func holds(capability number: Int) -> Bool {
        let status =
            FileManager.default.contents(atPath: "/proc/self/status").map { String(decoding: $0, as: UTF8.self) } ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let value = line?.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) } ?? 0
        return value >> UInt64(number) & 1 == 1
    }

    var testDescription: String { rawValue }

    /// A user whom the host's passwd knows, and whose number is not the overflow id that unmapped owners have.
    private static let person: (name: String, user: UInt32, group: UInt32, home: String) = {
        if geteuid() != 0 {
            let entry = getpwuid(geteuid())?.pointee
            return (
                entry.map { String(cString: $0.pw_name) } ?? "\(geteuid())", geteuid(), getegid(),
                entry.map { String(cString: $0.pw_dir) } ?? "/"
            )
        }
        for number in UInt32(1000)..<UInt32(3000) {
            if let entry = getpwuid(number)?.pointee {
                return (String(cString: entry.pw_name), number, entry.pw_gid, String(cString: entry.pw_dir))
            }
        }
        return ("nobody", 65534, 65534, "/nonexistent")
    }()

    var user: UInt32 { self == .root ? 0 : Self.person.user }
    var group: UInt32 { self == .root ? 0 : Self.person.group }
    var name: String { self == .root ? "root" : Self.person.name }
    var home: String { self == .root ? "/root" : Self.person.home }

    /// A program's arguments, changed so that this caller runs it.
    func running(_ arguments: [String], groups: [UInt32] = []) -> [String] {
        let list = groups.isEmpty ? ["--clear-groups"] : ["--groups=" + groups.map(String.init).joined(separator: ",")]
        switch self {
        case .root: return Self.isRoot ? ["setpriv"] + list + arguments : arguments
        case .ordinary:
            guard Self.isRoot else { return arguments }
            return ["setpriv", "--reuid=\(user)", "--regid=\(group)"] + list + ["--inh-caps=-all"] + arguments
        }
    }
}

/// A directory with a root file system in `rootfs`, and whatever else a test lays beside it.
struct Box: Sendable {
    let fixture: Fixture
    let directory: TemporaryDirectory
    let caller: Caller

    /// An empty root file system but for `/bin/probe`, owned by the caller.
    init(_ caller: Caller) throws {
        fixture = try Fixture.get()
        directory = try TemporaryDirectory()
        self.caller = caller
        try directory.makeDirectory("rootfs/bin")
        try FileManager.default.copyItem(atPath: fixture.probe, toPath: directory.path + "/rootfs/bin/probe")
        try directory.write("root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n", to: "rootfs/etc/passwd")
        try directory.write("root:x:0:\nweb:x:34:\nssl:x:110:web\n", to: "rootfs/etc/group")
        try directory.makeDirectory("home")
        give("home")
        give("rootfs")
    }

    var rootfs: String { directory.path + "/rootfs" }
    var image: String { "dir:" + rootfs }
    func path(_ name: String) -> String { directory.path + "/" + name }

    /// Makes the caller the owner of a whole tree.
    func give(_ name: String) {
        guard Caller.isRoot else { return }
        _ = try? Command(["chown", "-hR", "\(caller.user):\(caller.group)", path(name)]).run()  // the test will show
    }

    var environment: [String: String] {
        [
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": path("home"), "PWD": directory.path,
            "BERTH_CONFIG": FileManager.default.fileExists(atPath: path("berth.conf"))
                ? path("berth.conf") : "/dev/null",
        ]
    }

    /// With the records of what passes for a job kept out of the account's home.
    private func environment(with more: [String: String]) -> [String: String] {
        let state = more["SLURM_JOB_ID"] == nil ? [:] : ["XDG_STATE_HOME": path("home")]
        return environment.merging(state) { $1 }.merging(more) { $1 }
    }

    /// `berth run OPTIONS dir:ROOTFS -- probe WORDS`.
    func command(
        _ options: [String] = [], probe words: [String], groups: [UInt32] = [],
        environment more: [String: String] = [:], input: String? = nil
    ) -> Command {
        command(
            berth: ["run"] + options + [image, "--", "probe"] + words, groups: groups, environment: more, input: input)
    }

    func command(
        berth arguments: [String], groups: [UInt32] = [], environment more: [String: String] = [:], input: String? = nil
    ) -> Command {
        Command(
            caller.running([fixture.berth] + arguments, groups: groups), environment: environment(with: more),
            directory: directory.path, input: input)
    }

    func run(
        _ options: [String] = [], probe words: String..., groups: [UInt32] = [],
        environment more: [String: String] = [:], input: String? = nil
    ) throws -> Ended { try command(options, probe: words, groups: groups, environment: more, input: input).run() }

    func run(berth arguments: [String], environment more: [String: String] = [:]) throws -> Ended {
        try command(berth: arguments, environment: more).run()
    }

    /// A shell started by the caller; `$BERTH`, `$IMAGE` and `$HERE` are set.
    func shell(_ script: String, environment more: [String: String] = [:]) -> Command {
        let own = ["BERTH": fixture.berth, "IMAGE": image, "HERE": directory.path]
        return Command(
            caller.running(["sh", "-c", script]), environment: environment(with: more).merging(own) { $1 },
            directory: directory.path)
    }

    /// Every name, owner, mode, time and byte of a tree, as one number.
    func fingerprint(_ name: String = "rootfs") throws -> String {
        let ended = try Command([
            "sh", "-c", "tar --sort=name --numeric-owner --format=gnu -C \"$0\" -c . | sha256sum", path(name),
        ]).run()
        guard ended.status == 0 else { throw TestSupportError("cannot read \(name): \(ended)") }
        return ended.output
    }
}

/// The kernel tests' common ground: without a launcher there is nothing to run.
extension Trait where Self == ConditionTrait {
    static var needsLauncher: Self { .enabled(if: Fixture.isThere, "no built launcher: run Scripts/build --lean") }
    /// As it is shipped: a debug build's loader opens files and fails in ways of its own.
    static var needsStaticLauncher: Self {
        .enabled(if: (try? Fixture.get())?.isStatic ?? false, "needs the static launcher: run Scripts/build --lean")  // not there: not static
    }
    static var needsRoot: Self { .enabled(if: Caller.isRoot, "needs root") }
    static var needsStrace: Self {
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/strace"), "needs strace")
    }
}
