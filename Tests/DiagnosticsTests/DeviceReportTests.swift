import Devices
import Diagnostics
import Testing

/// Each device error names the device and has a hint.
@Suite struct DeviceReportTests {
    static let refused = DeviceRegistry.Refused(path: "/etc/cdi/b.yaml", line: 3, reason: "kind is missing")

    @Test(
        arguments: [
            (.unknownKind("v.com/c", refused: [refused]), "v.com/c"),
            (.unknownDevice("v.com/c=d", known: ["e"], refused: []), "v.com/c=d"),
            (.conflict("v.com/c=d", paths: ["/a", "/b"]), "/a, /b"),
            (.notGranted("v.com/c=d", node: "/dev/nvidia1", granted: []), "/dev/nvidia1"),
            (.wrongNode("v.com/c=d", path: "/dev/x"), "/dev/x"),
            (.hookRefused("prestart", path: "/h", place: "f:1"), "/h"),
            (.hookStage("poststop", path: "/h", place: "f:1"), "poststop"),
            (.badHook("nvidia-ctk chmod", place: "f:1"), "nvidia-ctk chmod"),
            (.mountOption("idmap", place: "f:1"), "idmap"), (.netDevice("eth1", name: "eth0", place: "f:1"), "eth1"),
            (.noSuchGPU("GPU-1", granted: ["/dev/nvidia0"]), "GPU-1"), (.noFabric("efa"), "EFA"),
            (.noFabric("ib"), "uverbs"),
        ] as [(DeviceError, String)]) func nameAndRemedy(_ error: DeviceError, _ thing: String)
    {
        let report = Report(error)
        #expect(report.summary.contains(thing), "\(report.summary)")
        #expect(report.hint?.isEmpty == false, "\(error)")
        #expect(report.status == .ownFailure)
    }

    @Test func filesThatWereNotReadAreNamed() {
        let report = Report(DeviceError.unknownKind("v.com/c", refused: [Self.refused]))
        #expect(report.details == ["rejected: /etc/cdi/b.yaml:3: kind is missing"])
    }
}
