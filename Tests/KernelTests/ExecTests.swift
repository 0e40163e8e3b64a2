import Foundation
import Testing
import TestSupport

/// A container whose first process waits for a signal, after what it was asked to print.
struct Inhabited: Sendable {
    let box: Box
    let running: Running

    init(_ box: Box, _ options: [String] = [], first words: [String] = [], environment: [String: String] = [:]) throws {
        self.box = box
        let before = words.isEmpty ? [] : words + ["--"]
        running = try box.command(
            options, probe: before + ["signal", "\(SIGTERM)", "\(SIGUSR1)"], environment: environment
        ).start()
        try running.until("ready") { $0.printed.hasSuffix("ready\n") }
    }

    var process: String { "\(running.processID)" }

    func command(
        _ options: [String] = [], in container: String? = nil, by caller: Caller? = nil, probe words: [String],
        environment: [String: String] = [:]
    ) -> Command {
        let berth = [box.fixture.berth, "exec"] + options + [container ?? process, "--", "probe"] + words
        return Command(
            (caller ?? box.caller).running(berth), environment: box.environment.merging(environment) { $1 },
            directory: box.directory.path)
    }

    func exec(
        _ options: [String] = [], in container: String? = nil, by caller: Caller? = nil, probe words: String...,
        environment: [String: String] = [:]
    ) throws -> Ended {
        try command(options, in: container, by: caller, probe: words, environment: environment).run()
    }

    func end() throws {
        running.signal(SIGTERM)
        _ = try running.wait()
    }
}

/// `berth exec`: a command that is like the container's first process.
@Suite(.needsLauncher) struct ExecTests {
    @Test(arguments: Caller.all) func theCommandIsWhatTheFirstProcessIs(_ caller: Caller) throws {
        let box = try Box(caller)
        let options = ["-e", "A=1", "-e", "B=x y", "-w", "/bin", "--ulimit", "nofile=200:300", "--ulimit", "core=0"]
        let words = ["env", "--", "cwd", "--", "limits", "--", "caps", "--", "id", "--", "ns"]
        let container = try Inhabited(box, options, first: words, environment: ["PASSED": "on"])
        let first = container.running.printed.split(separator: "\n").dropLast().map(String.init)
        #expect(first.contains("A=1") && first.contains("PASSED=on") && first.contains("nofile 200:300"))
        let ended = try container.command(probe: words, environment: ["C": "not passed"]).run()
        #expect(ended.lines == first, "\(ended)")
        #expect(ended.errors == "")
        #expect(try container.exec(probe: "fds").output == "")
        try container.end()
    }

    @Test(arguments: Caller.all) func allNamespacesAreJoined(_ caller: Caller) throws {
        let container = try Inhabited(try Box(caller), ["--unshare", "net,ipc,uts", "--hostname", "inside"], first: ["ns"])
        let first = container.running.printed.split(separator: "\n").dropLast().map(String.init)
        #expect(try container.exec(probe: "ns", "--", "hostname").lines.prefix(first.count) == first[...])
        try container.end()
    }

    @Test(arguments: Caller.all) func aPIDNamespaceIsEntered(_ caller: Caller) throws {
        let container = try Inhabited(try Box(caller), ["--pid", "private"], first: ["ns"])
        let first = container.running.printed.split(separator: "\n").dropLast().map(String.init)
        #expect(try container.exec(probe: "ns").lines == first)
        #expect(try container.exec(probe: "exit", "42").status == 42)
        #expect(try container.exec(probe: "kill", "\(SIGINT)").signal == SIGINT)
        try container.end()
    }

    /// As in a shell with job control: what stands for the command outside stops with it, and goes on with it.
    @Test(arguments: Caller.all) func whatStandsForACommandStopsWithIt(_ caller: Caller) throws {
        let container = try Inhabited(try Box(caller), ["--pid", "private"])
        let outside = try container.command(probe: ["kill", "\(SIGSTOP)"]).start()
        try outside.until("a stopped process") { running in
            let status = try? String(contentsOfFile: "/proc/\(running.processID)/status", encoding: .utf8)  // before it has one
            return status?.contains("State:\tT") == true
        }
        outside.signal(SIGCONT)
        outside.signal(SIGKILL)
        _ = try outside.wait()
        try container.end()
    }

