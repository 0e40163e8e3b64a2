import Foundation
import TestSupport
import Testing

/// `--dry-run=oci`, run by others: what the probe sees inside under crun and runc, beside what it sees under Berth.
/// What differs is listed in docs/reference/oci-configuration.md, and nothing else may.
@Suite(.needsLauncher, .serialized) struct OCIRuntimeTests {
    enum Runtime: String, Sendable, CaseIterable { case runc, crun }

    static func path(_ runtime: Runtime) -> String? {
        ["/usr/bin/", "/usr/sbin/", "/usr/local/bin/"].map { $0 + runtime.rawValue }
            .first(where: FileManager.default.isExecutableFile(atPath:))
    }

    /// They need a cgroup to put the container in; crun takes no mixture of versions, so it gets the plain version 2.
    static let script = """
        set -e
        mount --make-rprivate /
        cd "$1"; runtime=$2; options=$3; who=$4
        mkdir rootfs upper work state
        if [ $(basename $runtime) = crun ]; then
          [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup
          more=--cgroup-manager=disabled
        fi
        mount -t overlay overlay -o lowerdir=$options,upperdir=upper,workdir=work rootfs
        if [ "$who" = 0:0 ]; then exec $runtime --root $PWD/state $more run berth-test-$$ </dev/null; fi
        chown $who upper work state rootfs .
        exec setpriv --reuid=${who%:*} --regid=${who#*:} --clear-groups $runtime --root $PWD/state $more \
        run berth-test-$$ </dev/null
        """

    /// Made a bundle of, and run.
    static func run(_ runtime: Runtime, _ box: Box, _ options: [String], _ probe: [String]) throws -> Ended {
        var export = box.command(berth: ["run", "--dry-run=oci"] + options + [box.image, "--", "/bin/probe"] + probe)
        export.input = ""
        let configuration = try export.run()
        guard configuration.status == 0 else { return configuration }
        let name = "bundle-" + runtime.rawValue
        try box.directory.makeDirectory(name)
        try box.directory.write(configuration.output, to: name + "/config.json")
        box.give(name)
        let program = try #require(path(runtime))
        return try Command(
            [
                "unshare", "-m", "sh", "-c", script, "sh", box.path(name), program, box.rootfs,
                "\(box.caller.user):\(box.caller.group)",
            ],
            environment: box.environment.merging(["XDG_RUNTIME_DIR": box.path(name)]) { $1 }, directory: box.path(name)
        ).run()
    }

    static let probe = [
        "id", "--", "caps", "--", "limits", "--", "cwd", "--", "env", "--", "hostname", "--", "umask", "--",
        "dispositions",
        "--", "ls", "/", "/bin", "--", "stat", "/", "/tmp", "/sys", "/proc", "/dev", "/dev/null", "/dev/zero",
        "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/fd", "/dev/stdin", "/dev/stdout",
        "/dev/stderr", "/dev/console", "/dev/full", "/dev/another", "--", "open", "/dev/another", "--", "open",
        "/dev/null", "/dev/random", "/dev/tty", "/dev/kmsg",
        "--", "write", "/sys/x", "x", "--", "write", "/new", "x", "--", "rm", "/bin/new", "--", "write",
        "/proc/sys/kernel/domainname", "x",
        "--", "mount", "tmpfs", "/tmp", "--", "cat", "/d/f", "--", "write", "/d/f", "x", "--", "statfs", "/t",
    ]

    static let options = [
        "-v", "./d:/d:ro", "--mount", "type=tmpfs,target=/t,tmpfs-size=64k", "-e", "ODD=a \"b\\c", "--ulimit",
        "nofile=64:128", "--ulimit", "core=0", "-w", "/bin",
    ]

    static func box(_ caller: Caller) throws -> Box {
        let box = try Box(caller)
        try box.directory.makeDirectory("d")
        try box.directory.write("f\n", to: "d/f")
        return box
    }

