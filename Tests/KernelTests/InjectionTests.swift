import Foundation
import Testing
import TestSupport

/// Every call of the launch is made to fail once, in the shipped program: strace(1), "Tampering".
@Suite(.needsLauncher, .needsStrace, .serialized) struct InjectionTests {
    struct Call: Sendable, CustomTestStringConvertible {
        let name: String
        var error = "EPERM"
        var options: [String] = []
        var callers = Caller.all
        var testDescription: String { name + " " + error }
    }

    /// Calls of which every single failure must end the launch.
    static let calls: [Call] = [
        Call(name: "unshare"),
        Call(name: "unshare", error: "ENOSPC"),
        Call(name: "mount"),
        Call(name: "mount", error: "ENODEV"),
        Call(name: "open_tree", error: "EMFILE"),
        Call(name: "move_mount", error: "EINVAL"),
        Call(name: "mount_setattr", error: "EINVAL"),
        Call(name: "pivot_root", error: "EINVAL"),
        Call(name: "umount2"),
        Call(name: "sethostname", options: ["--hostname", "h"]),
        Call(name: "setrlimit,prlimit64"),
        Call(name: "fchdir", error: "EACCES"),
        Call(name: "mkdirat", error: "ENOSPC", options: ["-v", "./d:/new/deep/d"]),
        Call(name: "symlinkat", error: "ENOSPC"),
        Call(name: "capset", callers: [.root]),
    ]

    static func box(_ caller: Caller) throws -> Box {
        let box = try Box(caller)
        try box.directory.makeDirectory("d", mode: 0o777)
        return box
    }