    @Test func optionsChangeVariablesAndTheDirectory() throws {
        let container = try Inhabited(try Box(.any), ["-e", "A=1", "-e", "B=2"])
        try container.box.directory.write("B=file\nC=file\n", to: "variables")
        let ended = try container.exec(
            ["-it", "--env-file", "variables", "-e", "A=3", "-e", "C=option", "-eHOSTS", "-w", "/etc"], probe: "env", "A", "B", "C",
            "HOSTS", "--", "cwd", environment: ["HOSTS": "own"])
        #expect(ended.lines == ["A=3", "B=file", "C=option", "HOSTS=own", "/etc"], "\(ended)")
        #expect(try container.exec(["-w", "/absent"], probe: "cwd").status == 125)
        try container.end()
    }

    @Test func hereIsTheCurrentDirectoryIfItIsMounted() throws {
        let mounted = try Inhabited(try Box(.any), ["--here", "-w", "/"])
        let ended = try mounted.exec(["--here"], probe: "cwd")
        #expect(ended.lines == [mounted.box.directory.path], "\(ended)")
        try mounted.end()
        let other = try Inhabited(try Box(.any))
        let refused = try other.exec(["--here"], probe: "cwd")
        #expect(refused.status == 125 && refused.errors.contains("is not mounted in the container"), "\(refused)")
        try other.end()
    }

    @Test func statusSignalsAndNumberAreTheCommands() throws {
        let container = try Inhabited(try Box(.any))
        #expect(try container.exec(probe: "exit", "42").status == 42)
        #expect(try container.exec(probe: "kill", "\(SIGINT)").signal == SIGINT)
        let waiting = try container.command(probe: ["pid", "--", "signal", "\(SIGUSR1)"]).start()
        try waiting.until("ready") { $0.printed.hasSuffix("ready\n") }
        waiting.signal(SIGUSR1)
        #expect(try waiting.wait().lines == ["\(waiting.processID)", "ready", "signal \(SIGUSR1)"])
        let berth = container.box.fixture.berth
        let absent = try container.box.command(berth: ["exec", container.process, "absent-program"]).run()
        #expect(absent.status == 127 && absent.errors.contains("absent-program"), "\(absent) \(berth)")
        #expect(try container.box.command(berth: ["exec", container.process, "/etc/passwd"]).run().status == 126)
        try container.end()
    }

