import Foundation
import TestSupport
import Testing

/// Programs that need calls which `default` permits and Docker's profile refuses. They run from the host's `/usr`.
@Suite(.needsLauncher) struct FilteredToolTests {
    struct Tool: Sendable, CustomTestStringConvertible {
        let name: String
        let program: String
        let script: String
        let expected: String
        var testDescription: String { name }
    }

    /// The static launcher: debug builds need Swift's libraries.
    static let launcher = packageRoot() + "/build/bin/berth"

    static let tools = [
        Tool(
            name: "gdb", program: "/usr/bin/gdb",
            script: "sleep 1000 & gdb -nx -p $! -batch -ex 'info threads' 2>&1; kill $!", expected: "* 1 "),
        Tool(
            name: "strace", program: "/usr/bin/strace",
            script: """
                sleep 1000 & sleeping=$!
                strace -o log -p $sleeping & tracing=$!
                until [ -s log ] || ! kill -0 $tracing; do sleep 0.01; done
                kill $sleeping; wait $tracing; cat log
                """, expected: "+++ killed by SIGTERM +++"),
        Tool(
            name: "perf", program: "/usr/bin/perf", script: "perf stat -e task-clock:u true 2>&1",
            expected: "task-clock"),
        Tool(
            name: "bubblewrap", program: "/usr/bin/bwrap",
            script: "bwrap --unshare-user --ro-bind / / --dev-bind /dev /dev sh -c 'echo inside'", expected: "inside"),
        Tool(
            name: "Berth", program: launcher,
            script: "berth run --seccomp default dir:/inner -- probe write /f x -- cat /f", expected: "/f: ok\nx"),
        Tool(
            name: "Berth with --root", program: launcher,
            script: "berth run --root dir:/inner -- probe id", expected: "uid=0,0,0"),
        Tool(
            name: "py-spy", program: "/usr/bin/python3",
            script: """
                python3 -c 'import time
                def spied():
                    open("ready", "w").close()
                    time.sleep(1000)
                spied()' & python=$!
                until [ -e ready ] || ! kill -0 $python; do sleep 0.01; done
                py-spy dump --pid $python 2>&1; kill $python
                """, expected: "spied ("),
    ]

    /// The directory into which py-spy was installed from PyPI.
    static let pySpy: String? = {
        guard let fixture = try? Fixture.get() else { return nil }  // then nothing is tested
        let place = fixture.directory.path + "/py-spy"
        let words = ["pip3", "install", "--quiet", "--root-user-action=ignore", "--target", place, "py-spy"]
        let ended = try? Command(words, secondsAllowed: 60).run()  // no pip: skipped
        return ended?.status == 0 ? place : nil
    }()

    /// Whether the kernel permits perf for the ordinary user.
    static func canCount() -> Bool {
        let count = Command(Caller.ordinary.running(["perf", "stat", "-e", "task-clock:u", "true"]))
        return (try? count.run().status) == 0  // not there
    }

    static func why(_ tool: Tool) -> String? {
        if !FileManager.default.isExecutableFile(atPath: tool.program) {
            return "\(tool.program) is missing: Scripts/setup test, Scripts/build --lean"
        }
        if tool.name == "perf", !canCount() { return "kernel.perf_event_paranoid refuses it outside as well" }
        if tool.name == "py-spy", pySpy == nil { return "cannot install py-spy from PyPI" }
        return nil
    }

    static let usable = tools.filter { tool in
        guard let reason = why(tool) else { return true }
        let text = "\n*** not tried under --seccomp default: \(tool.name): \(reason)\n\n"
        FileHandle.standardError.write(Data(text.utf8))
        return false
    }

    @Test(arguments: usable, [[], ["--root"]]) func itWorksUnderDefault(_ tool: Tool, _ options: [String]) throws {
        let box = try Box(.ordinary)
        for name in ["sbin", "lib", "lib64"] {
            try box.directory.link("rootfs/" + name, to: "usr/" + name)
        }
        try FileManager.default.removeItem(atPath: box.path("rootfs/bin"))
        try box.directory.link("rootfs/bin", to: "usr/bin")
        try box.directory.write("root:x:0:0::/:/bin/sh\n", to: "inner/etc/passwd")
        try box.directory.makeDirectory("inner/bin")
        try FileManager.default.copyItem(atPath: box.fixture.probe, toPath: box.path("inner/bin/probe"))
        for name in tool.program == Self.launcher ? ["bin/berth", "libexec/berth/seccomp"] : [] {
            let parent = "berth/" + name.split(separator: "/").dropLast().joined(separator: "/")
            try box.directory.makeDirectory(parent)
            try FileManager.default.copyItem(
                atPath: packageRoot() + "/build/" + name, toPath: box.path("berth/" + name))
        }
        try box.directory.makeDirectory("berth")
        try box.directory.makeDirectory("work")
        for name in ["inner", "work", "rootfs"] { box.give(name) }
        let mounts = [
            "/usr:/usr:ro", "/etc/alternatives:/etc/alternatives:ro", "./berth:/opt/berth:ro",
            "./inner:/inner", "./work:/work",
        ]
        let python = Self.pySpy.flatMap { tool.name == "py-spy" ? ["-v", $0 + ":/opt/py-spy:ro"] : nil } ?? []
        let script = "PATH=$PATH:/opt/berth/bin:/opt/py-spy/bin\n" + tool.script
        let ended = try box.run(
            berth: ["run", "--seccomp", "default", "-w", "/work"] + options + python
                + mounts.flatMap { ["-v", $0] } + [box.image, "--", "sh", "-c", script])
        #expect(ended.output.contains(tool.expected), "\(ended)")
    }
}
