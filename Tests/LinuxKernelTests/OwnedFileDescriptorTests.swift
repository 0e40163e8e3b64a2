import LinuxKernel
import Testing

@Suite struct OwnedFileDescriptorTests {
    @Test func openingWhatIsAbsentNamesCallAndSubject() {
        #expect(throws: SystemError(call: "open", errno: 2, subject: "/nonexistent/x")) {
            _ = try OwnedFileDescriptor(opening: "/nonexistent/x", .readOnly)
        }
    }

    @Test func resolvingUpwardsStaysBeneath() throws {
        let root = try OwnedFileDescriptor(opening: "/etc", [.path, .directory])
        #expect(throws: SystemError.self) {
            _ = try root.resolve("../bin", [.path])
        }
    }
}
