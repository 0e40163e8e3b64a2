import Foundation
import Testing
import TestSupport

/// The tasks of a step on one node, without Slurm: its variables are set by hand.
struct Step: Sendable {
    let box: Box
    let tasks: Int
    let job = "t" + UUID().uuidString.prefix(8)
    private let before = Set(Self.places())

    init(_ caller: Caller, tasks: Int, joinWait: Int = 30_000, settings: String = "") throws {
        box = try Box(caller)
        self.tasks = tasks
        try box.directory.write("join-wait = \(joinWait)\n" + settings, to: "berth.conf")
        try box.directory.makeDirectory("out", mode: 0o777)
    }

    func environment(_ task: Int) -> [String: String] {
        [
            "SLURM_JOB_ID": String(job), "SLURM_STEP_ID": "0", "SLURM_PROCID": "\(task)", "SLURM_LOCALID": "\(task)",
            "SLURM_NODEID": "0",
            "SLURM_STEP_TASKS_PER_NODE": "\(tasks)",
        ]
    }

    func start(_ task: Int, _ options: [String] = [], _ words: String..., mark: Mark? = nil) throws -> Running {
        let more = environment(task).merging(mark?.environment ?? [:]) { $1 }
        return try box.command(["-v", "./out:/out"] + options, probe: words, environment: more).start()
    }

    /// The directories in which tasks of this step meet: those that were not there when it began.
    var names: [String] { Set(Self.places()).subtracting(before).sorted() }

    private static func places() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/dev/shm")) ?? []  // none can meet there
        // Of test users too: the suite runs as root, its steps as others.
        return names.filter { $0.hasPrefix("berth-") }
    }

    func awaitBuilder() throws {
        for _ in 0..<6000 {
            if names.contains(where: { FileManager.default.fileExists(atPath: "/dev/shm/\($0)/socket") }) { return }
            usleep(10_000)
        }
        throw TestSupportError("nobody listens")
    }
}

extension Ended {
    /// What `probe ns` printed, by kind.
    func namespace(_ kind: String) -> String? { lines.first { $0.hasPrefix(kind + ":") } }
}

@Suite(.needsLauncher, .serialized) struct StepTests {
    @Test(arguments: Caller.all) func tasksShareOneUserAndOneMountNamespace(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 4)
        let ended = try (0..<4).map { try step.start($0, [], "ns") }.map { try $0.wait() }
        for task in ended { #expect(task.status == 0, "\(task)") }
        for kind in ["user", "mnt", "uts", "pid", "net", "ipc"] {
            #expect(Set(ended.map { $0.namespace(kind) }).count == 1, "\(kind)")
        }
        let own = try Command(["readlink", "/proc/self/ns/mnt"]).run().lines
        #expect(ended[0].namespace("mnt") != own.first)
        #expect(step.names == [])
    }

    @Test(arguments: Caller.all) func sixtyFourAtOnce(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 64, joinWait: 60_000)
        let mark = Mark()
        let ended = try (0..<64).map { try step.start($0, [], "ns", "--", "fds", "--", "exit", "\($0)", mark: mark) }
            .map { try $0.wait() }
        for (number, task) in ended.enumerated() { #expect(task.status == Int32(number), "\(task)") }
        #expect(Set(ended.map { $0.namespace("mnt") }).count == 1)
        #expect(Set(ended.map { $0.namespace("user") }).count == 1)
        for task in ended { #expect(task.lines.count == 7, "no descriptor is handed on: \(task)") }
        #expect(mark.processes == [])
        #expect(step.names == [])
    }

    @Test(arguments: Caller.all) func whatOneWritesTheOthersSeeAndEachIsItsOwnProcess(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 2, joinWait: 30_000)
        let one = try step.start(
            0, ["-w", "/etc", "-e", "WHO=one"], "write", "/shared", "x", "--", "cwd", "--", "env", "WHO",
            "SLURM_PROCID", "--", "meet", "/out/one", "/out/go")
        let other = try step.start(
            1, ["-w", "/bin", "-e", "WHO=other"], "meet", "/out/other", "/out/one", "--", "cat", "/shared", "--", "cwd",
            "--", "env", "WHO", "SLURM_PROCID", "--", "write", "/out/go", "")
        let (first, second) = (try one.wait(), try other.wait())
        #expect(first.lines == ["/shared: ok", "/etc", "WHO=one", "SLURM_PROCID=0"], "\(first)")
        #expect(second.output == "x/bin\nWHO=other\nSLURM_PROCID=1\n/out/go: ok\n", "\(second)")
    }

