import Devices
import LaunchPlanning
import LinuxKernel
import Sandbox
import TestSupport
import Testing

/// Which device nodes a policy lets through.
@Suite struct CgroupEnforcerTests {
    private static func rules(directory: String) throws -> [DeviceRule] {
        var policy = CgroupPolicy(devices: [DeviceNode(directory)], origin: .option("--enforce"))
        policy.deviceDirectories = [DeviceNode(directory)]
        let nowhere = CgroupMembership(separate: [], unified: nil)
        return try CgroupEnforcer(policy, nowhere, isOfOneTask: { _ in false }).deviceRules()
    }

    /// Without its nodes the container would start and could open none of them.
    @Test func aDirectoryOfNodesThatCannotBeReadIsAnError() throws {
        let place = try TemporaryDirectory()
        try place.link("nodes", to: "nodes")
        #expect { try Self.rules(directory: place.path + "/nodes") } throws: {
            let error = $0 as? SystemError
            return error?.name == "ELOOP" && error?.subject == place.path + "/nodes"
        }
    }

    @Test func whatIsAbsentAddsNoRule() throws {
        let place = try TemporaryDirectory()
        try place.write("", to: "file")
        for name in ["absent", "file", "file/below"] {
            #expect(try Self.rules(directory: place.path + "/" + name) == DeviceRule.standard)
        }
    }
}
