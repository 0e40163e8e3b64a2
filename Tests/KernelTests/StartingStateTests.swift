import Foundation
import Testing
import TestSupport

/// Whatever state the launcher is started in, it works or says what is wrong; and the command gets what was set.
@Suite(.needsStaticLauncher) struct StartingStateTests {
    private static func shell(_ caller: Caller, _ script: String) throws -> Ended {
        let box = try Box(caller)
        defer { withExtendedLifetime(box.directory) {} }
        return try box.shell(script).run()
    }

    // MARK: Descriptors

    @Test(arguments: Caller.all) func openDescriptorsDoNotReachTheCommand(_ caller: Caller) throws {
        let ended = try Self.shell(
            caller, "exec 3</ 4</etc/passwd 8</ 9>/dev/null; exec \"$BERTH\" run \"$IMAGE\" -- probe fds")
        #expect(ended.status == 0 && ended.output.isEmpty, "\(ended)")
    }

    @Test(arguments: Caller.all) func someAreHandedOnWhereThatIsAskedFor(_ caller: Caller) throws {
        let open = "exec 3</dev/null 4</dev/zero 5</dev/full; exec \"$BERTH\" run --preserve-fds"
        let two = try Self.shell(caller, open + " 2 \"$IMAGE\" -- probe fds")
        #expect(two.lines.map { $0.prefix(2) } == ["3 ", "4 "], "\(two)")
        #expect(try Self.shell(caller, open + " 0 \"$IMAGE\" -- probe fds").output.isEmpty)
        let four = try Self.shell(caller, open + "=4 \"$IMAGE\" -- probe fds")
        #expect(four.status == 125 && four.errors.contains("descriptor 6 is not open"), "\(four)")
        for wrong in ["-1", "x", "3.5", "", "99999999999999999999"] {
            let ended = try Self.shell(caller, open + " '\(wrong)' \"$IMAGE\" -- probe fds")
            #expect(ended.status == 125 && ended.errors.contains("--preserve-fds"), "\(ended)")
        }
    }

    /// `PMI_FD` names a socket of the process manager's; a directory of that number is not handed on.
    @Test(arguments: Caller.all) func theProcessManagersSocketIsHandedOn(_ caller: Caller) throws {
        let program = """
            import os, socket, sys
            kind, *words = sys.argv[1:]
            ends = socket.socketpair()
            os.dup2(ends[0].fileno() if kind == "socket" else os.open("/", os.O_RDONLY), 9)
            os.environ["PMI_FD"] = "9"; os.set_inheritable(9, True)
            os.execv(words[0], words)
            """
        let box = try Box(caller)
        try box.directory.write(program, to: "pmi.py")
        for (kind, expected) in [("socket", ["9"]), ("directory", [])] {
            let ended = try box.shell("exec python3 pmi.py \(kind) \"$BERTH\" run \"$IMAGE\" -- probe fds").run()
            #expect(ended.lines.compactMap { $0.split(separator: " ").first.map(String.init) } == expected, "\(ended)")
        }
    }

    @Test(arguments: Caller.all, ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    func missingStandardStreamsAreNotReplaced(_ caller: Caller, _ closed: String) throws {
        let ended = try Self.shell(caller, "\"$BERTH\" run \"$IMAGE\" -- probe exit 42 \(closed)")
        #expect(ended.status == 42, "\(ended)")
        // A message must not go into a file that took the number.
        #expect(try Self.shell(caller, "\"$BERTH\" run dir:/missing -- id \(closed)").status == 125)
    }

    // MARK: Signals

    @Test(arguments: Caller.all) func ignoredSignalsAreTheCommandsAlone(_ caller: Caller) throws {
        let ended = try Self.shell(
            caller, "trap '' CHLD XFSZ USR1; exec \"$BERTH\" run \"$IMAGE\" -- probe dispositions")
        #expect(ended.status == 0, "\(ended)")
        let plain = try Self.shell(caller, "trap '' CHLD XFSZ USR1; exec \"$PROBE\" dispositions".probed(caller))
        #expect(ended.output == plain.output, "\(ended)\n\(plain)")
        let usual = try Self.shell(caller, "exec \"$BERTH\" run \"$IMAGE\" -- probe dispositions")
        #expect(
            usual.output == (try Self.shell(caller, "exec \"$PROBE\" dispositions".probed(caller))).output, "\(usual)")
    }

