import DeviceSpecifications
import Devices
import Foundation
import ImageDiagnostics
import TestSupport
import Testing

/// Files that the CDI specification allows and forbids. The cases follow those of the reference implementation's tests.
@Suite struct SpecificationParserTests {
    static func parse(_ text: String) throws -> DeviceRegistry.Specification {
        try SpecificationParser.parse(text, path: "/etc/cdi/x.yaml", priority: 0)
    }

    static let whole = """
        {
          "cdiVersion": "1.1.0",
          "kind": "vendor.com/gpu",
          "annotations": {"vendor.com/made": "today"},
          "devices": [
            {
              "name": "one",
              "annotations": {"x": "y"},
              "containerEdits": {
                "env": ["ONE=1", "EMPTY="],
                "deviceNodes": [
                  {"path": "/dev/a", "hostPath": "/dev/vendor/a", "type": "c", "major": 195, "minor": 3,
                   "fileMode": 438, "permissions": "rw", "uid": 0, "gid": 44}
                ],
                "additionalGids": [44, 0, 4294967295]
              }
            },
            {"name": "1:0", "containerEdits": {"netDevices": [{"hostInterfaceName": "eth9", "name": "eth9"}]}}
          ],
          "containerEdits": {
            "mounts": [{"hostPath": "/usr/lib/x.txt", "containerPath": "/usr/lib/x.txt", "type": "none",
                        "options": ["ro", "rbind"]}],
            "hooks": [{"hookName": "createContainer", "path": "/usr/bin/hook", "args": ["hook", "go"],
                       "env": ["A=B=C"], "timeout": 5}],
            "intelRdt": {"closID": "/", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50", "schemata": ["L3:1=f"],
                         "enableMonitoring": true}
          }
        }
        """

    @Test func everyFieldIsRead() throws {
        let specification = try Self.parse(Self.whole)
        #expect(specification.kind == "vendor.com/gpu")
        #expect(specification.devices.map(\.name) == ["one", "1:0"])
        let one = specification.devices[0].edits
        #expect(one.env.map(\.entry) == ["ONE=1", "EMPTY="])
        #expect(one.env[0].line == 10)
        let node = try #require(one.deviceNodes.first)
        #expect(node.path == "/dev/a" && node.hostPath == "/dev/vendor/a" && node.type == "c")
        #expect(node.major == 195 && node.minor == 3 && node.fileMode == 438 && node.permissions == "rw")
        #expect(node.uid == 0 && node.gid == 44 && node.line == 12)
        #expect(one.additionalGids == [44, 0, 4_294_967_295])
        #expect(specification.devices[1].edits.netDevices.map(\.name) == ["eth9"])
        let mount = try #require(specification.edits.mounts.first)
        #expect(mount.hostPath == "/usr/lib/x.txt" && mount.type == "none" && mount.options == ["ro", "rbind"])
        let hook = try #require(specification.edits.hooks.first)
        #expect(hook.hookName == "createContainer" && hook.path == "/usr/bin/hook" && hook.args == ["hook", "go"])
        #expect(hook.env == ["A=B=C"] && hook.timeout == 5)
        let rdt = try #require(specification.edits.intelRdt)
        #expect(rdt.closID == "/" && rdt.l3CacheSchema == "L3:0=f" && rdt.memBwSchema == "MB:0=50")
        #expect(rdt.schemata == ["L3:1=f"] && rdt.enableMonitoring)
    }

    @Test func theRecordHoldsEverything() throws {
        var registry = DeviceRegistry()
        registry.specifications = [try Self.parse(Self.whole), try Self.parse(Self.minimal())]
        registry.refused = [DeviceRegistry.Refused(path: "/etc/cdi/bad.yaml", line: 3, reason: "no \"good\"")]
        let bytes = registry.encoded(key: "k")
        #expect(DeviceRegistry(decoding: bytes, key: "k") == registry)
        #expect(DeviceRegistry(decoding: bytes, key: "other") == nil)
        for length in [0, 10, 40, bytes.count / 2, bytes.count - 1] {
            let cut = DeviceRegistry(decoding: Array(bytes.prefix(length)), key: "k")
            #expect(cut == nil || cut != registry)
        }
    }