    static func inject(_ box: Box, _ call: String, _ error: String, _ number: Int, _ options: [String], mark: Mark)
        throws -> Ended
    {
        let launch =
            [box.fixture.berth, "run"] + options + ["-v", "./d:/d:ro", box.image, "--", "probe", "exit", "42"]
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
            "inject=\(call):error=\(error):when=\(number)",
        ]
        let environment = box.environment.merging(mark.environment) { $1 }
        return try Command(box.caller.running(trace + launch), environment: environment, directory: box.directory.path)
            .run()
    }

    @Test(arguments: calls) func eachSingleFailureIsNamedAndLeavesNothing(_ call: Call) throws {
        for caller in call.callers where Caller.all.contains(caller) {
            let box = try Self.box(caller)
            let before = try (box.fingerprint(), FileManager.default.contents(atPath: "/proc/self/mountinfo"))
            let mark = Mark()
            var number = 0
            var failed = 0
            var wentWell = 0
            // Many that went well in a row: the call is not made so often, and each time before has failed once. Some are
            // the C library's own calls, and limits that the launcher does without.
            let patience = call.name.hasPrefix("setrlimit") ? 30 : 12
            while wentWell < patience, number < 80 {
                number += 1
                let ended = try Self.inject(box, call.name, call.error, number, call.options, mark: mark)
                if ended.status == 42 {
                    wentWell += 1
                    continue
                }
                wentWell = 0
                failed += 1
                let context: Comment = "\(caller) \(call.name) no. \(number): \(ended)"
                #expect(ended.status == 125, context)
                #expect(ended.errors.hasPrefix("berth: "), context)
                #expect(ended.errors.contains("(\(call.error))") || ended.errors.contains("cannot"), context)
                #expect(ended.errors.contains("  step ") || Self.isOfTheProcess(ended.errors), context)
                #expect(ended.output.isEmpty, context)
            }
            #expect(failed > 0, "\(caller): \(call.name) was never called")
            #expect(number < 80)
            #expect(try box.fingerprint() == before.0)
            #expect(FileManager.default.contents(atPath: "/proc/self/mountinfo") == before.1)
            #expect(mark.processes == [])
        }
    }

    private static func isOfTheProcess(_ text: String) -> Bool {
        ["cannot set the limit", "working directory", "capset", "prctl", "cannot read", "getrlimit"].contains {
            text.contains($0)
        }
    }

    /// Opening fails in many places, some of which do without: never a crash, never a silent half.
    @Test(.needsStaticLauncher, arguments: ["EACCES", "EMFILE", "EIO"])
    func anOpeningThatFailsEndsTheLaunchOrIsDoneWithout(_ error: String) throws {
        let box = try Self.box(.any)
        let before = try box.fingerprint()
        for number in 1..<140 {
            let ended = try Self.inject(box, "openat", error, number, [], mark: Mark())
            let context: Comment = "openat no. \(number): \(ended)"
            #expect(
                ended.status == 125 || ended.status == 42 || (ended.status == 126 && ended.errors.isEmpty == false),
                context)
            #expect(ended.signal == nil, context)
            if ended.status != 42 { #expect(ended.errors.hasPrefix("berth: "), context) }
        }
        #expect(try box.fingerprint() == before)
    }

    /// What the kernel says of an older one must lead to the older way, with the same result.
    @Test(
        arguments: [
            ["open_tree"], ["mount_setattr"], ["move_mount"], ["openat2"], ["open_tree", "mount_setattr"],
            ["open_tree", "move_mount", "mount_setattr", "openat2", "close_range"],
        ], ["ENOSYS", "EPERM"])
    func kernelsWithoutTheNewerMountCallsWork(_ missing: [String], _ error: String) throws {
        for caller in Caller.all {
            let box = try Self.box(caller)
            let probe = [
                "write", "/d/f", "x", "--", "ls", "/dev", "--", "write", "/sys/x", "x", "--", "write", "/new", "x",
                "--", "mounts", "/", "--", "open", "/dev/null",
            ]
            let options = ["-v", "./d:/d:ro"]
            let plain = try box.run(
                options, probe: "write", "/d/f", "x", "--", "ls", "/dev", "--", "write", "/sys/x", "x", "--", "write",
                "/new", "x", "--", "mounts", "/", "--", "open", "/dev/null")
            let trace =
                ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(missing.joined(separator: ","))"]
                + missing.flatMap { ["-e", "inject=\($0):error=\(error)"] }
            let old = try Command(
                caller.running(trace + [box.fixture.berth, "run"] + options + [box.image, "--", "probe"] + probe),
                environment: box.environment, directory: box.directory.path
            ).run()
            #expect(old.status == 0, "\(old)")
            #expect(old.output == plain.output)
            #expect(old.lines.first == "/d/f: EROFS")
        }
    }

    /// Calls of later kernels that Berth can do without, or does not make.
    @Test(
        .needsStrace, arguments: ["close_range", "statx", "pidfd_open", "clone3", "renameat2", "openat2"],
        ["ENOSYS", "EPERM"])
    func kernelsWithoutThisCallWork(_ missing: String, _ error: String) throws {
        for caller in Caller.all {
            let ended = try Self.without(missing, error, Self.box(caller))
            #expect(ended.status == 42, "\(ended)")
        }
    }

    /// Older filters of Docker and systemd-nspawn answer so for calls that they do not know.
    @Test(.needsStrace, arguments: ["mount", "umount2", "pivot_root", "unshare"])
    func aRefusedCallWithoutAnotherWayNamesSeccomp(_ call: String) throws {
        for caller in Caller.all {
            let ended = try Self.without(call, "EPERM", Self.box(caller))
            #expect(ended.status == 125, "\(ended)")
            #expect(ended.errors.contains("seccomp"), "\(caller) \(ended)")
        }
    }

    /// What kernels before 5.11 say to a user, and to root, who may mount overlayfs but not with `userxattr`.
    @Test(.needsStrace, arguments: [("EPERM", Caller.ordinary), ("EINVAL", .root), ("ENODEV", .ordinary)])
    func withoutOverlayfsForUsersNothingStarts(_ error: String, _ caller: Caller) throws {
        guard Caller.all.contains(caller) else { return }
        let box = try Self.box(caller)
        var seen = 0
        // The mount of the root is one of the first.
        for number in 1...8 {
            let ended = try Self.inject(box, "mount", error, number, [], mark: Mark())
            guard ended.errors.contains("overlayfs") else { continue }
            seen += 1
            #expect(ended.status == 125, "\(ended)")
            #expect(ended.errors.hasPrefix("berth: cannot join the image's layers with overlayfs: "), "\(ended)")
            #expect(ended.errors.contains("(\(error))") && ended.errors.contains("5.11"), "\(ended)")
        }
        #expect(seen > 0)
    }

    private static func without(_ call: String, _ error: String, _ box: Box) throws -> Ended {
        let trace = [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e", "inject=\(call):error=\(error)",
        ]
        return try Command(
            box.caller.running(trace + [box.fixture.berth, "run", box.image, "--", "probe", "exit", "42"]),
            environment: box.environment, directory: box.directory.path
        ).run()
    }

    @Test func interruptedCallsAreMadeAgain() throws {
        let box = try Self.box(.any)
        for call in ["openat", "mount", "fchdir"] {
            let ended = try Self.inject(box, call, "EINTR", 3, [], mark: Mark())
            #expect(ended.status == 42, "\(call): \(ended)")
        }
    }

    /// However far a launch has come when it is killed, nothing of it stays.
    @Test(arguments: ["unshare", "mount", "move_mount", "pivot_root", "umount2"]) func aKilledLaunchLeavesNothing(
        _ call: String
    ) throws {
        for caller in Caller.all {
            let box = try Self.box(caller)
            let before = try (box.fingerprint(), FileManager.default.contents(atPath: "/proc/self/mountinfo"))
            let mark = Mark()
            let trace = [
                "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                "inject=\(call):signal=KILL:when=1",
            ]
            let ended = try Command(
                caller.running(trace + [box.fixture.berth, "run", box.image, "--", "probe", "id"]),
                environment: box.environment.merging(mark.environment) { $1 }, directory: box.directory.path
            ).run()
            #expect(ended.output.isEmpty, "\(ended)")
            #expect(mark.processes == [])
            #expect(try box.fingerprint() == before.0)
            #expect(FileManager.default.contents(atPath: "/proc/self/mountinfo") == before.1)
        }
    }
}

/// The kernel that the tests run on.
enum Kernel {
    static let release =
        FileManager.default.contents(atPath: "/proc/sys/kernel/osrelease").map { String(decoding: $0, as: UTF8.self) }?
        .trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
    static let isOld: Bool = {
        let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) < (5, 11)
    }()
}

/// On one that is really old.
@Suite(.needsLauncher, .enabled(if: Kernel.isOld, "needs Linux before 5.11: Scripts/test vm")) struct OldKernelTests {
    @Test(arguments: Caller.all) func itIsNamed(_ caller: Caller) throws {
        let ended = try Box(caller).run(probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("hint: this is Linux \(Kernel.release): overlayfs"), "\(ended)")
    }

    @Test func theDoctorsTrialFailsAsALaunchDoes() throws {
        for caller in Caller.all {
            let ended = try Box(caller).run(berth: ["probe"])
            #expect(ended.lines.contains { $0.hasPrefix("overlay ") && $0 != "overlay 0" }, "\(ended)")
        }
    }
}
