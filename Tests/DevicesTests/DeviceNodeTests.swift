import LinuxKernel
import TestSupport
import Testing

@testable import Devices

/// The kind of a device node by its path.
@Suite struct DeviceNodeTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let path: String
        let kind: DeviceNode.Kind
        let vendor: DeviceNode.Vendor?
        let index: Int?
        var testDescription: String { path }
        init(_ path: String, _ kind: DeviceNode.Kind, _ vendor: DeviceNode.Vendor? = nil, _ index: Int? = nil) {
            (self.path, self.kind, self.vendor, self.index) = (path, kind, vendor, index)
        }
    }

    @Test(arguments: [
        Row("/dev/nvidia0", .gpu, .nvidia, 0), Row("/dev/nvidia15", .gpu, .nvidia, 15),
        Row("/dev/dri/renderD128", .gpu, nil, 128), Row("/dev/nvidiactl", .gpuControl, .nvidia),
        Row("/dev/nvidia-uvm", .gpuControl, .nvidia), Row("/dev/nvidia-uvm-tools", .gpuControl, .nvidia),
        Row("/dev/nvidia-modeset", .gpuControl, .nvidia), Row("/dev/gdrdrv", .gpuControl, .nvidia),
        Row("/dev/kfd", .gpuControl, .amd), Row("/dev/nvidia-caps/nvidia-cap21", .migCapability, .nvidia, 21),
        Row("/dev/nvidia-caps-imex-channels/channel0", .imexChannel, .nvidia, 0),
        Row("/dev/nvidia-fs3", .storage, .nvidia, 3), Row("/dev/nvidia-nvswitchctl", .nvSwitch, .nvidia),
        Row("/dev/nvidia-nvlink", .nvSwitch, .nvidia), Row("/dev/infiniband/uverbs2", .verbs, nil, 2),
        Row("/dev/infiniband/rdma_cm", .connectionManager), Row("/dev/cxi1", .slingshot, nil, 1),
        Row("/dev/xpmem", .sharedMemory), Row("/dev/knem", .sharedMemory), Row("/dev/null", .standard),
        Row("/dev/tty", .standard),
    ]) func thePathSaysWhatItIs(_ row: Row) {
        let node = DeviceNode(row.path)
        #expect(node.kind == row.kind && node.vendor == row.vendor && node.index == row.index)
        #expect(node.path == row.path && "\(node)" == row.path && DeviceNode(inDev: row.path) == node)
    }

    @Test(arguments: [
        "", "/", "/dev", "/dev/", "/devnull", "nvidia0", "/tmp/dev/nvidia0", "/dev/nvidia", "/dev/nvidia0x",
        "/dev/nvidia-1",
        "/dev/nvidia+1", "/dev/nvidia0/x", "/dev/nvidia99999999999999999999", "/dev/cxi", "/dev/cxix", "/dev/dri/card0",
        "/dev/dri/renderD", "/dev/infiniband/umad0", "/dev/infiniband/issm0", "/dev/fuse", "/dev/shm", "/dev/nulls",
        "/dev/nvidia\u{301}", "/dev/kfd/",
    ]) func whatOnlyLooksLikeItIsNot(_ path: String) {
        #expect(DeviceNode(path).kind == .other && DeviceNode(path).index == nil)
    }

    @Test func onlyWhatIsBelowDevIsANode() {
        #expect(DeviceNode(inDev: "/dev/fuse")?.kind == .other)
        for path in ["/dev", "/devices/x", "/home/dev/null", ""] { #expect(DeviceNode(inDev: path) == nil) }
    }

    @Test func aRenderNodeIsAGPUWhereThereIsNoOther() {
        #expect(DeviceNode.gpus(among: ["/dev/dri/renderD128", "/dev/nvidia1", "/dev/nvidiactl"]) == ["/dev/nvidia1"])
        #expect(DeviceNode.gpus(among: ["/dev/kfd", "/dev/dri/renderD128"]) == ["/dev/dri/renderD128"])
        #expect(DeviceNode.gpus(among: ["/dev/infiniband/uverbs0"]) == [])
    }

    @Test func theKernelsNumberIsReadFromTheNode() throws {
        #expect(DeviceNode("/dev/null").number == DeviceNode.Number(isBlock: false, major: 1, minor: 3))
        #expect(DeviceNode("/dev/shm").number == nil && DeviceNode("/dev/absent").number == nil)
    }
}
