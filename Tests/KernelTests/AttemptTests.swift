import Foundation
import TestSupport
import Testing

/// Compares system calls and attempts to escape, made by `Tests/Probe/Attempts`, with the documented tables.
@Suite(.needsLauncher, .serialized) struct AttemptTests {
    struct Way: Sendable, CustomTestStringConvertible {
        let mode: AttemptTable.Mode
        var standard = false
        var fakeroot = false
        let options: [String]

        var caller: Caller { mode == .user || mode == .rootInside ? .ordinary : .root }
        var testDescription: String {
            ([caller.rawValue] + options).joined(separator: " ")
        }
    }

    static let ways: [Way] =
        [
            Way(mode: .user, options: []),
            Way(mode: .user, standard: true, options: ["--seccomp", "default"]),
            Way(mode: .rootInside, options: ["--root", "--seccomp", "none"]),
            Way(mode: .rootInside, fakeroot: true, options: ["--root"]),
            Way(mode: .rootInside, standard: true, fakeroot: true, options: ["--root", "--seccomp", "default"]),
        ]
        + (Caller.isRoot
            ? [
                Way(mode: .root, options: []),
                Way(mode: .root, standard: true, options: ["--seccomp", "default"]),
                Way(mode: .rootWithUser, options: ["--user", "7:8"]),
                Way(mode: .rootWithUser, standard: true, options: ["--user", "7:8", "--seccomp", "default"]),
            ] : [])

    static let program = Result<String, any Error> {
        let (fixture, source) = (try Fixture.get(), packageRoot() + "/Tests/Probe/Attempts/")
        let path = fixture.directory.path + "/bin/attempts"
        let sources = ["main.c", "calls.c", "escapes.c"].map { source + $0 }
        let ended = try Command(["cc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", path] + sources).run()
        guard ended.status == 0 else { throw TestSupportError("the attempts do not compile: \(ended)") }
        return path
    }

    static func box(_ caller: Caller) throws -> Box {
        let box = try Box(caller)
        try FileManager.default.copyItem(atPath: try program.get(), toPath: box.path("rootfs/bin/attempts"))
        box.give("rootfs")
        return box
    }

    /// Calls that this kernel lacks: they also fail with ENOSYS outside a container.
    static let missing = Result<Set<String>, any Error> {
        let ended = try Command(Caller.ordinary.running([try program.get(), "calls"])).run()
        let names = ended.lines.filter { $0.hasSuffix(": ENOSYS") }.map { String($0.dropLast(8)) }
        if !names.isEmpty {
            let list = names.joined(separator: ", ")
            let text = "\n*** this kernel lacks \(list): only the filters' answers are compared\n"
            FileHandle.standardError.write(Data(text.utf8))
        }
        return Set(names)
    }

    static func compare(_ lines: [String], _ way: Way, _ ended: Ended) throws {
        var differences = try AttemptTable("calls").differences(
            lines, way.mode, standard: way.standard, fakeroot: way.fakeroot, missing: try missing.get())
        #if !arch(x86_64)
            // Other processors have fewer calls.
            differences.removeAll { $0.hasSuffix(": no answer") }
        #endif
        #expect(ended.status == 0 && differences == [], "\(ended)")
    }

    @Test(arguments: ways) func systemCallsAnswerAsTheirPageSays(_ way: Way) throws {
        let box = try Self.box(way.caller)
        let ended = try box.run(berth: ["run"] + way.options + [box.image, "--", "attempts", "calls"])
        try Self.compare(ended.lines, way, ended)
    }

    @Test(.needsRoot, .enabled(if: OCIRuntimeTests.path(.crun) != nil, "crun is not installed"), arguments: ways)
    func crunDecidesTheSame(_ way: Way) throws {
        let ended = try OCIRuntimeTests.run(
            .crun, try Self.box(way.caller), way.options, ["exec", "/bin/attempts", "calls"])
        try Self.compare(ended.lines, way, ended)
    }

