import Foundation
import TestSupport
import Testing

/// Hooks of CDI specifications that the site allows.
@Suite(.needsLauncher) struct HookTests {
    /// CVE-2025-23266: NVIDIA's hook was run with the image's LD_PRELOAD. CVE-2025-23267 and CVE-2026-24260 are of its kind.
    @Test(.enabled(if: DeviceTests.hasRich, "no built berth-image: run Scripts/build"), arguments: Caller.all)
    func cve_2025_23266_nothingOfTheImagesEnvironmentReachesAHook(_ caller: Caller) throws {
        var image = try StoredBox(caller)
        image.environment = [
            "LD_PRELOAD=/evil.so", "LD_AUDIT=/evil.so", "LD_LIBRARY_PATH=/evil", "PATH=/evil:/bin", "BASH_ENV=/evil",
            "ENV=/evil", "SECRET=of the image", "HOOK=of the image",
        ]
        try image.publish()
        let (box, place) = (image.box, try TemporaryDirectory())
        let berth = place.path + "/bin/berth"
        try place.makeDirectory("bin")
        try FileManager.default.copyItem(atPath: box.fixture.berth, toPath: berth)
        try place.link("libexec/berth/berth-image", to: try #require(DeviceTests.rich))
        try box.directory.makeDirectory("out", mode: 0o777)
        let hook = try box.directory.write(
            "#!/bin/sh\n/usr/bin/tr '\\0' '\\n' </proc/$$/environ >\(box.path("out/env"))\n", to: "hook", mode: 0o755)
        try box.directory.write(
            "cdiVersion: 1.0.0\nkind: v.com/c\ndevices: [{name: d, containerEdits: {hooks: [{hookName: createContainer, path: "
                + "\(hook), args: [hook], env: [HOOK=1]}]}}]", to: "cdi/v.yaml")
        try box.directory.write("cdi-directory = \(box.path("cdi"))\ncdi-hook = \(hook)\n", to: "berth.conf")
        let ended = try Command(
            box.caller.running(
                [berth, "run", "--pull", "never", "--store", image.store, "--device", "v.com/c=d", "-e", "OPTION=x"]
                    + ["test:1", "/bin/probe", "env", "SECRET", "LD_AUDIT", "OPTION"]),
            environment: box.environment.merging(["CALLER": "x"]) { $1 }, directory: box.directory.path
        ).run()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines == ["SECRET=of the image", "LD_AUDIT=/evil.so", "OPTION=x"])
        // As it was executed, whatever its shell adds.
        let lines = try #require(box.directory.text("out/env")).split(separator: "\n").map(String.init)
        #expect(lines.contains("HOOK=1"), "\(lines)")
        #expect(Set(lines.map { $0.prefix { $0 != "=" } }).isSubset(of: ["HOOK", "PATH"]), "\(lines)")
        #expect(!lines.contains { $0.contains("evil") || $0.contains("image") }, "\(lines)")
    }
}