    static func minimal(
        version: String = "0.5.0", kind: String = "vendor.com/class", device: String = "dev",
        edits: String = "env: [A=B]", more: String = ""
    ) -> String {
        """
        cdiVersion: "\(version)"
        kind: \(kind)
        devices:
        - name: "\(device)"
          containerEdits:
            \(edits)
        \(more)
        """
    }

    @Test func yamlAsNVIDIAWritesIt() throws {
        let specification = try Self.parse(
            """
            ---
            cdiVersion: 0.5.0
            kind: nvidia.com/gpu
            containerEdits:
              deviceNodes:
              - path: /dev/nvidiactl
              env:
              - NVIDIA_VISIBLE_DEVICES=void
              hooks:
              - args:
                - nvidia-cdi-hook
                - create-symlinks
                - --link
                - libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so
                env:
                - NVIDIA_CTK_DEBUG=false
                hookName: createContainer
                path: /usr/bin/nvidia-cdi-hook
              mounts:
              - containerPath: /run/nvidia-persistenced/socket
                hostPath: /run/nvidia-persistenced/socket
                options: [nosuid, nodev, rbind, rprivate, noexec]
            devices:
            - containerEdits:
                deviceNodes:
                - path: /dev/nvidia0
                  fileMode: 0666
              name: "0"
            - containerEdits: &all
                deviceNodes:
                - path: /dev/nvidia0
              name: all
            """)
        #expect(specification.devices.map(\.name) == ["0", "all"])
        #expect(specification.devices[0].edits.deviceNodes[0].fileMode == 0o666)
        #expect(specification.edits.hooks[0].args[3] == "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so")
        #expect(specification.edits.mounts[0].line == 20)
    }

    @Test(arguments: [
        ("v0.5.0", "vendor.com/class", "dev"), ("0.3.0", "vendor/class", "d"), ("1.0.0", "vendor.com/class.sub", "1"),
        ("0.5.0", "vendor.com/class", "1dev"),
    ]) func goodVersionsAndNames(_ version: String, _ kind: String, _ device: String) throws {
        _ = try Self.parse(Self.minimal(version: version, kind: kind, device: device))
    }

    /// https://yaml.org/type/int.html
    @Test(arguments: [
        ("10", 10), ("0660", 0o660), ("0o660", 0o660), ("0x1f", 0x1F), ("0b101", 5), ("1_000", 1000), ("+7", 7),
        ("0", 0),
    ]) func integersOfYAML(_ text: String, _ expected: UInt32) throws {
        let parsed = try Self.parse(Self.minimal(edits: "deviceNodes: [{path: /dev/a, fileMode: \(text)}]"))
        #expect(parsed.devices[0].edits.deviceNodes[0].fileMode == expected)
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let text: String
        let reason: @Sendable (SpecificationError.Reason) -> Bool
        init(_ name: String, _ text: String, _ reason: @escaping @Sendable (SpecificationError.Reason) -> Bool) {
            testDescription = name
            self.text = text
            self.reason = reason
        }
    }

    static func isLow(_ needed: String) -> @Sendable (SpecificationError.Reason) -> Bool {
        { if case .versionTooLow(_, needed, _) = $0 { true } else { false } }
    }

