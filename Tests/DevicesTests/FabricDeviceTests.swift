import Devices
import Foundation
import LinuxKernel
import TestSupport
import Testing

/// The fabrics of a host with simulated `/dev` and `/sys`.
@Suite struct FabricDeviceTests {
    static func host(_ make: (TemporaryDirectory) throws -> Void) throws -> [FabricDevices.Device] {
        let directory = try TemporaryDirectory()
        try make(directory)
        return try FabricDevices(root: directory.path).devices
    }

    static func adapter(
        _ directory: TemporaryDirectory, _ number: Int, name: String, driver: String, states: [String]
    ) throws {
        try directory.makeDirectory("dev/infiniband")
        try directory.write("", to: "dev/infiniband/uverbs\(number)")
        try directory.makeDirectory("sys/class/infiniband_verbs/uverbs\(number)")
        try directory.write(name + "\n", to: "sys/class/infiniband_verbs/uverbs\(number)/ibdev")
        try directory.makeDirectory("sys/class/infiniband/\(name)/device")
        try FileManager.default.createSymbolicLink(
            atPath: directory.path + "/sys/class/infiniband/\(name)/device/driver",
            withDestinationPath: "../../../../bus/pci/drivers/" + driver)
        for (port, state) in states.enumerated() {
            try directory.makeDirectory("sys/class/infiniband/\(name)/ports/\(port + 1)")
            try directory.write(state + "\n", to: "sys/class/infiniband/\(name)/ports/\(port + 1)/state")
        }
    }

    @Test func aHostWithoutHasNone() throws {
        #expect(try Self.host { _ in } == [])
        #expect(try Self.host { try $0.makeDirectory("dev/infiniband") } == [])
    }

    @Test func nameDriverAndPortsAreSysfss() throws {
        let devices = try Self.host {
            try Self.adapter($0, 1, name: "rdmap0s6", driver: "efa", states: ["4: ACTIVE"])
            try Self.adapter($0, 0, name: "mlx5_0", driver: "mlx5_core", states: ["1: DOWN", "4: ACTIVE"])
            try Self.adapter($0, 2, name: "mlx5_1", driver: "mlx5_core", states: ["1: DOWN"])
            try $0.write("", to: "dev/infiniband/umad0")
            try $0.write("", to: "dev/infiniband/rdma_cm")
        }
        #expect(devices.map(\.node) == (0...2).map { DeviceNode("/dev/infiniband/uverbs\($0)") })
        #expect(devices.map(\.name) == ["mlx5_0", "rdmap0s6", "mlx5_1"])
        #expect(devices.map(\.driver) == ["mlx5_core", "efa", "mlx5_core"])
        #expect(devices.map(\.isActive) == [true, true, false])
    }

    @Test func whatSysfsDoesNotKnowIsUnknown() throws {
        let devices = try Self.host {
            try $0.makeDirectory("dev/infiniband")
            try $0.write("", to: "dev/infiniband/uverbs0")
        }
        #expect(devices == [FabricDevices.Device(node: "/dev/infiniband/uverbs0")])
        #expect(devices[0].isActive == nil)
    }

    @Test func aDirectoryThatCannotBeReadIsNotAbsent() throws {
        let place = try TemporaryDirectory()
        try place.makeDirectory("dev")
        try place.link("dev/infiniband", to: "infiniband")
        #expect { try FabricDevices(root: place.path) } throws: {
            let error = $0 as? SystemError
            return error?.name == "ELOOP" && error?.subject == place.path + "/dev/infiniband"
        }
    }

    @Test func slingshotHasNodesOfItsOwn() throws {
        let devices = try Self.host {
            try $0.makeDirectory("dev")
            for name in ["cxi0", "cxi1", "cxi_service", "cx"] { try $0.write("", to: "dev/" + name) }
        }
        #expect(devices.map(\.node) == ["/dev/cxi0", "/dev/cxi1"])
    }
}