    /// The filters' columns match `Seccomp/`, and each call in a profile has a row.
    @Test func theRowsAreThoseOfTheProfiles() throws {
        struct Profile: Decodable {
            struct Rule: Decodable { let names: [String] }
            let syscalls: [Rule]
        }
        let rows = try AttemptTable("calls").rows
        for (name, decision) in [("default", \AttemptTable.Row.standard), ("fakeroot", \.fakeroot)] {
            let profile = try JSONDecoder().decode(
                Profile.self, from: try Data(contentsOf: URL(fileURLWithPath: packageRoot() + "/Seccomp/\(name).json")))
            let named = Set(profile.syscalls.flatMap(\.names))
            let decided = Set(rows.filter { $0[keyPath: decision] != nil }.map { $0.name.prefix { $0 != " " } })
            #expect(decided.subtracting(named.map { $0[...] }) == [], "\(name)")
            // No row: 32-bit calls, calls that current kernels lack, and setfsuid and setfsgid, which never fail.
            let others = named.subtracting(decided.map(String.init)).filter {
                !$0.hasSuffix("32") && !$0.hasSuffix("64") && !$0.hasPrefix("pciconfig") && !$0.hasPrefix("setfs")
            }
            let gone: Set = [
                "bdflush", "create_module", "get_kernel_syms", "nfsservctl", "query_module", "sgetmask", "ssetmask",
                "stime", "vm86", "vm86old",
            ]
            #expect(others == (name == "default" ? gone : []))
        }
    }

    /// Includes CVE-2022-0492: mounting a cgroup hierarchy in new namespaces, for its release_agent.
    @Test(arguments: ways) func attemptsToEscapeEndAsThePageSays(_ way: Way) throws {
        let box = try Self.box(way.caller)
        try box.directory.write("outside\n", to: "outside/marker")
        try box.directory.write("", to: "vol/private", mode: 0o600)
        try box.directory.makeDirectory("ro", mode: 0o777)
        box.give("vol")
        if Caller.isRoot { _ = try Command(["chown", "1:1", box.path("vol/private")]).run() }
        let host = try Command(
            Caller.ordinary.running([try Self.program.get(), "host", box.path("outside/marker")])
        ).start()
        defer {
            host.signal(SIGKILL)
            _ = try? host.wait()  // killed
        }
        try host.until("the host's process") { $0.printed.hasSuffix("\n") }
        let words = host.printed.split { $0 == " " || $0 == "\n" }
        try #require(words.count == 2, "\(host.printed)\(host.complained)")
        let script = """
            exec 9<outside
            $BERTH run -v ./vol:/vol -v ./ro:/ro:ro \(way.options.joined(separator: " ")) $IMAGE -- attempts escapes \
            $HERE/outside/marker \(words[0]) \(words[1]) \(Caller.ordinary.user)
            status=$?
            exit $status
            """
        let ended = try box.shell(script).run()
        var differences = try AttemptTable("escapes").differences(
            ended.lines, way.mode, standard: way.standard, fakeroot: way.fakeroot,
            missing: ["load a module", "load a BPF program", "userfaultfd for faults of the kernel", "io_uring"])
        // Creating a file of another user needs root.
        if !Caller.isRoot { differences.removeAll { $0.hasPrefix("write to another user's file") } }
        #expect(ended.status == 0 && differences == [], "\(ended)")
    }

    /// Links in /proc would lead out of the container if it held a descriptor of the host.
    @Test(arguments: Caller.all, ["/proc/self/fd/9", "/proc/self/cwd/../../../.."])
    func aWorkingDirectoryDoesNotLeadOut(_ caller: Caller, _ place: String) throws {
        let box = try Box(caller)
        try box.directory.write("outside\n", to: "outside/marker")
        try box.directory.link("rootfs/away", to: place)
        for path in [place, "/away"] {
            let script = """
                cd outside; exec 9<.
                $BERTH run -w \(path) $IMAGE -- probe cat marker ../marker
                status=$?
                exit $status
                """
            let ended = try box.shell(script).run()
            #expect(!ended.output.contains("outside"), "\(ended)")
            #expect(ended.status == 125 || ended.output.contains("ENOENT"), "\(ended)")
        }
    }
}
