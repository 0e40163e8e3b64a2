import Foundation
import Testing
import TestSupport

/// 125, 126, 127: what keeps the command from running is told apart, named, and leaves nothing.
@Suite(.needsLauncher) struct CommandFailureTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let command: [String]
        let status: Int32
        let says: [String]
    }

    static let cases: [Case] = [
        Case(
            testDescription: "not in PATH", command: ["missing"], status: 127,
            says: ["missing: command not found in the container", "searched in PATH: /usr/local/sbin:"]),
        Case(
            testDescription: "no such file", command: ["/missing"], status: 127,
            says: ["/missing: no such file in the container"]),
        Case(
            testDescription: "below a file", command: ["/etc/passwd/x"], status: 127,
            says: ["/etc/passwd/x: no such file"]),
        Case(testDescription: "empty name", command: [""], status: 127, says: ["command not found"]),
        Case(
            testDescription: "not executable", command: ["/etc/passwd"], status: 126,
            says: ["cannot execute /etc/passwd: Permission denied (EACCES)", "chmod +x"]),
        Case(
            testDescription: "not executable, in PATH", command: ["plain"], status: 126,
            says: ["cannot execute /bin/plain: Permission denied (EACCES)"]),
        Case(
            testDescription: "a directory", command: ["/etc"], status: 126,
            says: ["cannot execute /etc: it is a directory"]),
        Case(
            testDescription: "a directory in PATH", command: ["folder"], status: 127,
            says: ["folder: command not found"]),
        Case(
            testDescription: "script without its interpreter", command: ["/bin/script"], status: 126,
            says: ["cannot execute /bin/script: its interpreter /bin/nobash does not exist"]),
        Case(
            testDescription: "script without its interpreter, in PATH", command: ["script"], status: 126,
            says: ["/bin/nobash does not exist"]),
        Case(
            testDescription: "script with the line ends of Windows", command: ["/bin/windows"], status: 126,
            says: ["its first line ends in a carriage return, so the interpreter is \"/bin/probe\\r\"", "sed -i"]),
        Case(
            testDescription: "an option behind the image", command: ["-it", "bash"], status: 127,
            says: ["-it: command not found", "write options before the image"]),
        Case(
            testDescription: "a command line in quotes", command: ["python train.py"], status: 127,
            says: ["python train.py: command not found", "the quotes make it one word"]),
        Case(
            testDescription: "a command line in quotes, by its path", command: ["/bin/probe id"], status: 127,
            says: ["the quotes make it one word"]),
        Case(testDescription: "cd", command: ["cd", "/x"], status: 127, says: ["built into the shell", "--workdir"]),
        Case(
            testDescription: "source", command: ["source", "x"], status: 127, says: ["built into the shell", "sh -c"]),
        Case(
            testDescription: "export", command: ["export", "A=1"], status: 127,
            says: ["built into the shell", "-e NAME"]),
        Case(
            testDescription: "ulimit", command: ["ulimit", "-n"], status: 127,
            says: ["built into the shell", "--ulimit"]),
        Case(
            testDescription: "module", command: ["module", "load"], status: 127, says: ["function of the host's shell"]),
        Case(
            testDescription: "a variable", command: ["A=1", "probe"], status: 127, says: ["before the image", "-e A=1"]),
        Case(
            testDescription: "program without its loader", command: ["/bin/dynamic"], status: 126,
            says: ["cannot execute /bin/dynamic: its interpreter /lib64/ld-none.so does not exist"]),
        Case(
            testDescription: "script without a first line", command: ["/bin/bare"], status: 126,
            says: ["cannot execute /bin/bare: neither a program nor a script"]),
        Case(
            testDescription: "empty file", command: ["/bin/nothing"], status: 126,
            says: ["neither a program nor a script"]),
        Case(
            testDescription: "for aarch64", command: ["/bin/arm64"], status: 126,
            says: ["cannot execute /bin/arm64: it is for aarch64 (linux/arm64)", "--platform"]),
        Case(testDescription: "for ppc64", command: ["ppc"], status: 126, says: ["it is for ppc64"]),
        Case(
            testDescription: "dangling link", command: ["/bin/dangling"], status: 127,
            says: ["/bin/dangling: no such file"]),
        Case(
            testDescription: "link to itself", command: ["/bin/circle"], status: 126,
            says: ["cannot execute /bin/circle: Too many levels of symbolic links (ELOOP)"]),
    ]

    static func box(_ caller: Caller = .any) throws -> Box {
        let box = try Box(caller)
        try box.directory.write("#!/bin/nobash -e\n", to: "rootfs/bin/script", mode: 0o755)
        try box.directory.write("echo hello\n", to: "rootfs/bin/bare", mode: 0o755)
        try box.directory.write("#!/bin/probe\r\nid\r\n", to: "rootfs/bin/windows", mode: 0o755)
        try box.directory.write("", to: "rootfs/bin/nothing", mode: 0o755)
        try box.directory.write("x", to: "rootfs/bin/plain")
        try box.directory.makeDirectory("rootfs/bin/folder")
        try box.directory.link("rootfs/bin/dangling", to: "nowhere")
        try box.directory.link("rootfs/bin/circle", to: "circle")
        try box.directory.write(elf(machine: 183), to: "rootfs/bin/arm64", mode: 0o755)
        try box.directory.write(elf(machine: 21), to: "rootfs/bin/ppc", mode: 0o755)
        try box.directory.write(
            elf(machine: ownMachine, loader: "/lib64/ld-none.so"), to: "rootfs/bin/dynamic", mode: 0o755)
        box.give("rootfs")
        return box
    }

    #if arch(arm64)
        static let ownMachine: UInt16 = 183
    #else
        static let ownMachine: UInt16 = 62
    #endif

    /// A program of no instructions: elf(5)'s header, a loadable segment, and one that names the loader.
    static func elf(machine: UInt16, loader: String? = nil) -> [UInt8] {
        var bytes: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
        func put(_ value: UInt64, _ width: Int) {
            for byte in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(byte)))) }
        }
        let name: [UInt8] = loader.map { Array($0.utf8) + [0] } ?? []
        let segments = loader == nil ? 1 : 2
        put(2, 2)  // ET_EXEC
        put(UInt64(machine), 2)
        put(1, 4)
        put(0x400000, 8)  // entry
        put(64, 8)  // program headers
        put(0, 8)
        put(0, 4)
        for value in [64, 56, UInt64(segments), 64, 0, 0] as [UInt64] { put(value, 2) }
        func segment(_ type: UInt64, offset: UInt64, size: UInt64) {
            put(type, 4)
            put(5, 4)
            for value in [offset, 0x400000 + offset, 0x400000 + offset, size, size, 0x1000] as [UInt64] {
                put(value, 8)
            }
        }
        let end = UInt64(64 + 56 * segments)
        if loader != nil { segment(3, offset: end, size: UInt64(name.count)) }
        segment(1, offset: 0, size: end + UInt64(name.count))
        return bytes + name
    }

    @Test(arguments: cases) func theReasonIsNamedAndTheStatusTellsTheKind(_ test: Case) throws {
        let box = try Self.box()
        let ended = try box.run(berth: ["run", box.image, "--"] + test.command)
        #expect(ended.status == test.status, "\(ended)")
        #expect(ended.errors.hasPrefix("berth: "))
        for words in test.says { #expect(ended.errors.contains(words), "\(ended)") }
        #expect(ended.output.isEmpty)
    }

    @Test func thePathSearchedIsTheOneInside() throws {
        let box = try Self.box()
        #expect(try box.run(["-e", "PATH=/nowhere"], probe: "id").status == 127)
        let ended = try box.run(berth: ["run", "-e", "PATH=/etc:/bin", "-w", "/bin", box.image, "probe", "exit", "7"])
        #expect(ended.status == 7, "\(ended)")
        let relative = try box.run(berth: ["run", "-w", "/bin", box.image, "./probe", "exit", "8"])
        #expect(relative.status == 8, "\(relative)")
    }

    @Test func whatIsFoundLaterInThePathWinsOverWhatIsRefusedEarlier() throws {
        let box = try Self.box()
        try box.directory.write("not executable", to: "rootfs/first/probe")
        box.give("rootfs")
        let ended = try box.run(["-e", "PATH=/first:/bin"], probe: "exit", "9")
        #expect(ended.status == 9, "\(ended)")
    }

    // MARK: 125

    static let ownFailures: [Case] = [
        Case(
            testDescription: "unknown option", command: ["--gpu", "all", "IMAGE"], status: 125,
            says: ["unknown option --gpu"]),
        Case(testDescription: "no image", command: [], status: 125, says: ["no image given"]),
        Case(
            testDescription: "value missing", command: ["--volume"], status: 125,
            says: ["option --volume needs a value"]),
        Case(
            testDescription: "bad value", command: ["--pull", "now", "IMAGE"], status: 125,
            says: ["option --pull cannot be \"now\"", "missing, always, newer or never"]),
        Case(
            testDescription: "named volume", command: ["-v", "data:/x", "IMAGE"], status: 125,
            says: ["\"data\" is not a path"]),
        Case(
            testDescription: "no such rootfs", command: ["dir:/nonexistent"], status: 125,
            says: ["cannot use /nonexistent as a root file system: No such file or directory (ENOENT)"]),
        Case(
            testDescription: "rootfs is a file", command: ["dir:/etc/passwd"], status: 125, says: ["it is no directory"]
        ),
        Case(
            testDescription: "path of nothing", command: ["/srv/image"], status: 125,
            says: ["cannot run /srv/image", "ENOENT", "check the path on this node"]),
        Case(testDescription: "no image name", command: ["upper/Case"], status: 125, says: ["upper-case"]),
        Case(
            testDescription: "not in the store", command: ["--pull", "never", "--store", "/nonexistent", "debian:12"],
            status: 125, says: ["the image debian:12 is not in the store /nonexistent", "berth pull debian:12"]),
        Case(
            testDescription: "bad platform", command: ["--platform", "linux/amd64/v1/x", "IMAGE"], status: 125,
            says: ["is not a platform"]),
        Case(
            testDescription: "no GPU", command: ["--gpus", "all", "IMAGE"], status: 125,
            says: ["no GPU can be opened here"]),
        Case(
            testDescription: "GPU not granted", command: ["--gpus", "device=7", "IMAGE"], status: 125,
            says: ["GPU 7 is not among the 0 granted here"]),
        Case(
            testDescription: "fewer GPUs than that", command: ["--gpus", "7", "IMAGE"], status: 125,
            says: ["--gpus 7 asks for 7 GPUs, but 0 are granted here", "--gpus device=N"]),
    ]

    @Test(arguments: ownFailures) func itsOwnFailuresExitWith125AndSayWhatToDo(_ test: Case) throws {
        if test.testDescription.contains("GPU"), FileManager.default.fileExists(atPath: "/dev/nvidia0") { return }
        let box = try Self.box()
        let ended = try box.run(berth: ["run"] + test.command.map { $0 == "IMAGE" ? box.image : $0 })
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.hasPrefix("berth: "))
        #expect(ended.errors.contains("\n  hint: "), "\(ended)")
        for words in test.says { #expect(ended.errors.contains(words), "\(ended)") }
    }

    @Test func aConfigurationThatMeansNothingIsNamedWithFileAndLine() throws {
        let box = try Self.box()
        try box.directory.write("home = yes\ncolour = red\n", to: "berth.conf")
        let ended = try box.run(probe: "id")
        #expect(ended.status == 125)
        #expect(ended.errors.contains("\(box.path("berth.conf")), line 2: unknown setting \"colour\""), "\(ended)")
    }

    /// A user namespace in which no further one may be made, as on a host whose administrator forbids them.
    @Test func withoutUserNamespacesTheSysctlIsNamed() throws {
        let box = try Self.box(.ordinary)
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\""
        let inner = [box.fixture.berth, "run", box.image, "--", "probe", "id"]
        let ended = try Command(
            box.caller.running(
                ["unshare", "--user", "--map-user=1234", "--map-group=1234", "--keep-caps", "sh", "-c", script] + inner),
            environment: box.environment,
            directory: box.directory.path
        ).run()
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("cannot create a user namespace: No space left on device (ENOSPC)"), "\(ended)")
        #expect(
            ended.errors.contains(
                "hint: user namespaces are disabled: an administrator must set user.max_user_namespaces"),
            "\(ended)")
    }

    /// Inside a container there is no room for surprises: the launcher runs in its own container as well.
    @Test(.needsStaticLauncher) func aContainerInAContainer() throws {
        let box = try Self.box(.ordinary)
        try box.directory.makeDirectory("rootfs/inner/bin")
        try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: box.path("rootfs/inner/bin/probe"))
        box.give("rootfs")
        let ended = try box.run(berth: [
            "run", "-v", "\(box.fixture.berth):/bin/berth:ro", box.image, "--", "berth", "run", "dir:/inner", "--",
            "probe", "cwd",
        ])
        // overlayfs on overlayfs within a user namespace is refused by some kernels; then it must be said.
        #expect(ended.lines == ["/"] || (ended.status == 125 && ended.errors.contains("overlayfs")), "\(ended)")
    }

    /// Names of hosts, users and images end up in messages: none may steer the terminal that shows them.
    @Test func messagesHoldNoControlCharacters() throws {
        let box = try Self.box()
        for name in ["\u{1B}[31mred", "a\rb", "bell\u{07}", "a\nberth: forged", "\u{9B}31m", "\u{202E}evil"] {
            for arguments in [
                ["run", "--" + name], ["run", name], ["run", "-v", "/nonexistent\(name):/x", box.image],
                ["run", box.image, "--", "/" + name], ["run", "dir:/" + name],
            ] {
                let ended = try box.run(berth: arguments)
                let bad = ended.errors.unicodeScalars.filter {
                    ($0.value < 0x20 && $0 != "\n") || (0x7F...0x9F).contains($0.value)
                        || (0x202A...0x202E).contains($0.value) || (0x2066...0x2069).contains($0.value)
                }
                #expect(bad.isEmpty, "\(arguments)")
                #expect(!ended.errors.contains("\nberth: forged"))
            }
        }
    }

    /// What an image asks for, a user or a name: shown, and not obeyed.
    @Test func plansHoldNoControlCharacters() throws {
        let box = try Self.box()
        let words = ["red\u{1B}[31m", "two\nexec /bin/evil", "it's\u{202E}", "\u{9B}31m"]
        for format in ["--dry-run", "--dry-run=oci"] {
            let ended = try box.run(
                berth: ["run", format, "-e", "A=\u{1B}]0;title\u{07}\nB=forged", box.image, "--"] + words)
            #expect(ended.status == 0, "\(ended)")
            let bad = ended.output.unicodeScalars.filter {
                ($0.value < 0x20 && $0 != "\n") || (0x7F...0x9F).contains($0.value) || $0 == "\u{202E}"
            }
            #expect(bad.isEmpty, "\(ended)")
            #expect(!ended.output.contains("\nexec") && !ended.output.contains("\nB=forged"), "\(ended)")
            guard format == "--dry-run" else { continue }
            let line = ended.lines.first { $0.hasPrefix("     exec ") } ?? ""
            #expect(line.contains(#"$'red\x1b[31m' $'two\nexec /bin/evil' $'it\'s\u202e' $'\u009b31m'"#), "\(ended)")
        }
    }

    @Test func aPlanThatCannotBeWrittenIsAFailure() throws {
        let box = try Self.box()
        for format in ["--dry-run", "--dry-run=oci"] {
            var command = box.command(berth: ["run", format, box.image, "--", "x"])
            command.arguments = ["bash", "-c", #"exec "$@" >/dev/full"#, "bash"] + command.arguments
            let ended = try command.run()
            #expect(
                ended.status == 125
                    && ended.errors.contains("cannot write to standard output: No space left on device (ENOSPC)"),
                "\(ended)")
        }
    }

    /// `berth-image` in ways in which it does not start.
    @Test(
        arguments: [
            (nil, 0, "install both"),
            ("#!/nonexistent/loader\n", 0o755, "the program is there, but not the dynamic loader"),
            ("#!/bin/sh\n", 0o644, "check its mode"),
            ("\u{7F}ELF no program", 0o755, "damaged or for another processor"),
            ("#!/bin/sh\nexit 127\n", 0o755, "a shared library is missing"),
        ] as [(String?, Int, String)])
    func aSecondProgramThatDoesNotStartIsNamed(_ content: String?, _ mode: Int, _ words: String) throws {
        let box = try Self.box()
        let place = try TemporaryDirectory()
        try place.makeDirectory("bin")
        let berth = place.path + "/bin/berth"
        try FileManager.default.copyItem(atPath: box.fixture.berth, toPath: berth)
        if let content {
            let path = try place.write(content, to: "libexec/berth/berth-image")
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
        try place.write("", to: "none.conf")
        let environment = ["PATH": "/usr/bin:/bin", "HOME": place.path, "BERTH_CONFIG": place.path + "/none.conf"]
        let ended = try Command(
            [berth, "run", "--store", place.path + "/store", "example.invalid/x:1"], environment: environment
        ).run()
        #expect(ended.status == 125 && ended.errors.contains(words), "\(ended)")
        #expect(ended.errors.contains("libexec/berth/berth-image"), "\(ended)")
    }

    /// A descriptor that names the configuration reaches the second program, and the caller's limit on open files does.
    @Test(arguments: ["pull x", "run --store \"$HERE/store\" example.invalid/x:1"])
    func theSecondProgramHasWhatTheCallerGave(_ words: String) throws {
        let box = try Self.box()
        let place = try TemporaryDirectory()
        try place.makeDirectory("bin")
        let berth = place.path + "/bin/berth"
        try FileManager.default.copyItem(atPath: box.fixture.berth, toPath: berth)
        let script = "#!/bin/sh\n{ sleep 0.3; cat \"$BERTH_CONFIG\"; ulimit -Sn; } >&2\nexit 1\n"
        let path = try place.write(script, to: "libexec/berth/berth-image")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        let caller = "ulimit -Sn 123; BERTH_CONFIG=<(echo 'home = yes') \"$HERE/bin/berth\" \(words)"
        let ended = try Command(
            ["bash", "-c", caller], environment: ["PATH": "/usr/bin:/bin", "HOME": place.path, "HERE": place.path]
        ).run()
        #expect(ended.errors.contains("home = yes\n123\n"), "\(ended)")
    }

    @Test func aConfigurationThatIsNamedAndAbsentIsAnError() throws {
        let box = try Self.box()
        let ended = try box.command(probe: ["id"], environment: ["BERTH_CONFIG": "/nowhere/berth.conf"]).run()
        #expect(ended.status == 125 && ended.errors.contains("the configuration /nowhere/berth.conf: "), "\(ended)")
    }
}