    @Test func anImageWithoutAShellHasNone() throws {
        let box = try Box(.any)
        let container = try Inhabited(box)
        let none = try box.command(berth: ["shell", container.process]).run()
        #expect(none.status == 127 && none.errors.contains("has no shell"), "\(none)")
        let noImage = try box.command(berth: ["shell", box.image]).run()
        #expect(noImage.status == 127 && noImage.errors.contains("the image \(box.image) has no shell"), "\(noImage)")
        for (words, instead) in [
            ([container.process, "ls", "-l"], "berth exec \(container.process) ls -l"), (["--", "ls"], "berth exec -- ls"),
            ([box.image, "ls"], "berth run \(box.image) -- ls"), ([box.image, "--", "ls"], "berth run \(box.image) -- ls"),
        ] {
            let refused = try box.command(berth: ["shell"] + words).run()
            #expect(refused.status == 125 && refused.errors.hasPrefix("berth: `berth shell` takes no command: ls"), "\(refused)")
            #expect(refused.errors.contains("run it with `\(instead)`"), "\(refused)")
        }
        let alone = try box.command(berth: ["exec"]).run()
        #expect(alone.errors.contains("hint: berth exec [OPTIONS] CONTAINER COMMAND…; `berth ps`"), "\(alone)")
        // The probe without words ends at once.
        try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: box.rootfs + "/bin/sh")
        try container.end()
        let other = try Inhabited(box)
        let there = try box.command(berth: ["shell", other.process]).run()
        #expect(there.status == 0, "\(there)")
        let new = try box.command(berth: ["shell", "-v", "./home:/data", box.image]).run()
        #expect(new.status == 0, "\(new)")
        try other.end()
    }

    @Test func rootInsideIsRootHere() throws {
        let container = try Inhabited(try Box(.ordinary), ["--root", "--cap-drop", "CHOWN"], first: ["id", "--", "caps"])
        let first = container.running.printed.split(separator: "\n").dropLast().map(String.init)
        for options in [[], ["-u", "0"], ["-u", "root"]] {
            let ended = try container.exec(options, probe: "id", "--", "caps")
            #expect(ended.lines == first, "\(ended)")
        }
        #expect(try container.exec(probe: "setuid", "5").lines == ["setuid: ok"], "the filter of --root")
        let refused = try container.exec(["-u", "33"], probe: "id")
        #expect(refused.status == 125 && refused.errors.contains("the only user of this container is uid 0"), "\(refused)")
        try container.end()
    }

    @Test(.needsRoot) func inRootsContainerTheUserIsTheFirstProcesss() throws {
        let container = try Inhabited(try Box(.root), ["--user", "web"], first: ["id", "--", "caps"])
        let first = container.running.printed.split(separator: "\n").dropLast().map(String.init)
        #expect(try container.exec(probe: "id", "--", "caps").lines == first)
        #expect(try container.exec(["-u", "0"], probe: "id").output.hasPrefix("uid=0,0,0"))
        try container.end()
    }

    @Test(.needsRoot) func rootEntersAsTheContainersUserAndKeepsNothing() throws {
        let box = try Box(.ordinary)
        let container = try Inhabited(box, first: ["id", "--", "caps", "--", "env"])
        let first = container.running.printed.split(separator: "\n").dropLast().map(String.init)
        let ended = try container.exec(by: .root, probe: "id", "--", "caps", "--", "env")
        #expect(ended.lines == first, "\(ended)")
        #expect(try container.exec(by: .root, probe: "fds").output == "")
        #expect(try container.exec(by: .root, probe: "setuid", "0").lines == ["setuid: EINVAL"], "no such user in the namespace")
        // Nor may others enter root's.
        let roots = try Inhabited(try Box(.root))
        let refused = try roots.exec(by: .ordinary, probe: "id")
        #expect(refused.status == 125 && refused.errors.contains("is in no container of yours"), "\(refused)")
        try roots.end()
        try container.end()
    }

    /// CVE-2019-5736: what a script's interpreter starts again inside is a sealed copy, and no file of the host.
    @Test(.needsRoot, .needsStaticLauncher) func theLaunchersFileIsNotReachable() throws {
        let box = try Box(.root)
        try box.directory.write("#!/proc/self/exe\n", to: "rootfs/bin/again", mode: 0o755)
        let container = try Inhabited(box)
        let ended = try box.command(berth: ["exec", container.process, "/bin/again"]).run()
        #expect(ended.errors.contains("cannot start /proc/libexec/berth/berth-image"), "\(ended)")
        try container.end()
    }

    @Test(.needsRoot, .needsStaticLauncher) func theLaunchersFileIsNotReachableFromRun() throws {
        let box = try Box(.root)
        try box.directory.write("#!/proc/self/exe\n", to: "rootfs/bin/again", mode: 0o755)
        let ended = try box.run(berth: ["run", box.image, "/bin/again"])
        #expect(ended.errors.contains("cannot start /proc/libexec/berth/berth-image"), "\(ended)")
        // Descriptors that the caller passes arrive nevertheless.
        let passing = box.shell("exec 3</dev/null; exec \"$BERTH\" run --preserve-fds 1 \"$IMAGE\" probe fds")
        #expect(try passing.run().lines.first?.hasPrefix("3 ") == true)
    }

    @Test func theCommandHoldsTheLeaseOfTheScratch() throws {
        let box = try Box(.any)
        try box.directory.makeDirectory("scratch", mode: 0o1777)
        try box.directory.write("scratch = \(box.path("scratch"))\n", to: "berth.conf")
        let container = try Inhabited(box)
        let ended = try container.exec(probe: "fds")
        #expect(ended.lines.count == 1 && ended.output.contains("/lease"), "\(ended)")
        try container.end()
    }

    // MARK: Which container

    @Test func namesAreTakenWhileTheContainerRuns() throws {
        let box = try Box(.any)
        let name = "exec-" + UUID().uuidString.prefix(8)
        let container = try Inhabited(box, ["--name", name])
        #expect(try container.exec(in: name, probe: "pid").status == 0)
        let second = try box.run(["--name", name], probe: "id")
        #expect(second.status == 125 && second.errors.contains("the name \(name) is in use"), "\(second)")
        #expect(second.errors.contains("process \(container.process)"), "\(second)")
        let typo = try container.exec(in: name.dropLast() + "_", probe: "id")
        #expect(typo.status == 125 && typo.errors.contains("did you mean \(name)?"), "\(typo)")
        try container.end()
        #expect(try container.exec(in: name, probe: "id").status == 125)
        #expect(try box.run(["--name", name], probe: "exit", "3").status == 3)
        for wrong in ["", "-a", "7", "7.0", "a:b", "a/b"] {
            #expect(try box.run(["--name", wrong], probe: "id").status == 125, "\(wrong)")
        }
    }

    @Test func ofTwoTasksThatWantANameAtOnceOneGetsIt() throws {
        let box = try Box(.any)
        let name = "race-" + UUID().uuidString.prefix(8)
        let all = try (0..<6).map { _ in
            try box.command(["--name", name], probe: ["signal", "\(SIGTERM)"]).start()
        }
        for running in all { try running.until("an end") { $0.printed == "ready\n" || !$0.complained.isEmpty } }
        #expect(all.count { $0.printed == "ready\n" } == 1)
        for running in all {
            running.signal(SIGTERM)
            _ = try running.wait()
        }
    }

    /// Another launch that pulls its image has the name for minutes.
    @Test func waitingForANameIsReported() throws {
        let box = try Box(.any)
        let name = "wait-" + UUID().uuidString.prefix(8)
        let words = ["--store", box.path("home/store"), "--name", String(name)]
        #expect(try box.run(words, probe: "id").status == 0)
        let locks = box.path("home/store/locks")
        let lock = try #require(try FileManager.default.contentsOfDirectory(atPath: locks).first { $0.hasPrefix("containers-") })
        var held = Optional(try FileLocks.hold(locks + "/" + lock, .exclusive))
        let waiting = try box.command(words, probe: ["id"]).start()
        try waiting.until("the note") { $0.complained.contains("is starting a container with the name \(name)") }
        withExtendedLifetime(held) {}
        held = nil
        #expect(try waiting.wait().status == 0)
    }

    @Test func jobsAndStepsNameContainers() throws {
        let job = "\(UInt32.random(in: 1_000_000_000..<2_000_000_000))"
        func step(_ number: Int) -> [String: String] {
            ["SLURM_JOB_ID": job, "SLURM_STEP_ID": "\(number)", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"]
        }
        let one = try Inhabited(try Box(.any), environment: step(0))
        #expect(try one.exec(in: job, probe: "env", "SLURM_STEP_ID").lines == ["SLURM_STEP_ID=0"])
        let other = try Inhabited(try Box(.any), environment: step(1))
        let both = try one.exec(in: job, probe: "id")
        #expect(both.status == 125 && both.errors.contains("\(job) stands for 2 containers"), "\(both)")
        #expect(both.errors.contains("\(one.process)  \(job).0") && both.errors.contains("\(other.process)  \(job).1"), "\(both)")
        #expect(try one.exec(in: "\(job).1", probe: "env", "SLURM_STEP_ID").lines == ["SLURM_STEP_ID=1"])
        try one.end()
        try other.end()
        let ended = try one.exec(in: job, probe: "id")
        #expect(ended.status == 125 && ended.errors.contains("srun --overlap --jobid=\(job)"), "\(ended)")
    }

    @Test func whatIsNoContainerIsAnError() throws {
        let box = try Box(.any)
        for words in [["exec"], ["exec", "x"], ["exec", "--volume", "a:b", "x", "id"], ["exec", "-d", "x", "id"]] {
            let ended = try box.run(berth: words)
            #expect(ended.status == 125 && ended.errors.hasPrefix("berth: "), "\(words) \(ended)")
        }
        let own = try box.shell("exec \"$BERTH\" exec $$ id").run()
        #expect(own.status == 125 && own.errors.contains("is in no container of yours"), "\(own)")
    }

    /// Whenever the container ends, the command runs or an error says that there is none.
    @Test func aContainerThatEndsMeanwhile() throws {
        let box = try Box(.any)
        for _ in 0..<15 {
            let container = try Inhabited(box)
            let commands = try (0..<3).map { _ in try container.command(probe: ["exit"]).start() }
            container.running.signal(SIGTERM)
            _ = try container.running.wait()
            for ended in try commands.map({ try $0.wait() }) where ended.status != 0 {
                let isTold = ["ended before the command could start", "no running container", "is in no container"]
                    .contains(where: ended.errors.contains)
                #expect(ended.status == 125 && isTold, "\(ended)")
            }
        }
    }
}
