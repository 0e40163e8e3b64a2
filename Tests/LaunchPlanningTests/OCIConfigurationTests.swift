import Devices
import Foundation
import LaunchPlanning
import LinuxKernel
import Testing

/// The exported configuration, held against the runtime-spec's rules; the rules are written down here as data.
/// https://github.com/opencontainers/runtime-spec/tree/main/schema
@Suite struct OCIConfigurationTests {
    typealias Object = [String: Any]

    static func configuration(
        _ host: HostFacts = Sample.host, image: ContainerImage = Sample.image, site: SitePolicy = SitePolicy(),
        facts: OCIFacts? = nil, _ change: (inout LaunchOptions) -> Void = { _ in }
    ) throws -> Object {
        let plan = try Sample.plan(image: image, site: site, host: host, change)
        let facts = facts ?? OCIFacts(userID: host.userID, groupID: host.groupID)
        let text = plan.ociConfiguration(facts).text
        return try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? Object)
    }

    // MARK: The schema's rules

    /// A rule of the schema for the value at a path; `*` stands for every element of an array.
    indirect enum Rule: Sendable {
        case string(pattern: String)
        case oneOf([String])
        case absolutePath
        case uint32, uint64, bool
        case array(of: Rule, unique: Bool)
        case object([String: Rule], required: [String])
    }

    static let capability = Rule.string(pattern: "^CAP_[A-Z_]+$")
    static let mappings = Rule.array(
        of: .object(
            ["containerID": .uint32, "hostID": .uint32, "size": .uint32], required: ["containerID", "hostID", "size"]),
        unique: false)

    /// The parts of config-schema.json and config-linux.json that an export of Berth's has. What is not named here may
    /// not be there.
    static let schema = Rule.object(
        [
            "ociVersion": .string(pattern: "^1\\.[0-9]+\\.[0-9]+$"),
            "hostname": .string(pattern: "^.+$"),
            "annotations": .object(["berth.rootfs.lowerdir": .string(pattern: "^/.*$")], required: []),
            "root": .object(["path": .string(pattern: "^.+$"), "readonly": .bool], required: ["path"]),
            "process": .object(
                [
                    "terminal": .bool, "cwd": .absolutePath, "noNewPrivileges": .bool,
                    "args": .array(of: .string(pattern: "(?s)^.*$"), unique: false),
                    "env": .array(of: .string(pattern: "(?s)^[^=]+=.*$"), unique: false),
                    "user": .object(
                        ["uid": .uint32, "gid": .uint32, "additionalGids": .array(of: .uint32, unique: false)],
                        required: ["uid", "gid"]),
                    "capabilities": .object(
                        [
                            "bounding": .array(of: capability, unique: true),
                            "effective": .array(of: capability, unique: true),
                            "permitted": .array(of: capability, unique: true),
                            "inheritable": .array(of: capability, unique: true),
                            "ambient": .array(of: capability, unique: true),
                        ], required: []),
                    "rlimits": .array(
                        of: .object(
                            ["type": .string(pattern: "^RLIMIT_[A-Z]+$"), "hard": .uint64, "soft": .uint64],
                            required: ["type", "hard", "soft"]), unique: true),
                ], required: ["cwd", "args"]),
            "mounts": .array(
                of: .object(
                    [
                        "destination": .absolutePath, "type": .string(pattern: "^[a-z0-9]+$"),
                        "source": .string(pattern: "^.+$"),
                        "options": .array(of: .string(pattern: "^.+$"), unique: false),
                    ], required: ["destination"]), unique: false),
            "linux": .object(
                [
                    "namespaces": .array(
                        of: .object(
                            ["type": .oneOf(["mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"])],
                            required: ["type"]), unique: true),
                    "uidMappings": mappings, "gidMappings": mappings,
                    "rootfsPropagation": .oneOf(["private", "shared", "slave", "unbindable"]),
                    "readonlyPaths": .array(of: .absolutePath, unique: true),
                    "resources": .object(
                        [
                            "devices": .array(
                                of: .object(
                                    [
                                        "allow": .bool, "type": .oneOf(["a", "b", "c"]), "major": .uint64,
                                        "minor": .uint64, "access": .string(pattern: "^[rwm]+$"),
                                    ], required: ["allow"]), unique: false),
                            "memory": .object(["limit": .uint64], required: []),
                            "cpu": .object(["quota": .uint64, "period": .uint64], required: []),
                            "pids": .object(["limit": .uint64], required: ["limit"]),
                        ], required: []),
                ], required: []),
        ], required: ["ociVersion", "process", "root"])

    static func violations(_ value: Any, _ rule: Rule, at path: String = "") -> [String] {
        func matches(_ text: String, _ pattern: String) -> Bool {
            text.range(of: pattern, options: .regularExpression) != nil
        }
        switch rule {
        case .string(let pattern):
            guard let text = value as? String else { return ["\(path): no string"] }
            return matches(text, pattern) ? [] : ["\(path): \(text)"]
        case .oneOf(let words):
            return (value as? String).map(words.contains) == true ? [] : ["\(path): \(value)"]
        case .absolutePath:
            return (value as? String)?.hasPrefix("/") == true ? [] : ["\(path): \(value)"]
        case .uint32:
            return (value as? NSNumber).flatMap { UInt32(exactly: $0) } != nil ? [] : ["\(path): \(value)"]
        case .uint64:
            return (value as? NSNumber).flatMap { UInt64(exactly: $0) } != nil ? [] : ["\(path): \(value)"]
        case .bool: return value is Bool ? [] : ["\(path): \(value)"]
        case .array(let element, let unique):
            guard let values = value as? [Any] else { return ["\(path): no array"] }
            let texts = values.map { "\($0)" }
            let doubled = unique && Set(texts).count != texts.count ? ["\(path): not unique"] : []
            return doubled + values.enumerated().flatMap { violations($1, element, at: "\(path)[\($0)]") }
        case .object(let members, let required):
            guard let object = value as? Object else { return ["\(path): no object"] }
            let missing = required.filter { object[$0] == nil }.map { "\(path).\($0): missing" }
            return missing
                + object.flatMap { name, value in
                    members[name].map { violations(value, $0, at: "\(path).\(name)") } ?? ["\(path).\(name): unknown"]
                }
        }
    }

    struct Scenario: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var host = Sample.host
        var image = Sample.image
        var facts: OCIFacts?
        var options = LaunchOptions()
        init(_ name: String, _ change: (inout Scenario) -> Void = { _ in }) {
            testDescription = name
            change(&self)
        }
    }

    static let scenarios: [Scenario] = [
        Scenario("rootless"),
        Scenario("rootless root") { $0.options.root = true },
        Scenario("root") { $0.host = Sample.root },
        Scenario("root, the image's user") {
            $0.host = Sample.root
            $0.image.user = "web"
            $0.facts = OCIFacts(
                userID: 0, groupID: 0,
                imageUser: try? AccountFiles.resolve(  // the golden file shows it
                    user: "web", passwd: Array("web:x:33:34::/srv:/bin/sh\n".utf8), group: Array("ssl:x:110:web\n".utf8)
                ))
        },
        Scenario("all that can be asked for") {
            $0.host = Sample.root
            $0.host.grantedGPUs = ["/dev/nvidia0"]
            $0.host.memoryLimit = 1 << 30
            $0.host.environment += ["SLURM_CPUS_PER_TASK=2", "ODD=a\"b\\c\nd\u{1}\u{7F}é"]
            $0.options.hostname = "h"
            $0.options.readOnly = true
            $0.options.limits = [LaunchOptions.Limit(limit: .core, soft: 0, hard: .max)]
            $0.options.devices = [DeviceRequest(hostPath: "/dev/fuse", containerPath: "/x")]
            $0.options.mounts = [
                MountRequest(kind: .bind(source: "/a b", recursive: true), target: "/c d", readOnly: true),
                MountRequest(kind: .tmpfs(size: 4096, mode: 0o700), target: "/t", readOnly: true),
            ]
            var everything = EnforcementRequest()
            everything.devices = true
            everything.memory = true
            everything.cpus = true
            everything.processes = 9
            $0.options.enforcement = everything
            $0.facts = OCIFacts(
                userID: 0, groupID: 0, supplementaryGroups: [0, 4], deviceRules: DeviceRule.standard, hasTerminal: true)
        },
        Scenario("flattened") { $0.image.overlay = false },
    ]

    @Test(arguments: scenarios) func itKeepsTheSchemasRules(_ scenario: Scenario) throws {
        let configuration = try Self.configuration(
            scenario.host, image: scenario.image, facts: scenario.facts
        ) { options in
            let image = options.image
            options = scenario.options
            options.image = image
        }
        #expect(Self.violations(configuration, Self.schema) == [])
    }

    @Test func theRulesCanFail() {
        let bad: Object = [
            "ociVersion": "2", "process": ["cwd": "x", "args": "sh", "user": ["uid": -1]] as Object, "colour": 1,
        ]
        #expect(
            Set(Self.violations(bad, Self.schema)) == [
                ".ociVersion: 2", ".process.cwd: x", ".process.args: no array", ".process.user.uid: -1",
                ".process.user.gid: missing", ".root: missing", ".colour: unknown",
            ])
    }

    // MARK: What it says

    @Test func anOrdinaryUserIsMappedAndHoldsNothing() throws {
        let configuration = try Self.configuration()
        let linux = try #require(configuration["linux"] as? Object)
        #expect(linux["uidMappings"] as? [[String: Int]] == [["containerID": 1001, "hostID": 1001, "size": 1]])
        #expect(linux["gidMappings"] as? [[String: Int]] == [["containerID": 2001, "hostID": 2001, "size": 1]])
        let process = try #require(configuration["process"] as? Object)
        #expect((process["user"] as? [String: Int]) == ["uid": 1001, "gid": 2001])
        let capabilities = try #require(process["capabilities"] as? [String: [String]])
        #expect(capabilities["bounding"]?.count == 41 && capabilities["effective"] == [])
        let asRoot = try Self.configuration { $0.root = true }
        let held = ((asRoot["process"] as? Object)?["capabilities"] as? [String: [String]])?["effective"]
        #expect(held?.count == 41 && held?[21] == "CAP_SYS_ADMIN" && held?.last == "CAP_CHECKPOINT_RESTORE")
    }

    @Test func namespacesAreThosePlanned() throws {
        func types(_ change: (inout LaunchOptions) -> Void) throws -> [String?] {
            let configuration = try Self.configuration { change(&$0) }
            let linux = try #require(configuration["linux"] as? Object)
            return try #require(linux["namespaces"] as? [[String: String]]).map { $0["type"] }
        }
        #expect(try types { _ in } == ["user", "mount"])
        #expect(try types { $0.hostname = "h" } == ["user", "mount", "uts"])
        #expect(try types { $0.unshare = [.network, .ipc] } == ["user", "mount", "network", "ipc"])
    }

    @Test func groupsOfDevicesAreJoined() throws {
        var host = Sample.root
        host.deviceEdits = [44, 4242].map { DeviceEdit(.group($0), .cdi("/etc/cdi/x.yaml v.com/c=d")) }
        let facts = OCIFacts(userID: 0, groupID: 0, supplementaryGroups: [0, 44])
        let process = try #require(Self.configuration(host, facts: facts)["process"] as? Object)
        #expect((process["user"] as? Object)?["additionalGids"] as? [Int] == [0, 44, 4242])
    }

    @Test func theImagesUserIsResolved() throws {
        let scenario = try #require(Self.scenarios.first { $0.testDescription == "root, the image's user" })
        let configuration = try Self.configuration(scenario.host, image: scenario.image, facts: scenario.facts)
        let process = try #require(configuration["process"] as? Object)
        let user = try #require(process["user"] as? Object)
        #expect(user["uid"] as? Int == 33 && user["gid"] as? Int == 34 && user["additionalGids"] as? [Int] == [110])
        let environment = try #require(process["env"] as? [String])
        #expect(environment.contains("HOME=/srv") && environment.contains("USER=web"))
        let capabilities = try #require(process["capabilities"] as? [String: [String]])
        #expect(capabilities["bounding"]?.count == 13 && capabilities["effective"] == [])
    }

    @Test func whatIsAbsentIsLeftOutAndProcHasItsOwnWords() throws {
        let facts = OCIFacts(userID: 0, groupID: 0, absent: ["/dev/mqueue", "/etc/localtime"])
        let configuration = try Self.configuration(Sample.root, facts: facts)
        let mounts = try #require(configuration["mounts"] as? [Object])
        let targets = mounts.compactMap { $0["destination"] as? String }
        #expect(targets == ["/etc/hosts", "/etc/resolv.conf", "/proc", "/sys", "/tmp", "/dev", "/dev/pts", "/dev/shm"])
        #expect(mounts[3]["options"] as? [String] == ["rbind", "rro"])
        let readOnly = (configuration["linux"] as? Object)?["readonlyPaths"] as? [String]
        // CVE-2017-16539: /proc/scsi
        #expect(
            readOnly == [
                "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/asound",
                "/proc/dynamic_debug", "/proc/scsi",
            ])
    }

    @Test func theTreesAreNamedInOverlayfssOrder() throws {
        let configuration = try Self.configuration()
        #expect(
            configuration["annotations"] as? [String: String]
                == ["berth.rootfs.lowerdir": "/store/layers/b/tree:/store/layers/a/tree"])
        #expect((configuration["root"] as? Object)?["path"] as? String == "rootfs")
        var image = Sample.image
        image.overlay = false
        image.trees = ["/store/rootfs/c/tree"]
        let flat = try Self.configuration(image: image)
        #expect((flat["root"] as? Object)?["path"] as? String == "/store/rootfs/c/tree")
        #expect((flat["root"] as? Object)?["readonly"] as? Bool == true)
    }

    // MARK: JSON

    @Test func textIsWrittenSoThatItReadsBack() throws {
        let odd = "a\"b\\c\nd\t\u{0}\u{1F}\u{7F}é🚢\u{2028}"
        let json = JSON.members(
            (odd, .string(odd)), ("n", .number(.max)), ("t", .bool(true)), ("absent", nil), ("null", .null),
            ("empty", .array([])), ("none", .members()), ("list", .array([.number(0), .array([.bool(false)])])))
        let read = try #require(JSONSerialization.jsonObject(with: Data(json.text.utf8)) as? Object)
        #expect(read[odd] as? String == odd)
        #expect((read["n"] as? NSNumber)?.uint64Value == .max)
        #expect(read["t"] as? Bool == true && read["null"] is NSNull && read.count == 7)
        #expect((read["empty"] as? [Any])?.isEmpty == true && (read["none"] as? Object)?.isEmpty == true)
    }
}