    static let bad: [Bad] = [
        Bad("empty", "") { $0 == .missing(field: "cdiVersion") },
        Bad("null", "null") { if case .wrongType = $0 { true } else { false } },
        Bad("an empty object", "{}") { $0 == .missing(field: "cdiVersion") },
        Bad("no JSON", "{\"cdiVersion\": ") { if case .notYAML = $0 { true } else { false } },
        Bad("unknown version", minimal(version: "0.9.0")) { $0 == .unknownVersion("0.9.0") },
        Bad("future version", minimal(version: "2.0.0")) { $0 == .unknownVersion("2.0.0") },
        Bad("no kind", "cdiVersion: 0.5.0\ndevices: []") { $0 == .missing(field: "kind") },
        Bad("kind without class", minimal(kind: "vendor.com")) { $0 == .badKind("vendor.com") },
        Bad("kind with a bad vendor", minimal(kind: "_vendor/class")) { $0 == .badKind("_vendor/class") },
        Bad("kind with two slashes", minimal(kind: "vendor/a/b")) { $0 == .badKind("vendor/a/b") },
        Bad("no devices", "cdiVersion: 0.5.0\nkind: v/c\ndevices: []") { $0 == .noDevices },
        Bad("bad device name", minimal(device: "-dev")) { $0 == .badDeviceName("-dev") },
        Bad("device twice", minimal(more: "- {name: dev, containerEdits: {env: [A=B]}}")) { $0 == .deviceTwice("dev") },
        Bad("empty edits", minimal(edits: "{}")) { $0 == .emptyEdits(device: "dev") },
        Bad("unknown field", minimal(more: "containerEdit: {}")) { $0 == .unknownField("containerEdit") },
        Bad("unknown field of a node", minimal(edits: "deviceNodes: [{path: /dev/a, mode: 1}]")) {
            $0 == .unknownField("mode")
        },
        Bad("two documents", minimal() + "\n---\n" + minimal()) { $0 == .notYAML("expected a single document") },
        Bad("text after the end", #"{"cdiVersion":"0.5.0"} x"#) { if case .notYAML = $0 { true } else { false } },
        Bad("UTF-16", "\0{\0}") { if case .notYAML = $0 { true } else { false } },
        Bad("a list that contains itself", "&a [*a]") { if case .wrongType = $0 { true } else { false } },
        Bad("an anchor without a node", minimal(edits: "*gone")) { if case .notYAML = $0 { true } else { false } },
        Bad("number that is too large", minimal(edits: "deviceNodes: [{path: /dev/a, major: 99999999999999999999}]")) {
            $0 == .wrongType(field: "major", expected: "a whole number")
        },
        Bad("annotation that is a number", minimal(version: "0.6.0", more: "annotations: {a: 1.5}")) {
            $0 == .badAnnotation("a")
        },
        Bad("byte order mark", "\u{FEFF}" + minimal()) { $0 == .notYAML("it begins with a byte order mark") },
        Bad("JSON field twice", #"{"cdiVersion":"0.5.0","kind":"v.com/c","kind":"w.com/c"}"#) {
            $0 == .twice(field: "kind")
        },
        Bad("JSON field twice, escaped", #"{"cdiVersion":"0.5.0","kind":"v.com/c","\u006bind":"w.com/c"}"#) {
            $0 == .twice(field: "kind")
        },
        Bad("another case", #"{"cdiVersion":"0.5.0","kind":"v.com/c","Kind":"w.com/c"}"#) {
            $0 == .unknownField("Kind")
        },
        Bad("field twice", "cdiVersion: 0.5.0\ncdiVersion: 0.6.0\nkind: v/c") { $0 == .twice(field: "cdiVersion") },
        Bad("variable without a name", minimal(edits: "env: [\"=B\"]")) { $0 == .badVariable("=B") },
        Bad("variable without a value", minimal(edits: "env: [FOO]")) { $0 == .badVariable("FOO") },
        Bad("node without a path", minimal(edits: "deviceNodes: [{type: c}]")) { $0 == .missing(field: "path") },
        Bad("node with a bad type", minimal(edits: "deviceNodes: [{path: /dev/a, type: x}]")) {
            $0 == .badNodeType("x")
        },
        Bad("node with bad permissions", minimal(edits: "deviceNodes: [{path: /dev/a, permissions: rx}]")) {
            $0 == .badPermissions("rx")
        },
        Bad("relative node", minimal(edits: "deviceNodes: [{path: dev/a}]")) {
            $0 == .notAbsolute(field: "path", "dev/a")
        },
        Bad("major that is a string", minimal(edits: "deviceNodes: [{path: /dev/a, major: \"195\"}]")) {
            $0 == .wrongType(field: "major", expected: "a whole number")
        },
        Bad("negative uid", minimal(edits: "deviceNodes: [{path: /dev/a, uid: -1}]")) {
            $0 == .wrongType(field: "uid", expected: "a whole number")
        },
        Bad("mount without a source", minimal(edits: "mounts: [{containerPath: /a}]")) {
            $0 == .missing(field: "hostPath")
        },
        Bad("mount without a target", minimal(edits: "mounts: [{hostPath: /a}]")) {
            $0 == .missing(field: "containerPath")
        },
        Bad("unknown hook", minimal(edits: "hooks: [{hookName: onStart, path: /h}]")) { $0 == .badHookName("onStart") },
        Bad("hook without a path", minimal(edits: "hooks: [{hookName: prestart}]")) { $0 == .missing(field: "path") },
        Bad("relative hook", minimal(edits: "hooks: [{hookName: prestart, path: h}]")) {
            $0 == .notAbsolute(field: "path", "h")
        },
        Bad("hook with a bad variable", minimal(edits: "hooks: [{hookName: prestart, path: /h, env: [X]}]")) {
            $0 == .badVariable("X")
        },
        Bad("hook without time", minimal(edits: "hooks: [{hookName: prestart, path: /h, timeout: 0}]")) {
            $0 == .badTimeout(0)
        },
        Bad("closID that climbs", minimal(version: "1.1.0", edits: "intelRdt: {closID: ..}")) {
            $0 == .badClosID("..")
        },
        Bad("closID with a slash", minimal(version: "1.1.0", edits: "intelRdt: {closID: a/b}")) {
            $0 == .badClosID("a/b")
        },
        Bad(
            "interface twice",
            minimal(
                version: "1.1.0",
                edits: "netDevices: [{hostInterfaceName: a, name: x}, {hostInterfaceName: a, name: y}]")
        ) { $0 == .netDeviceTwice("a") },
        Bad("field of CDI 0.7 that is gone", minimal(version: "1.1.0", edits: "intelRdt: {enableCMT: true}")) {
            $0 == .unknownField("enableCMT")
        },
        Bad("bad annotation", minimal(version: "0.6.0", more: "annotations: {\"-x\": \"y\"}")) {
            $0 == .badAnnotation("-x")
        },
        Bad("control character", minimal(edits: "env: [\"A=\\u001f\"]")) { $0 == .controlCharacter(field: "env") },
        Bad("list where an object belongs", minimal(edits: "[A=B]")) {
            $0 == .wrongType(field: "containerEdits", expected: "an object")
        },
        // The lowest version for each field.
        Bad(
            "type of a mount",
            minimal(version: "0.3.0", edits: "mounts: [{hostPath: /a, containerPath: /a, type: bind}]"), isLow("0.4.0")),
        Bad(
            "hostPath", minimal(version: "0.4.0", edits: "deviceNodes: [{path: /dev/a, hostPath: /dev/b}]"),
            isLow("0.5.0")),
        Bad("digit first", minimal(version: "0.4.0", device: "0"), isLow("0.5.0")),
        Bad("annotations", minimal(version: "0.5.0", more: "annotations: {a: b}"), isLow("0.6.0")),
        Bad("dot in the class", minimal(version: "0.5.0", kind: "vendor.com/a.b"), isLow("0.6.0")),
        Bad("additionalGids", minimal(version: "0.6.0", edits: "additionalGids: [1]"), isLow("0.7.0")),
        Bad("intelRdt", minimal(version: "0.6.0", edits: "intelRdt: {closID: a}"), isLow("0.7.0")),
        Bad("schemata", minimal(version: "1.0.0", edits: "intelRdt: {schemata: [a]}"), isLow("1.1.0")),
        Bad(
            "netDevices", minimal(version: "1.0.0", edits: "netDevices: [{hostInterfaceName: a, name: a}]"),
            isLow("1.1.0")),
    ]

    @Test(arguments: bad) func badFilesAreRefusedWithTheReason(_ bad: Bad) throws {
        do {
            _ = try Self.parse(bad.text)
            Issue.record("\(bad.testDescription) was taken")
        } catch let error as SpecificationError {
            #expect(bad.reason(error.reason), "\(error)")
            #expect(!error.text.isEmpty)
        }
    }

    @Test func errorsNameTheLine() throws {
        let text = Self.minimal(edits: "deviceNodes:\n    - path: /dev/a\n      type: q")
        #expect { try Self.parse(text) } throws: { ($0 as? SpecificationError)?.line == 7 }
    }

    // MARK: Directories

    @Test func whatIsWrongInOneFileHidesNoOther() throws {
        let place = try TemporaryDirectory()
        try place.write(Self.minimal(), to: "cdi/good.yaml")
        try place.write(Self.minimal(version: "9.9.9"), to: "cdi/bad.yaml")
        try place.link("cdi/dangling.json", to: "nowhere")
        let files = SpecificationFiles(in: [place.path + "/cdi"])
        let registry = SpecificationCompiler.compile(files, describe: \.text)
        #expect(registry.specifications.map(\.kind) == ["vendor.com/class"])
        #expect(
            registry.refused.map { String($0.path.split(separator: "/").last ?? "") } == ["bad.yaml", "dangling.json"])
        #expect(registry.refused[0].reason.contains("9.9.9") && registry.refused[1].reason.contains("No such file"))
        #expect(DeviceRegistry(decoding: registry.encoded(key: files.key), key: files.key) == registry)
    }

