import Foundation
import Testing
import TestSupport

@Suite(.needsLauncher) struct EnvironmentTests {
    @Test(arguments: Caller.all) func theJobsVariablesGoInAndTheHostsOwnDoNot(_ caller: Caller) throws {
        let ended = try Box(caller).run(
            probe: "env", "SLURM_PROCID", "LD_PRELOAD", "PATH", "SHELL", "EMPTY",
            environment: ["SLURM_PROCID": "3", "LD_PRELOAD": "", "SHELL": "/bin/zsh", "EMPTY": ""])
        #expect(
            ended.lines == [
                "SLURM_PROCID=3", "LD_PRELOAD=",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SHELL unset", "EMPTY=",
            ], "\(ended)")
    }

    @Test func optionsAndFilesSetVariablesInTheirOrder() throws {
        let box = try Box(.any)
        try box.directory.write("# a file\nA=file\nB=file with spaces  \nFROMHOST\nMISSING\n", to: "vars")
        try box.directory.write("A=second\r\n", to: "more")
        let ended = try box.run(
            ["-e", "A=option", "--env-file", "vars", "--env-file", "more", "-e", "LD_LIBRARY_PATH", "-e", "C="],
            probe: "env", "A", "B", "C", "FROMHOST", "MISSING", "LD_LIBRARY_PATH",
            environment: ["FROMHOST": "h", "LD_LIBRARY_PATH": "/l"])
        #expect(
            ended.lines == [
                "A=option", "B=file with spaces  ", "C=", "FROMHOST=h", "MISSING unset", "LD_LIBRARY_PATH=/l",
            ], "\(ended)")
        let alone = try box.run(["--env-file", "vars", "--env-file", "more"], probe: "env", "A")
        #expect(alone.lines == ["A=second"])
    }

    /// U+0301, U+FE0F and U+200D are one character with the `=` before them, and no part of it.
    @Test func namesAndValuesAreBytes() throws {
        let box = try Box(.any)
        let marks = ["A": "\u{301}x", "B": "\u{FE0F}y", "C": "\u{200D}z"]
        let (composed, decomposed) = ("\u{E9}", "e\u{301}")
        try box.directory.write("F=\u{301}f\r\n\(composed)F=1\n\(decomposed)F=2\n", to: "vars")
        let ended = try box.run(
            ["-e", "O=\u{301}o", "-e", "\(composed)=1", "-e", "\(decomposed)=2", "--env-file", "vars", "-e", "A"],
            probe: "env", "A", "B", "C", "O", "F", composed, decomposed, composed + "F", decomposed + "F",
            environment: marks)
        // The probe prints the bytes of values as C writes them, and names as they are.
        let (accent, selector, joiner) = (#"\xcc\x81"#, #"\xef\xb8\x8f"#, #"\xe2\x80\x8d"#)
        let expected = [
            "A=\(accent)x", "B=\(selector)y", "C=\(joiner)z", "O=\(accent)o", "F=\(accent)f", "\(composed)=1",
            "\(decomposed)=2", "\(composed)F=1", "\(decomposed)F=2",
        ]
        #expect(ended.lines.map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "\(ended)")
    }

    @Test func pathsAreBytes() throws {
        let box = try Box(.any)
        try box.directory.write("one", to: "a/file")
        let ended = try box.run(
            ["-v", "./a:/\u{301}x", "-v", "./a:/\u{E9}", "-v", "./a:/e\u{301}", "-w", "/\u{301}x"], probe: "cat",
            "/\u{301}x/file", "/\u{E9}/file", "/e\u{301}/file", "--", "cwd")
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.output.hasSuffix(#"oneoneone/\xcc\x81x"# + "\n"), "\(ended)")
    }

    @Test func anEnvironmentFileThatIsNotThereIsNamed() throws {
        let ended = try Box(.any).run(["--env-file", "missing"], probe: "id")
        #expect(ended.status == 125)
        #expect(
            ended.errors.contains("cannot read the environment file missing: No such file or directory (ENOENT)"),
            "\(ended)")
    }

    @Test(arguments: Caller.all) func aVariableThatNamesPathsPassesWhereTheyExistInside(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("elsewhere/lib")
        let host = [
            "PYTHONPATH": "/data/lib", "TMPDIR": "/tmp", "JAVA_HOME": "/opt/jdk", "SSL_CERT_FILE": "/etc/passwd",
            "NODE_OPTIONS": "--require /opt/hook.js", "PERL5OPT": "-I/bin -MX", "SLURM_SUBMIT_DIR": "/absent",
        ]
        let names = host.keys.sorted()
        func said(_ words: [String]) throws -> [String] {
            let ended = try box.command(words, probe: ["env"] + names, environment: host).run()
            let kept = ended.lines.filter { !$0.hasSuffix(" unset") }.map { String($0.prefix { $0 != "=" }) }
            // What --dry-run says is what happens.
            let dry = try box.command(["--dry-run"] + words, probe: ["id"], environment: host).run()
            let dropped = names.filter { !kept.contains($0) }
            func named(_ words: String, _ end: String) -> [String] {
                names.filter { name in dry.lines.contains { $0.contains(" " + words + " " + name + end) } }
            }
            #expect(named("not passed", ": /") == dropped, "\(dry)")
            #expect(named("env", "=") == kept, "\(dry)")
            let verbose = try box.command(["--verbose"] + words, probe: ["id"], environment: host).run()
            let notes = verbose.errors.split(separator: "\n").filter { $0.contains("not passed") }
            #expect(notes.count == (dropped.isEmpty ? 0 : 1), "\(verbose)")
            #expect(dropped.allSatisfy { name in notes.contains { $0.contains("\(name) (/") } }, "\(verbose)")
            return kept
        }
        #expect(try said([]) == ["PERL5OPT", "SLURM_SUBMIT_DIR", "SSL_CERT_FILE", "TMPDIR"])
        #expect(try said(["-v", "./elsewhere:/data"]).contains("PYTHONPATH"))
        #expect(try said(["-v", "./elsewhere:/opt/jdk", "-e", "NODE_OPTIONS", "-v", "./elsewhere:/data"]) == names)
    }

    // MARK: Working directory

    @Test(arguments: Caller.all) func theWorkingDirectoryIsTheRootUnlessSaid(_ caller: Caller) throws {
        let box = try Box(caller)
        #expect(try box.run(probe: "cwd").lines == ["/"])
        #expect(try box.run(["-w", "/etc"], probe: "cwd").lines == ["/etc"])
        #expect(try box.run(["-w", "/tmp"], probe: "cwd").lines == ["/tmp"])
        try box.directory.link("rootfs/link", to: "etc")
        #expect(try box.run(["-w", "/link/../bin/."], probe: "cwd").lines == ["/bin"])
    }

    @Test func aWorkingDirectoryThatCanNotBeEnteredIsNamed() throws {
        let box = try Box(.any)
        for (path, why) in [
            ("/missing", "ENOENT"), ("/etc/passwd", "ENOTDIR"), ("/proc/self/cwd", "ELOOP"),
            ("/proc/self/root", "ELOOP"),
        ] {
            let ended = try box.run(["-w", path], probe: "cwd")
            #expect(ended.status == 125, "\(ended)")
            #expect(
                ended.errors.contains("cannot enter the working directory \(path): ") && ended.errors.contains(why),
                "\(ended)")
        }
        let relative = try box.run(["-w", "etc"], probe: "cwd")
        #expect(relative.status == 125)
        #expect(relative.errors.contains("--workdir"))
    }

    /// CVE-2024-21626: a descriptor of the launcher's on a directory of the host, as working directory.
    @Test(arguments: Caller.all) func aDescriptorIsNoWorkingDirectory(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("outside", to: "marker")
        for number in 0..<24 {
            let ended = try box.shell(
                "exec 7<. ; exec \"$BERTH\" run -w /proc/self/fd/\(number) \"$IMAGE\" -- probe cat marker ../marker ../../marker"
            ).run()
            #expect(ended.status == 125, "descriptor \(number): \(ended)")
            #expect(!ended.output.contains("outside"))
        }
    }

    // MARK: Command, host name, limits

    @Test func entrypointTakesTheImagesPlace() throws {
        let box = try Box(.any)
        let ended = try box.run(berth: ["run", "--entrypoint", "/bin/probe", box.image, "args", "a", "b"])
        #expect(ended.lines == ["[a] [b]"], "\(ended)")
        let empty = try box.run(berth: ["run", "--entrypoint=", box.image, "probe", "args", "a"])
        #expect(empty.lines == ["[a]"], "\(empty)")
        let none = try box.run(berth: ["run", "--entrypoint=", box.image])
        #expect(none.status == 125)
        #expect(none.errors.contains("no command"), "\(none)")
    }

    @Test(arguments: Caller.all) func theHostNameIsTheHostsUnlessSaid(_ caller: Caller) throws {
        let box = try Box(caller)
        let host = try Command(["uname", "-n"]).run().lines
        #expect(try box.run(probe: "hostname").lines == host)
        let named = try box.run(
            ["--hostname", "trainer"], probe: "hostname", "--", "env", "HOSTNAME", "--", "cat", "/etc/hostname")
        #expect(named.lines == ["trainer", "HOSTNAME=trainer", "trainer"], "\(named)")
        #expect(try Command(["uname", "-n"]).run().lines == host)
    }

    @Test(arguments: Caller.all) func limitsRiseToTheHardOnesAndFollowOptions(_ caller: Caller) throws {
        let box = try Box(caller)
        let script =
            "ulimit -Sn 100; ulimit -Hn 200; ulimit -Ss 1024; ulimit -Hs 4096; exec \"$BERTH\" run $OPTIONS \"$IMAGE\" -- probe limits nofile -- limits stack -- limits core"
        let plain = try box.shell("ulimit -c 0; " + script, environment: ["OPTIONS": ""]).run()
        #expect(plain.lines == ["nofile 200:200", "stack 4194304:4194304", "core 0:0"], "\(plain)")
        let chosen = try box.shell(script, environment: ["OPTIONS": "--ulimit nofile=50:150 --ulimit stack=65536"])
            .run()
        #expect(chosen.lines.prefix(2) == ["nofile 50:150", "stack 65536:65536"], "\(chosen)")
    }

    @Test(.needsRoot) func onlyRootGoesAboveAHardLimit() throws {
        for caller in Caller.all {
            let box = try Box(caller)
            let ended = try box.shell(
                "ulimit -n 100; exec \"$BERTH\" run --ulimit nofile=300 \"$IMAGE\" -- probe limits nofile"
            ).run()
            if caller == .root {
                // A virtual machine's root may lack CAP_SYS_RESOURCE.
                if Caller.holds(capability: 24) { #expect(ended.lines == ["nofile 300:300"], "\(ended)") }
            } else {
                #expect(ended.lines == ["nofile 100:100"], "\(ended)")
                #expect(
                    ended.errors.contains("warning: --ulimit nofile=300 is above the hard limit, so the limit is 100"),
                    "\(ended)")
            }
        }
    }

    // MARK: The plan alone

    @Test(arguments: Caller.all) func aDryRunPrintsThePlanAndChangesNothing(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.makeDirectory("new")
        let before = try box.fingerprint(".")
        let ended = try box.run(["--dry-run", "-v", "./new:/x"], probe: "exit", "3")
        #expect(ended.status == 0)
        #expect(ended.lines.first == "steps")
        #expect(
            ended.lines.contains { $0.contains("rbind \(box.path("new")) on /x  [--volume or --mount]") }, "\(ended)")
        #expect(ended.lines.contains("     exec probe exit 3"))
        #expect(try box.fingerprint(".") == before)
    }

    @Test(arguments: Caller.all) func aDryRunSaysWhereEverythingComesFrom(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("# the site's\nhome = yes\nulimit = core=0\n", to: "berth.conf")
        try box.directory.write("# none\nFROM_FILE=1\nBOTH=1\n", to: "variables")
        let ended = try box.run(
            [
                "--dry-run", "--env-file", box.path("variables"), "-e", "BOTH=2", "-e", "PASSED", "--device",
                "/dev/null",
            ],
            probe: "id", environment: ["PASSED": "x", "HOST": "y"])
        #expect(ended.status == 0, "\(ended)")
        let conf = box.path("berth.conf")
        for (start, end) in [
            ("env FROM_FILE=1", "[--env-file \(box.path("variables")):2]"), ("env BOTH=2", "[--env]"),
            ("env PASSED=x", "[--env, from the host]"), ("env HOST=y", "[host]"), ("env PATH=", "[berth]"),
            ("env BERTH_IMAGE=", "[berth]"), ("limit core ", "[berth.conf: \(conf):3]"),
            ("bind /dev/null on /dev/null", "[--device]"),
        ] {
            #expect(ended.lines.contains { $0.contains(start) && $0.hasSuffix("  " + end) }, "\(start): \(ended)")
        }
        #expect(ended.lines.contains { $0.contains("rbind ") && $0.hasSuffix("[berth.conf: \(conf):2]") }, "\(ended)")
        let held = try #require(ended.lines.firstIndex(of: "held by"))
        let names = ended.lines[(held + 1)...].map { $0.split(separator: ":")[0] }
        #expect(names == ["devices", "memory", "cpus", "processes", "mounts", "limits"].map { "     " + $0 })
    }

    @Test(.needsStrace, arguments: Caller.all) func aDryRunMakesNoCallThatChangesAnything(_ caller: Caller) throws {
        let box = try Box(caller)
        let calls =
            "unshare,mount,umount2,mount_setattr,open_tree,move_mount,pivot_root,setns,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,symlinkat,sethostname,setrlimit,prctl,capset,setresuid"
        let trace = box.path("home/trace")
        var command = box.command(["--dry-run"], probe: ["id"])
        command.arguments = box.caller.running([
            "strace", "-f", "-qq", "-o", trace, "-e", "trace=\(calls)", box.fixture.berth, "run", "--dry-run",
            box.image, "--", "probe", "id",
        ])
        let ended = try command.run()
        #expect(ended.status == 0, "\(ended)")
        // libcap asks which capabilities the kernel knows when a program starts. As root, the launcher continues from a
        // read-only mount of its own file, which is attached nowhere.
        let changes = box.directory.text("home/trace")?.split(separator: "\n").filter {
            !$0.contains("PR_CAPBSET_READ") && !$0.contains("PR_SET_NAME") && !$0.contains(#", "", OPEN_TREE_CLONE|"#)
                && !$0.contains(#", "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY,"#)
        }
        #expect(changes == [], "\(changes ?? ["no trace"])")
    }

    /// With the words of the launch itself.
    @Test(arguments: Caller.all, ["--dry-run", "--dry-run=oci"])
    func aDryRunFailsWhereALaunchWould(_ caller: Caller, _ format: String) throws {
        let box = try Box(caller)
        try box.directory.write("x", to: "f")
        try box.directory.write("scratch = \(box.path("absent"))\n", to: "scratch.conf")
        try box.directory.write("mount = /nowhere /m\nmount = /nowhere /n none nofail\n", to: "mount.conf")
        let before = try box.fingerprint(".")
        for (words, configuration) in [
            (["-v", "./absent:/x"], ""), (["-v", "./f/x:/x"], ""), (["--device", "/dev/absent"], ""),
            ([], "scratch.conf"), ([], "mount.conf"),
        ] {
            let environment = configuration.isEmpty ? [:] : ["BERTH_CONFIG": box.path(configuration)]
            let launch = try box.command(words, probe: ["id"], environment: environment).run()
            let dry = try box.command([format] + words, probe: ["id"], environment: environment).run()
            #expect(launch.status == 125 && dry.status == 125, "\(words): \(launch) \(dry)")
            #expect(dry.errors.contains(launch.errors), "\(words): \(launch) \(dry)")
            #expect(dry.lines.first == (format == "--dry-run" ? "steps" : "{"), "\(dry)")
        }
        #expect(try box.fingerprint(".") == before)
    }

    /// JSON holds UTF-8 only: another name in its place would be another file.
    @Test func aNameThatIsNotUTF8IsNotWrittenIntoAConfiguration() throws {
        let box = try Box(.any)
        let script = "cd \"$HERE/home\" && d=$(printf 'a\\377b') && mkdir -p \"$d\" && X=$(printf 'v\\377') "
        let path = try box.shell(script + "exec $BERTH run --dry-run=oci -v \"./$d:/x\" $IMAGE -- probe id").run()
        #expect(path.status == 125 && path.output == "", "\(path)")
        #expect(path.errors.contains("a\\xffb cannot be written into a config.json: it is not UTF-8"), "\(path)")
        let variable = try box.shell(script + "BAD=$(printf 'v\\377') exec $BERTH run --dry-run=oci $IMAGE -- probe id").run()
        #expect(variable.status == 0 && !variable.output.contains("BAD="), "\(variable)")
        #expect(variable.errors.contains("leaves out variables whose values are not UTF-8: "), "\(variable)")
    }

    /// A command line that a shell takes, with the layers that overlayfs takes.
    @Test(.needsRoot) func theOverlayCommandOfAConfigurationCanBePasted() throws {
        let box = try Box(.root)
        let name = "a b:c,d'e"
        try FileManager.default.moveItem(atPath: box.rootfs, toPath: box.path(name))
        let ended = try box.shell("$BERTH run --dry-run=oci \"dir:$HERE/\(name)\" -- probe id").run()
        #expect(ended.status == 0, "\(ended)")
        let command = try #require(ended.errors.range(of: "mkdir -p rootfs").map { String(ended.errors[$0.lowerBound...]) })
        let script = "mount -t tmpfs none \"$HERE/home\" && cd \"$HERE/home\" && \(command)\n test -e rootfs/bin/probe"
        try box.directory.write(script, to: "script")
        let mounted = try box.shell("exec unshare -m sh \"$HERE/script\"").run()
        #expect(mounted.status == 0, "\(mounted) \(command)")
    }

    @Test func aDryRunOfAnImageThatIsNotThereMakesNoStore() throws {
        let box = try Box(.any)
        let ended = try box.run(berth: ["run", "--dry-run", "--store", box.path("home/store"), "example.invalid/x:1"])
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.errors.contains("not in the store yet"))
        #expect(!box.directory.exists("home/store"))
    }
}
