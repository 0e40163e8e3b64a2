import Foundation
import Testing
import TestSupport

/// The command takes the launcher's place: everything that a process is stays as it was.
@Suite(.needsLauncher) struct ProcessTests {
    @Test(arguments: [0, 1, 3, 42, 124, 125, 126, 127, 128, 255]) func theExitStatusIsTheCommands(_ status: Int32)
        throws
    {
        let ended = try Box(.any).run(probe: "exit", "\(status)")
        #expect(ended.status == status, "\(ended)")
        #expect(ended.errors.isEmpty)
    }

    @Test(arguments: [SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGSEGV, SIGTERM, SIGUSR1])
    func deathByASignalIsTheCommands(_ signal: Int32) throws {
        let ended = try Box(.any).run(probe: "kill", "\(signal)")
        #expect(ended.signal == signal, "\(ended)")
    }

    @Test(arguments: Caller.all) func aSignalToTheLauncherReachesTheCommand(_ caller: Caller) throws {
        let box = try Box(caller)
        let running = try box.command(probe: ["signal", "\(SIGTERM)", "\(SIGUSR1)"]).start()
        try running.until("ready") { $0.printed == "ready\n" }
        running.signal(SIGUSR1)
        let ended = try running.wait()
        #expect(ended.status == 0)
        #expect(ended.lines == ["ready", "signal \(SIGUSR1)"])
    }

    @Test(arguments: Caller.all) func theProcessKeepsItsNumber(_ caller: Caller) throws {
        let box = try Box(caller)
        let ended = try box.shell("echo $$; exec \"$BERTH\" run \"$IMAGE\" -- probe pid").run()
        #expect(ended.lines.count == 2, "\(ended)")
        #expect(ended.lines.first == ended.lines.last)
    }

    @Test(arguments: Caller.all) func noProcessStaysBeside(_ caller: Caller) throws {
        let box = try Box(caller)
        let mark = Mark()
        let running = try box.command(probe: ["signal", "\(SIGTERM)"], environment: mark.environment).start()
        try running.until("ready") { $0.printed == "ready\n" }
        #expect(mark.processes == [running.processID])
        running.signal(SIGTERM)
        _ = try running.wait()
        #expect(mark.processes == [])
    }

    @Test func standardStreamsAreTheCallersOwn() throws {
        let text = String(repeating: "0123456789abcde\n", count: 65536)
        let ended = try Box(.any).run(probe: "error", "to standard error", "--", "input", input: text)
        #expect(ended.status == 0)
        #expect(ended.output == text)
        #expect(ended.errors == "to standard error\n")
    }

    @Test func nothingIsReadFromStandardInputBeforeTheCommand() throws {
        let box = try Box(.any)
        let ended = try box.shell("printf 'one\\ntwo\\n' | { \"$BERTH\" run \"$IMAGE\" -- probe id >/dev/null; cat; }")
            .run()
        #expect(ended.lines == ["one", "two"], "\(ended)")
    }

    @Test(arguments: ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]) func closedStreamsStayClosed(_ closing: String) throws {
        let box = try Box(.any)
        try box.directory.makeDirectory("out", mode: 0o777)
        let ended = try box.shell(
            "\"$BERTH\" run -v ./out:/out \"$IMAGE\" -- probe write /out/f x -- stat /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 \(closing)"
        ).run()
        #expect(ended.status == 0 || closing.contains(">&-"), "\(ended)")
        #expect(box.directory.text("out/f") == "x", "\(ended)")
        if closing == "<&-" { #expect(ended.lines.dropFirst().first == "/proc/self/fd/0: ENOENT", "\(ended)") }
    }

    @Test func argumentsArriveAsTheyAre() throws {
        let ended = try Box(.any).run(
            probe: "args", "", "a b", "--", "-x", "*", "$HOME", "a\nb", "\\", "'\"", "é", "\u{10FFFF}")
        #expect(
            ended.lines == [#"[] [a b] [--] [-x] [*] [$HOME] [a\x0ab] [\x5c] ['"] [\xc3\xa9] [\xf4\x8f\xbf\xbf]"#],
            "\(ended)")
    }

    @Test func argumentsAndVariablesNeedNotBeText() throws {
        let box = try Box(.any)
        let ended = try box.shell(
            #"V=$(printf 'v\377w'); export V; exec "$BERTH" run "$IMAGE" -- probe env V -- args "$(printf 'a\377b')""#
        ).run()
        #expect(ended.lines == [#"V=v\xffw"#, #"[a\xffb]"#], "\(ended)")
    }

    @Test(arguments: Caller.all) func maskAndIgnoredSignalsAreHandedOnAndNoneAreAdded(_ caller: Caller) throws {
        let box = try Box(caller)
        let plain = try box.shell("umask 027; exec \"$BERTH\" run \"$IMAGE\" -- probe umask -- dispositions").run()
        #expect(plain.lines == ["0027"], "\(plain)")
        let ignoring = try box.shell("trap '' HUP USR2; exec \"$BERTH\" run \"$IMAGE\" -- probe dispositions").run()
        #expect(ignoring.lines == ["1 ignored", "12 ignored"], "\(ignoring)")
    }

    // MARK: Descriptors

    @Test(arguments: Caller.all) func theProcessManagersDescriptorPassesAndNoOther(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("wire", to: "pmi", mode: 0o644)
        let ended = try box.shell(
            "mkfifo home/pipe; exec 7<>home/pipe 9<pmi; PMI_FD=7; export PMI_FD; exec \"$BERTH\" run \"$IMAGE\" -- probe fds -- env PMI_FD"
        ).run()
        #expect(ended.lines.map { $0.prefix { $0 != " " } } == ["7", "PMI_FD=7"], "\(ended)")
        // A file of the host is no connection.
        let file = try box.shell("exec 7<pmi; PMI_FD=7; export PMI_FD; exec \"$BERTH\" run \"$IMAGE\" -- probe fds").run()
        #expect(file.output == "", "\(file)")
    }

    @Test(arguments: Caller.all) func withoutInheritedOnesThereIsNone(_ caller: Caller) throws {
        #expect(try Box(caller).run(probe: "fds").output == "")
    }

    @Test(arguments: Caller.all) func noWayLeadsOut(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("outside", to: "marker")
        for options in [[], ["--root"], ["--read-only"]] {
            let ended = try box.run(options, probe: "escape", box.path("marker"))
            #expect(ended.lines == ["no way out"], "\(options) \(ended)")
        }
    }

    @Test func theLauncherHasOneThreadAsUserNamespacesWant() throws {
        #expect(try Box(.any).run(probe: "caps").lines.contains("Threads: 1"))
    }
}

extension Caller {
    /// For what does not depend on who calls.
    static let any: Caller = .ordinary
}

/// A variable by which a test knows its own processes among everybody's.
struct Mark: Sendable {
    private let value = UUID().uuidString

    var environment: [String: String] { ["TEST_MARK": value] }

    var processes: [Int32] {
        let needle = Data("TEST_MARK=\(value)\0".utf8)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []  // always there
        return names.compactMap { Int32($0) }.filter { process in
            // Gone, or a zombie that has no environment any more.
            guard let environment = FileManager.default.contents(atPath: "/proc/\(process)/environ") else {
                return false
            }
            return (environment + Data([0])).range(of: needle) != nil
        }.sorted()
    }
}