    /// Its devices are unknown, and a request for one of them gets the reason.
    @Test func aDirectoryThatCannotBeReadIsRefusedByName() throws {
        let place = try TemporaryDirectory()
        try place.write(Self.minimal(), to: "cdi/good.yaml")
        try place.link("loop", to: "loop")
        try place.write("", to: "file")
        let paths = ["loop", "cdi", "absent", "file", "file/below"].map { place.path + "/" + $0 }
        let files = SpecificationFiles(in: paths)
        let registry = SpecificationCompiler.compile(files, describe: \.text)
        #expect(registry.specifications.map(\.kind) == ["vendor.com/class"])
        #expect(registry.refused.map(\.path) == [paths[0]])
        #expect(registry.refused.first?.reason.contains("Too many levels of symbolic links") ?? false)
        let wanted = try QualifiedName(parsing: "other.com/class=a")
        #expect(throws: DeviceError.unknownKind("other.com/class", refused: registry.refused)) {
            try registry.device(wanted)
        }
        // A directory that is readable again is another state.
        try FileManager.default.removeItem(atPath: place.path + "/loop")
        #expect(SpecificationFiles(in: paths).key != files.key)
    }

    @Test func librariesAreAskedForTheirNames() throws {
        let place = try TemporaryDirectory()
        try place.write("int x;\n", to: "a.c")
        let made = try Command(
            ["cc", "-shared", "-fPIC", "-Wl,-soname,libfoo.so.1", "-o", "libfoo.so.1.2", "a.c"], directory: place.path
        ).run()
        try #require(made.status == 0, "\(made)")
        let text = Self.minimal(
            edits:
                "mounts: [{hostPath: \(place.path)/libfoo.so.1.2, containerPath: /l}, {hostPath: \(place.path)/a.c, containerPath: /a}]"
        )
        #expect(try Self.parse(text).devices[0].edits.mounts.map(\.soname) == ["libfoo.so.1", ""])
    }
}
