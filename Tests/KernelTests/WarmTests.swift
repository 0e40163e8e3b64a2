import Foundation
import TestSupport
import Testing

/// What a launch does not do where the image is there.
@Suite(.needsLauncher) struct WarmTests {
    /// `--pull missing` finds it by two small files: nobody is asked, no JSON is read, and no other program helps.
    @Test(.needsStrace, arguments: Caller.all) func aWarmLaunchAsksNobodyAndReadsNoJSON(_ caller: Caller) throws {
        let image = try StoredBox(caller)
        try image.publish()
        let directory = "store/images/" + image.digest
        for name in ["manifest.json", "config.json"] { try image.box.directory.write("{}", to: directory + "/" + name) }
        image.box.give("store")
        try image.box.directory.makeDirectory("home")
        image.box.give("home")
        let trace = image.box.path("home/trace")
        let berth = [
            image.box.fixture.berth, "run", "--pull", "missing", "--store", image.store, "test:1", "probe", "exit", "4",
        ]
        let calls = "socket,connect,open,openat,openat2,execve"
        let ended = try Command(
            caller.running(["strace", "-f", "-qq", "-o", trace, "-e", "trace=\(calls)"] + berth),
            environment: image.box.environment, directory: image.box.directory.path
        ).run()
        #expect(ended.status == 4, "\(ended)")
        let lines = (image.box.directory.text("home/trace") ?? "").split(separator: "\n")
        #expect(lines.contains { $0.contains("/record\"") }, "the trace shows no record read: \(lines)")
        for line in lines {
            #expect(!line.contains("socket(") && !line.contains("connect(") && !line.contains(".json\""), "\(line)")
        }
        let started = lines.filter { $0.contains("execve(") && !$0.contains("= -1") }
        // As root, the launcher executes itself from a read-only mount first.
        #expect(started.count == (caller == .root ? 3 : 2), "the launcher, and what it becomes: \(started)")
    }
}