    static func compare(_ runtime: Runtime, _ caller: Caller, _ options: [String]) throws {
        let box = try box(caller)
        var command = box.command(berth: ["run"] + options + [box.image, "--", "/bin/probe"] + probe)
        command.input = ""
        let own = try command.run()
        let other = try run(runtime, box, options, probe)
        #expect(own.status == 0 && other.status == 0, "\(own)\n\(other)")
        let pairs = zip(normal(own.lines, box), normal(other.lines, box))
        for (mine, theirs) in pairs { #expect(theirs == mine, "\(runtime)") }
        #expect(own.lines.count == other.lines.count, "\(own)\n\(other)")
    }

    /// Without the bundle itself, which lies below the /tmp or the home that is shown inside, and what the documents name.
    static func normal(_ lines: [String], _ box: Box) -> [String] {
        lines.map { line in
            // The home directory is not made, nor is /etc.
            guard line.hasPrefix("/: ") else { return line }
            return line.split(separator: " ").filter { !["etc", "home", "root", "nonexistent", "var"].contains($0) }
                .joined(
                    separator: " ")
        }
    }

    @Test(
        .needsRoot, .enabled(if: path(.runc) != nil, "runc is not installed"), .needsCgroups,
        arguments: [[], ["--read-only"], ["--hostname", "h"], ["--device", "/dev/zero:/dev/another"]])
    func underRuncAsRootAllIsTheSame(_ more: [String]) throws { try Self.compare(.runc, .root, Self.options + more) }

    @Test(
        .needsRoot, .enabled(if: path(.crun) != nil, "crun is not installed"),
        arguments: [[], ["--read-only"], ["--hostname", "h"], ["--device", "/dev/zero:/dev/another"]])
    func underCrunAsRootAllIsTheSame(_ more: [String]) throws { try Self.compare(.crun, .root, Self.options + more) }

    @Test(
        .needsRoot, .enabled(if: path(.crun) != nil, "crun is not installed"),
        arguments: [[], ["--root"], ["--device", "/dev/zero:/dev/another"]])
    func underCrunAsAnOrdinaryUserAllIsTheSame(_ more: [String]) throws {
        try Self.compare(.crun, .ordinary, Self.options + more)
    }

    /// runc 1.1 wants somebody mapped to uid 0.
    @Test(.needsRoot, .enabled(if: path(.runc) != nil, "runc is not installed"))
    func underRuncAsAnOrdinaryUserWhoIsRootInside() throws {
        try Self.compare(.runc, .ordinary, Self.options + ["--root"])
    }

    /// The runtime-spec's own schema, from Debian's package of the specification.
    static let schema = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/"
    static let hasSchema =
        FileManager.default.fileExists(atPath: schema + "config-schema.json")
        && (try? Command(["/usr/bin/python3", "-c", "import jsonschema"]).run().status) == 0  // no Python: no validator

    static let validator = """
        import json, jsonschema, pathlib, sys
        path = pathlib.Path("\(schema)config-schema.json")
        schema = json.loads(path.read_text())
        resolver = jsonschema.RefResolver(base_uri=path.as_uri(), referrer=schema)
        checker = jsonschema.validators.validator_for(schema)(schema, resolver=resolver)
        wrong = [f"{list(e.absolute_path)}: {e.message}" for e in checker.iter_errors(json.load(sys.stdin))]
        print("\\n".join(wrong))
        sys.exit(1 if wrong else 0)
        """

    @Test(
        .enabled(
            if: hasSchema, "needs golang-github-opencontainers-specs-dev and python3-jsonschema: Scripts/setup test"),
        arguments: Caller.all,
        [
            [], ["--root"], ["--read-only"], ["--hostname", "h"], ["--unshare", "net,ipc,uts"],
            ["--enforce", "devices,pids=9"],
            ["--device", "/dev/null:/dev/other", "--fabric", "none", "--gpus", "none"],
        ])
    func itValidatesAgainstTheSchema(_ caller: Caller, _ more: [String]) throws {
        let box = try Self.box(caller)
        let export = try box.run(
            berth: ["run", "--dry-run=oci"] + Self.options + more + [box.image, "--", "/bin/probe", "id"])
        if caller == .ordinary, more.first == "--enforce" {
            #expect(export.status == 125 && export.output.isEmpty && export.errors.contains("--enforce"), "\(export)")
            return
        }
        #expect(export.status == 0, "\(export)")
        var check = Command(["/usr/bin/python3", "-W", "ignore", "-c", Self.validator])
        check.input = export.output
        let ended = try check.run()
        #expect(ended.status == 0, "\(ended)")
        // It can say no.
        check.input = export.output.replacingOccurrences(of: "\"ociVersion\"", with: "\"version\"")
        #expect(try check.run().output.contains("'ociVersion' is a required property"))
    }

    /// The list of the documents, each line of it.
    @Test(.needsRoot, .enabled(if: path(.runc) != nil, "runc is not installed"), .needsCgroups)
    func whatDiffersIsAsDocumented() throws {
        let box = try Self.box(.root)
        let probe = [
            "stat", "/etc/passwd", "--", "write", "/etc/hosts", "x", "--", "statfs", "/dev", "--", "cat", "/etc/group",
        ]
        let own = try box.command(berth: ["run", box.image, "--", "/bin/probe"] + probe).run()
        let other = try Self.run(.runc, box, [], probe)
        #expect(own.lines.contains("/etc/hosts: ok"), "\(own)")
        #expect(other.lines.contains("/etc/hosts: EROFS"), "\(other)")
        #expect(own.output.contains("\nroot:x:0:\n"), "\(own)")
        #expect(other.lines.suffix(3) == ["root:x:0:", "web:x:34:", "ssl:x:110:web"], "the image's own: \(other)")
    }

    @Test func anImageThatIsNotThereHasNoConfiguration() throws {
        let box = try Box(.any)
        let ended = try box.run(berth: [
            "run", "--dry-run=oci", "--store", box.path("home/store"), "example.invalid/x:1",
        ])
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.output == "" && ended.errors.contains("is not in the store"), "\(ended)")
    }

    @Test(arguments: ["yaml", "OCI"]) func otherFormatsAreRefused(_ format: String) throws {
        let ended = try Box(.any).run(["--dry-run=" + format], probe: "id")
        #expect(ended.status == 125, "\(ended)")
        #expect(ended.errors.contains("option --dry-run cannot be \"\(format)\""), "\(ended)")
    }
}
