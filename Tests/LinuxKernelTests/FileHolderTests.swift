import LinuxKernel
import Testing
import TestSupport

@Suite struct FileHolderTests {
    /// Whatever names the file and its directory have by now.
    @Test func holdersAreFound() throws {
        let directory = try TemporaryDirectory()
        try directory.write("", to: "a/lease")
        try directory.write("", to: "b/lease")
        let file = try OwnedFileDescriptor(opening: directory.path + "/a/lease", .readOnly)
        let running = try Command(
            ["sh", "-c", "exec 8<a/lease 9<b/lease; mv a c; rm c/lease; echo ready; exec sleep 600"],
            directory: directory.path
        )
        .start()
        try running.until("the file") { $0.printed == "ready\n" }
        let other = try OwnedFileDescriptor(opening: directory.path + "/b/lease", .readOnly)
        for found in [FileHolder.all(of: file), FileHolder.all(of: other)] {
            #expect(found.contains { $0.processID == running.processID && $0.command == "sleep" })
        }
        running.signal(9)
        _ = try running.wait()
        #expect(!FileHolder.all(of: file).contains { $0.processID == running.processID })
    }

    @Test func regularFilesAloneAreRead() throws {
        let directory = try TemporaryDirectory()
        try directory.write("text", to: "file")
        _ = try Command(["mkfifo", directory.path + "/fifo"]).run()
        #expect(try contents(ofRegularFile: directory.path + "/file", limit: 4) == Array("text".utf8))
        for (name, limit) in [("fifo", 4), ("file", 3), (".", 4), ("absent", 4)] {
            #expect(throws: SystemError.self) { try contents(ofRegularFile: directory.path + "/" + name, limit: limit) }
        }
        #expect(throws: SystemError.self) { try contents(ofRegularFile: "/dev/null", limit: 4) }
    }
}