    @Test(arguments: Caller.all) func anyTaskMayEndFirst(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 3)
        let first = try step.start(0, [], "exit", "5")
        let last = try step.start(
            1, [], "meet", "/out/here", "/out/go", "--", "open", "/dev/null", "/dev/zero", "/dev/shm", "--", "mounts",
            "/", "--", "exit", "6")
        let second = try step.start(2, [], "kill", "9")
        #expect(try first.wait().status == 5)
        #expect(try second.wait().signal == 9)
        try last.until("the last") { _ in step.box.directory.exists("out/here") }
        try step.box.directory.write("", to: "out/go")
        let ended = try last.wait()
        #expect(ended.status == 6, "\(ended)")
        #expect(ended.lines.prefix(3) == ["/dev/null: ok", "/dev/zero: ok", "/dev/shm: ok"], "\(ended)")
    }

    @Test(arguments: Caller.all) func aHostNameAndAScratchDirectoryAreSharedToo(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 2)
        try step.box.directory.makeDirectory("scratch", mode: 0o1777)
        try step.box.directory.write("join-wait = 30000\nscratch = \(step.box.path("scratch"))\n", to: "berth.conf")
        let ended = try (0..<2).map {
            try step.start($0, ["--hostname", "trainer"], "hostname", "--", "ns", "--", "fds")
        }.map { try $0.wait() }
        for task in ended {
            #expect(task.lines.first == "trainer", "\(task)")
            #expect(
                task.lines.count == 9 && task.lines.last?.hasSuffix("/lease") == true,
                "the scratch's lease alone: \(task)")
        }
        #expect(Set(ended.map { $0.namespace("uts") }).count == 1)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: step.box.path("scratch/berth-\(caller.user)")).count
                == 1)
    }

    @Test(arguments: Caller.all) func tasksThatAskForDifferentContainersGetTheirOwn(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 2, joinWait: 300)
        // Both at once: the kernel gives a namespace's number away again as soon as it is free.
        let ended = try [
            step.start(0, [], "ns", "--", "meet", "/out/one", "/out/other"),
            step.start(1, ["--read-only"], "ns", "--", "meet", "/out/other", "/out/one"),
        ].map { try $0.wait() }
        for task in ended { #expect(task.status == 0, "\(task)") }
        #expect(ended[0].namespace("mnt") != ended[1].namespace("mnt"))
    }

    @Test(arguments: Caller.all) func twoStepsAtOnceShareNothing(_ caller: Caller) throws {
        // All alive at once, or the kernel could give the second the numbers of the first.
        let steps = try (0..<2).map { _ in try Step(caller, tasks: 2) }
        let running = try steps.flatMap { step in
            try (0..<2).map { try step.start($0, [], "ns", "--", "meet", "/out/\($0)", "/out/go") }
        }
        for (number, task) in running.enumerated() {
            try task.until("task \(number)") { _ in steps[number / 2].box.directory.exists("out/\(number % 2)") }
        }
        for step in steps { try step.box.directory.write("", to: "out/go") }
        let spaces = try running.map { try $0.wait().namespace("mnt") }
        #expect(spaces[0] == spaces[1] && spaces[2] == spaces[3] && spaces[0] != spaces[2], "\(spaces)")
    }

    @Test(arguments: Caller.all) func aTaskThatNeverComesCostsOnlyTheWait(_ caller: Caller) throws {
        // Long enough for the second task to come in time on a busy machine.
        let step = try Step(caller, tasks: 3, joinWait: 6000)
        let begun = Date()
        let ended = try (0..<2).map { try step.start($0, [], "ns") }.map { try $0.wait() }
        let seconds = Date().timeIntervalSince(begun)
        for task in ended { #expect(task.status == 0, "\(task)") }
        #expect(ended[0].namespace("mnt") == ended[1].namespace("mnt"))
        #expect(seconds > 5.9 && seconds < 66, "\(seconds) s")
    }

    @Test(arguments: Caller.all) func aLatecomerBuildsHisOwn(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 2, joinWait: 100)
        let first = try step.start(0, [], "ns").wait()
        let late = try step.start(1, [], "ns").wait()
        #expect(first.status == 0 && late.status == 0, "\(first) \(late)")
        #expect(step.names == [])
    }

    // MARK: Failures

    @Test(arguments: Caller.all) func aBuilderKilledWhileItWaitsIsReplaced(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 3)
        let builder = try step.start(0, [], "ns")
        try step.awaitBuilder()
        let second = try step.start(1, [], "ns")
        usleep(300_000)
        builder.signal(SIGKILL)
        #expect(try builder.wait().signal == SIGKILL)
        // The second is the builder now; the step's first task starts once more in the place of the dead one.
        let third = try step.start(2, [], "ns")
        let again = try step.start(0, [], "ns")
        let ended = try [second, third, again].map { try $0.wait() }
        for task in ended { #expect(task.status == 0, "\(task)") }
        #expect(Set(ended.map { $0.namespace("mnt") }).count == 1)
        #expect(step.names == [])
    }

    @Test(.needsStrace, arguments: Caller.all, ["pivot_root", "move_mount", "sendmsg"])
    func aBuilderKilledAtWorkIsReplaced(_ caller: Caller, _ call: String) throws {
        let step = try Step(caller, tasks: 2, joinWait: 1500)
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e", "inject=\(call):signal=KILL:when=1",
        ]
        let launch = [step.box.fixture.berth, "run", "-v", "./out:/out", step.box.image, "--", "probe", "ns"]
        let environment = step.box.environment.merging(step.environment(0)) { $1 }
        let builder = try Command(
            caller.running(trace + launch), environment: environment, directory: step.box.directory.path
        ).start()
        try step.awaitBuilder()
        let other = try step.start(1, [], "ns").wait()
        #expect(other.status == 0, "\(other)")
        let dead = try builder.wait()
        #expect(dead.status != 0, "\(dead)")
        #expect(dead.output.isEmpty)
    }

    @Test(arguments: Caller.all) func aBuilderThatFailsSaysWhyAndTheOthersSaySo(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 4)
        let ended = try (0..<4).map { try step.start($0, ["-v", "/nonexistent:/x"], "id") }.map { try $0.wait() }
        for task in ended { #expect(task.status == 125 && task.output.isEmpty, "\(task)") }
        #expect(
            ended.filter { $0.errors.contains("cannot mount /nonexistent: source path does not exist on this host") }
                .count == 1)
        #expect(ended.filter { $0.errors.contains("on this node failed to create the container") }.count == 3)
        #expect(step.names == [])
    }

    @Test(arguments: Caller.all) func aCommandThatIsMissingIsEachTasksOwnAffair(_ caller: Caller) throws {
        let step = try Step(caller, tasks: 2)
        func start(_ task: Int, _ command: [String]) throws -> Running {
            try step.box.command(berth: ["run", step.box.image, "--"] + command, environment: step.environment(task))
                .start()
        }
        let (bad, good) = (try start(0, ["missing"]), try start(1, ["probe", "exit", "3"]))
        #expect(try bad.wait().status == 127)
        #expect(try good.wait().status == 3)
    }

    @Test(.needsRoot) func anotherUsersDirectoryOnlyMovesTheMeetingPlace() throws {
        let step = try Step(.ordinary, tasks: 2)
        let scout = try step.start(0, [], "ns")
        try step.awaitBuilder()
        let name = try #require(step.names.first)
        scout.signal(SIGKILL)
        _ = try scout.wait()
        // The name can be computed: in each place but the home directory another user makes it first.
        let taken = ["/dev/shm", "/tmp", "/var/tmp"].map { "\($0)/\(name)" }
        defer { for path in taken { try? FileManager.default.removeItem(atPath: path) } }  // never made
        for path in taken {
            try? FileManager.default.removeItem(atPath: path)  // the scout's; elsewhere there is none
            #expect(mkdir(path, 0o777) == 0 && chown(path, 65534, 65534) == 0)
        }
        func start(_ task: Int, _ more: [String: String] = [:]) throws -> Running {
            let all = step.environment(task).merging(more) { $1 }
            return try step.box.command(["-v", "./out:/out"], probe: ["ns"], environment: all).start()
        }
        let met = try (0..<2).map { try start($0) }.map { try $0.wait() }
        for task in met { #expect(task.status == 0, "\(task)") }
        #expect(met[0].namespace("mnt") == met[1].namespace("mnt"))
        // Nor in a home directory where others could rename it.
        let refused = try start(0, ["HOME": step.box.path("out")]).wait()
        #expect(refused.status == 125 && refused.errors.contains("owned by another user"), "\(refused)")
    }
}
