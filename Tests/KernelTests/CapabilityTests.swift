import Foundation
import TestSupport
import Testing

/// The command's capabilities in each mode, compared with libcap's tools and with crun running the same plan.
@Suite(.needsLauncher, .serialized) struct CapabilityTests {
    struct Way: Sendable, CustomTestStringConvertible {
        let caller: Caller
        let options: [String]
        /// Permitted and effective; inheritable and ambient are empty in every mode.
        let effective: Set<String>
        let bounding: Set<String>

        init(_ caller: Caller, _ options: String, _ effective: Set<String>, bounding: Set<String>? = nil) {
            self.caller = caller
            self.options = options.split(separator: " ").map(String.init)
            self.effective = effective
            self.bounding = bounding ?? effective
        }

        var testDescription: String { ([caller.rawValue] + options).joined(separator: " ") }
    }

    /// All capabilities of this kernel.
    static let all: Set<String> = {
        let last = try? String(contentsOfFile: "/proc/sys/kernel/cap_last_cap", encoding: .utf8)  // always there
        let number = UInt64(last?.split(separator: "\n").first ?? "") ?? 40
        return (try? decoded(String((UInt64(1) << (number + 1)) - 1, radix: 16))) ?? []  // no capsh: skipped
    }()
    /// The capabilities of the test process: root in a container may lack some.
    static let own: Set<String> = {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""  // always there
        return (try? set("CapPrm", status.components(separatedBy: "\n"))) ?? []  // no capsh: skipped
    }()
    static let standard: Set<String> = [
        "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service",
        "ipc_lock", "sys_chroot", "audit_write", "setfcap",
    ]

    static let ways: [Way] =
        [
            Way(.ordinary, "", [], bounding: all),
            Way(.ordinary, "--cap-add SYS_PTRACE", [], bounding: all),
            Way(.ordinary, "--root", all),
            Way(.ordinary, "--root --cap-drop CAP_MKNOD,net_raw", all.subtracting(["mknod", "net_raw"])),
            Way(.ordinary, "--root --cap-drop ALL", []),
            Way(.ordinary, "--root --cap-drop ALL --cap-add CHOWN", ["chown"]),
        ]
        + (Caller.isRoot
            ? [
                Way(.root, "", standard),
                Way(.root, "--root", standard),
                Way(
                    .root, "--cap-add SYS_PTRACE --cap-drop KILL,CAP_SETUID",
                    standard.subtracting(["kill", "setuid"]).union(["sys_ptrace"])),
                Way(.root, "--cap-add ALL --cap-drop SYS_ADMIN", own.subtracting(["sys_admin"])),
                Way(.root, "--cap-drop ALL", []),
                Way(.root, "--user 7:8", [], bounding: standard),
                Way(.root, "--user 7:8 --cap-add SYS_PTRACE", [], bounding: standard.union(["sys_ptrace"])),
                Way(.root, "--privileged", own),
                Way(.root, "--privileged --user 7:8", [], bounding: own),
            ] : [])

    /// Names from `capsh --decode`, without the prefix.
    static func decoded(_ hexadecimal: String) throws -> Set<String> {
        let ended = try Command(["capsh", "--decode=" + hexadecimal]).run()
        let names = ended.output.split(separator: "=").dropFirst().first?.split { $0 == "," || $0 == "\n" } ?? []
        return Set(names.map { String($0.dropFirst(4)) })
    }

    static func set(_ field: String, _ lines: [String]) throws -> Set<String> {
        guard let line = lines.first(where: { $0.hasPrefix(field + ":") }) else {
            throw TestSupportError("no \(field)")
        }
        return try decoded(String(line.suffix(16)))
    }

    /// The effective set in libcap's text form, such as `=ep cap_mknod-ep`.
    static func effective(ofText text: String) -> Set<String> {
        var found: Set<String> = []
        for clause in text.split(whereSeparator: \.isWhitespace) {
            guard let place = clause.firstIndex(where: { "=+-".contains($0) }) else { continue }
            let names = clause[..<place].split(separator: ",").map { String($0.dropFirst(4)) }
            let chosen = names.isEmpty ? all : Set(names)
            let (sign, isNamed) = (clause[place], clause[place...].contains("e"))
            if isNamed, sign != "-" { found.formUnion(chosen) }
            if sign == (isNamed ? "-" : "=") { found.subtract(chosen) }
        }
        return found
    }

    static let hasTools = ["/usr/sbin/capsh", "/usr/sbin/getpcaps"].allSatisfy(
        FileManager.default.isExecutableFile(atPath:))

    @Test(.enabled(if: hasTools, "needs libcap2-bin: Scripts/setup test"), arguments: ways)
    func theCommandHasThose(_ way: Way) throws {
        let box = try Box(way.caller)
        try box.directory.makeDirectory("out", mode: 0o777)
        // Berth becomes the command, so getpcaps can inspect the background process.
        let script = """
            $BERTH run -v ./out:/out \(way.options.joined(separator: " ")) $IMAGE -- \
            probe caps -- meet /out/ready /out/go &
            until [ -e out/ready ] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
            getpcaps $! 2>&1
            touch out/go
            wait $!
            """
        let ended = try box.shell(script).run()
        let lines = ended.lines
        try #require(ended.status == 0, "\(ended)")
        #expect(try Self.set("CapEff", lines) == way.effective)
        #expect(try Self.set("CapPrm", lines) == way.effective)
        #expect(try Self.set("CapBnd", lines) == way.bounding)
        #expect(try Self.set("CapInh", lines) == [] && Self.set("CapAmb", lines) == [])
        let text = lines.first { $0.first?.isNumber == true }?.split(separator: ":", maxSplits: 1).last ?? ""
        #expect(Self.effective(ofText: String(text)) == way.effective, "\(ended)")
    }

    /// Excludes modes that ask for capabilities the test process lacks: crun fails there.
    static let givenByCrun = ways.filter { $0.caller == .ordinary || own == all || $0.effective.count < own.count - 1 }

    @Test(.needsRoot, .enabled(if: OCIRuntimeTests.path(.crun) != nil, "crun is not installed"), arguments: givenByCrun)
    func crunGivesTheSame(_ way: Way) throws {
        let box = try Box(way.caller)
        let own = try box.run(berth: ["run"] + way.options + [box.image, "--", "/bin/probe", "caps"])
        let other = try OCIRuntimeTests.run(.crun, box, way.options, ["caps"])
        #expect(own.status == 0 && other.status == 0 && own.lines == other.lines, "\(own)\n\(other)")
    }
}
