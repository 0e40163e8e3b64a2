import LinuxKernel
@testable import Sandbox
import Testing
import TestSupport

@Suite struct ContainerProcessTests {
    /// A hostile process has any number of files that look like leases.
    @Test func leasesAreRegularFilesAndNotTooMany() throws {
        let directory = try TemporaryDirectory()
        try directory.makeDirectory("directory/lease")
        try directory.write("", to: "lease")
        let script = """
            exec 9<"$0/directory/lease"
            for i in {1..100}; do exec {fd}<"$0/lease"; done
            echo ready; exec sleep 600
            """
        let running = try Command(["bash", "-c", script, directory.path]).start()
        try running.until("the files") { $0.printed == "ready\n" }
        let place = try OwnedFileDescriptor(opening: "/proc/\(running.processID)", .readOnly | .directory)
        let process = try there(OtherProcess(Int(running.processID), in: place))
        let leases = ContainerProcess(process: process, directory: DescriptorBox(place)).leases()
        #expect(leases.count == ContainerProcess.mostLeases)
        #expect(try leases.allSatisfy { try $0.descriptor.status().kind == .regular })
        running.signal(9)
        _ = try running.wait()
    }
}
