import Foundation
import Testing
import TestSupport

/// What options of `docker run` and `--here` do in a container.
@Suite(.needsLauncher) struct ForeignOptionTests {
    @Test(arguments: Caller.all) func nvidiasLineRunsUnchangedButForTheGPUs(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("x", to: "w/f")
        box.give("w")
        let script = """
            cd w && exec "$BERTH" run --rm -it --ipc=host --shm-size=16g --ulimit memlock=-1 --ulimit stack=67108864 \
            -v $PWD:/workspace -w /workspace "$IMAGE" -- probe cwd -- ls /workspace -- limits stack
            """
        let ended = try box.shell(script).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.first == "/workspace" && ended.output.contains("stack 67108864:67108864"), "\(ended)")
        let notes = ended.errors.split(separator: "\n").filter { !$0.contains("--ulimit memlock") }
        #expect(
            notes.count == 1 && notes[0].hasPrefix("berth: note: --shm-size: /dev/shm is the host's"), "\(ended.errors)"
        )
    }

    @Test func quietSuppressesNotes() throws {
        let box = try Box(.any)
        let all = [
            "--init", "--pid", "host", "--label", "b=c", "--privileged", "--runtime", "runc",
            "--shm-size", "1g", "-m",
            "1g",
        ]
        let told = try box.run(all, probe: "exit")
        #expect(told.status == 0 && told.errors.split(separator: "\n").count == 6, "\(told.errors)")
        let quiet = try box.run(["-q"] + all, probe: "exit")
        #expect(quiet.status == 0 && quiet.errors.isEmpty, "\(quiet)")
    }

    @Test(arguments: [
        (["-d"], "--detach cannot be honoured"), (["-p", "8080:80"], "--publish 8080:80 cannot be honoured"),
        (["--network", "bridge"], "option --network cannot be"), (["--containall"], "--containall cannot be honoured"),
        (["--security-opt", "seccomp=p.json"], "cannot read the seccomp profile "),
    ]) func refusalsStartNothing(_ options: [String], _ says: String) throws {
        let box = try Box(.any)
        let ended = try box.run(options, probe: "exit", "3")
        #expect(ended.status == 125 && ended.errors.hasPrefix("berth: " + says), "\(ended)")
        #expect(ended.errors.contains("\n  hint: "), "\(ended)")
    }

    @Test(arguments: Caller.all) func hereIsMountedAndEntered(_ caller: Caller) throws {
        let box = try Box(caller)
        try box.directory.write("x", to: "w/sub/f")
        box.give("w")
        let place = box.path("w/sub")
        let ended = try box.shell(
            "cd w/sub && exec \"$BERTH\" run --here \"$IMAGE\" -- probe cwd -- ls . -- write ./new y"
        ).run()
        #expect(ended.status == 0 && ended.lines.first == place, "\(ended)")
        #expect(ended.output.contains("f"), "\(ended)")
        #expect(FileManager.default.fileExists(atPath: place + "/new"), "it is writable")
        let elsewhere = try box.shell("cd w/sub && exec \"$BERTH\" run --here -w /bin \"$IMAGE\" -- probe cwd").run()
        #expect(elsewhere.lines == ["/bin"], "\(elsewhere)")
        let plan = try box.shell("cd w/sub && exec \"$BERTH\" run --here --dry-run \"$IMAGE\"").run()
        #expect(
            plan.output.contains("rbind \(place) on \(place)  [--here]")
                && plan.output.contains("workdir \(place)  [--here]"))
        let system = try box.shell("cd /usr && exec \"$BERTH\" run --here \"$IMAGE\" -- probe cwd").run()
        #expect(
            system.status == 125 && system.errors.hasPrefix("berth: --here cannot mount /usr: it would hide files"),
            "\(system)")
    }

    @Test(arguments: Caller.all) func hostsAndNameServersAreTheContainersOwn(_ caller: Caller) throws {
        let box = try Box(caller)
        let options = [
            "--add-host", "db:10.9.8.7", "--dns", "10.0.0.53", "--dns-search", "a.example", "--dns-option=ndots:3",
        ]
        let ended = try box.run(options, probe: "cat", "/etc/hosts", "/etc/resolv.conf")
        #expect(ended.output.contains("10.9.8.7 db\n"), "\(ended)")
        let servers = ended.lines.filter { $0.hasPrefix("nameserver") }
        #expect(servers == ["nameserver 10.0.0.53"], "\(ended)")
        #expect(ended.output.contains("search a.example\n") && ended.output.contains("options ndots:3\n"), "\(ended)")
        let host = try String(contentsOfFile: "/etc/hosts", encoding: .utf8)
        #expect(!host.contains("10.9.8.7"))
    }

    @Test(arguments: Caller.all) func noexecHoldsInMounts(_ caller: Caller) throws {
        let box = try VolumeTests.box(caller)
        try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: box.path("d/program"))
        box.give("d")
        let run = ["/v/program", "exit", "3"]
        for (options, status) in [
            (["-v", "./d:/v"], Int32(3)), (["-v", "./d:/v:noexec"], 126), (["--mount", "src=./d,dst=/v,noexec"], 126),
        ] {
            let ended = try box.command(berth: ["run"] + options + [box.image, "--"] + run).run()
            #expect(ended.status == status, "\(options): \(ended)")
        }
        let shown = try box.run(["-v", "./d:/v:ro,noexec,nosuid,nodev"], probe: "mounts", "/v")
        #expect(
            shown.output.contains("noexec") && shown.output.contains("nosuid") && shown.output.contains("nodev"),
            "\(shown)")
    }

    @Test(arguments: ["private", "rprivate", "slave", "rslave", "shared", "rshared"])
    func propagationIsSet(_ word: String) throws {
        let box = try VolumeTests.box(.any)
        for options in [["-v", "./d:/v:\(word)"], ["--mount", "src=./d,dst=/v,bind-propagation=\(word)"]] {
            let ended = try box.run(["-q"] + options, probe: "cat", "/proc/self/mountinfo")
            let line = ended.lines.first { $0.split(separator: " ").dropFirst(4).first == "/v" } ?? ""
            #expect(ended.status == 0 && line.contains(" shared:") == word.hasSuffix("shared"), "\(line)")
            if word.hasSuffix("private") { #expect(!line.contains(" master:"), "\(line)") }
        }
    }

    @Test func sharedMemoryOfItsOwnHasItsSize() throws {
        let box = try Box(.any)
        let ended = try box.run(["--ipc", "private", "--shm-size", "64k"], probe: "cat", "/proc/self/mounts")
        let line = ended.lines.first { $0.contains(" /dev/shm ") } ?? ""
        #expect(ended.status == 0 && line.contains("size=64k") && ended.errors.isEmpty, "\(ended)")
    }

    @Test func droppedCapabilitiesAreGone() throws {
        let box = try Box(.any)
        func effective(_ options: [String]) throws -> String {
            try box.run(options, probe: "caps").lines.first { $0.hasPrefix("CapEff") } ?? ""
        }
        #expect(try effective(["--root", "--cap-drop", "ALL"]).hasSuffix("0000000000000000"))
        #expect(try effective(["--root", "--cap-drop", "ALL", "--cap-add", "CHOWN"]).hasSuffix("0000000000000001"))
        #expect(try !effective(["--root"]).hasSuffix("0000000000000000"))
    }

    /// Without CAP_SETUID and CAP_SETGID the command is still the user that was asked for, as in Docker.
    @Test(
        .needsRoot,
        arguments: [
            ["--user", "33:34"], ["--user", "web", "--group-add", "110"], ["--group-add", "110"], ["--user", "0"],
        ])
    func theUserChangesBeforeCapabilitiesGo(_ options: [String]) throws {
        let box = try Box(.root)
        let ended = try box.run(["--cap-drop", "ALL"] + options, probe: "id", "--", "caps")
        #expect(ended.status == 0, "\(ended)")
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
            #expect(ended.lines.contains { $0.hasPrefix(set) && $0.hasSuffix("0000000000000000") }, "\(ended)")
        }
    }

    @Test(.needsRoot) func rootAddsCapabilitiesAndGroups() throws {
        let box = try Box(.root)
        let caps = try box.run(["--cap-add", "SYS_PTRACE"], probe: "caps")
        let line = caps.lines.first { $0.hasPrefix("CapEff") } ?? ""
        let value = UInt64(line.split(separator: " ").last ?? "", radix: 16) ?? 0
        if Caller.holds(capability: 19) { #expect(value >> 19 & 1 == 1, "\(caps)") }
        let groups = try box.run(["--group-add", "ssl", "--group-add", "4321"], probe: "id")
        #expect(groups.output.contains("110") && groups.output.contains("4321"), "\(groups)")
        let missing = try box.run(["--group-add", "nogroupofthatname"], probe: "id")
        #expect(missing.status == 125 && missing.errors.contains("is not in /etc/group of the image"), "\(missing)")
    }

    @Test func aCleanEnvironmentKeepsTheJobsVariables() throws {
        let box = try Box(.any)
        let ended = try box.run(
            ["--cleanenv"], probe: "env", environment: ["SLURM_FOO": "1", "EDITOR": "vi", "PMI_RANK": "0"])
        #expect(ended.lines.contains("SLURM_FOO=1") && ended.lines.contains("PMI_RANK=0"), "\(ended)")
        #expect(!ended.output.contains("EDITOR"), "\(ended)")
    }

    @Test func apptainersOptionsRun() throws {
        let box = try VolumeTests.box(.any)
        let ended = try box.run(
            ["--nv", "--bind", "./d:/x,d:/y:ro", "--pwd", "/x", "--writable-tmpfs", "--fakeroot"], probe: "cwd", "--",
            "id")
        #expect(ended.status == 0 && ended.lines.first == "/x" && ended.output.contains("uid=0,0,0"), "\(ended)")
        #expect(ended.errors.isEmpty, "\(ended)")
    }
}