    /// With SIGCHLD ignored waitpid(2) finds no child.
    @Test(arguments: Caller.all) func childrenCanBeWaitedFor(_ caller: Caller) throws {
        let box = try Box(caller)
        // A user whom no file knows is looked up by a child.
        let ended = try box.shell(
            "trap '' CHLD; exec \"$BERTH\" run --pull always --store \"$HERE/home/s\" nothing.invalid/x -- id"
        )
        .run()
        #expect(ended.status == 125 && !ended.errors.contains("ECHILD"), "\(ended)")
    }

    // MARK: Limits

    struct Limit: Sendable, CustomTestStringConvertible {
        let words: String
        var says: String?
        var keeps: String?
        var testDescription: String { words }
    }

    /// With 8 kB of stack execve(2) itself fails now and then, of any program: the kernel places the stack at random.
    static let limits: [Limit] = [
        Limit(words: "-f 0", says: "ulimit -f"), Limit(words: "-n 4", says: "ulimit -n"),
        Limit(words: "-s 16", says: "ulimit -s"),
        Limit(words: "-v 16000", says: "ulimit -v"), Limit(words: "-d 4000", says: "ulimit -d"),
        Limit(words: "-Sn 4", keeps: "nofile"), Limit(words: "-Sf 0", keeps: "fsize 0:unlimited"),
        Limit(words: "-Ss 16", keeps: "stack unlimited:unlimited"),
        Limit(words: "-Sv 16000", keeps: "as 16384000:unlimited"), Limit(words: "-c 0", keeps: "core 0:0"),
    ]

    @Test(arguments: limits) func aLimitIsAnErrorOrNothing(_ limit: Limit) throws {
        for caller in Caller.all {
            if caller == .root, Caller.holds(capability: 24) { continue }  // CAP_SYS_RESOURCE raises them all
            let ended = try Self.shell(
                caller, "{ ulimit \(limit.words) && exec \"$BERTH\" run \"$IMAGE\" -- probe limits; } 2>&1 | cat")
            if let says = limit.says {
                #expect(ended.output.hasPrefix("berth: ") && ended.output.contains(says), "\(limit.words): \(ended)")
            }
            if let keeps = limit.keeps {
                #expect(ended.lines.contains { $0.hasPrefix(keeps) }, "\(limit.words): \(ended)")
            }
        }
    }
}

extension StartingStateTests {
    /// What the plugin runs behind an image's entrypoint, in a container that covers /proc.
    @Test(.needsRoot) func theEnvironmentIsReportedWithoutProc() throws {
        let fixture = try Fixture.get()
        func run(_ descriptor: String) throws -> Ended {
            try Command(
                ["chroot", fixture.directory.path, "/bin/berth", "report-environment", descriptor],
                environment: ["PATH": "/usr/sbin:/usr/bin", "A": "b"]
            ).run()
        }
        let ended = try run("1")
        #expect(ended.status == 0 && Set(ended.output.split(separator: "\0")) == ["=cwd=/", "PATH=/usr/sbin:/usr/bin", "A=b"], "\(ended)")
        let refused = try run("99")
        #expect(refused.status == 125 && refused.errors.contains("Bad file descriptor"), "\(refused)")
    }
}

extension String {
    fileprivate func probed(_ caller: Caller) throws -> String {
        replacingOccurrences(of: "$PROBE", with: try Fixture.get().probe)
    }
}
