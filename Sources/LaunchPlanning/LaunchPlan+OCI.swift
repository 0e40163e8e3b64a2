internal import Devices
internal import LinuxKernel

/// What the plan as a configuration of the OCI runtime-spec has to know beyond the plan.
package struct OCIFacts: Equatable, Sendable {
    /// The caller's, on the host.
    package var userID: UInt32
    package var groupID: UInt32
    /// Of root, who keeps them; an ordinary user's are not to be had in a user namespace.
    package var supplementaryGroups: [UInt32]
    /// Whom the image's USER names.
    package var imageUser: AccountFiles.ResolvedUser?
    /// Host paths that optional mounts and copies name and that do not exist.
    package var absent: [String]
    /// The number of the kernel's last capability.
    package var lastCapability: Int
    /// What the cgroup policy allows.
    package var deviceRules: [DeviceRule]
    package var hasTerminal: Bool

    package init(
        userID: UInt32, groupID: UInt32, supplementaryGroups: [UInt32] = [],
        imageUser: AccountFiles.ResolvedUser? = nil, absent: [String] = [], lastCapability: Int = 40,
        deviceRules: [DeviceRule] = [], hasTerminal: Bool = false
    ) {
        self.userID = userID
        self.groupID = groupID
        self.supplementaryGroups = supplementaryGroups
        self.imageUser = imageUser
        self.absent = absent
        self.lastCapability = lastCapability
        self.deviceRules = deviceRules
        self.hasTerminal = hasTerminal
    }
}

extension LaunchPlan {
    /// This plan as `config.json` of a bundle. What the specification has no words for is left out:
    /// docs/reference/oci-configuration.md lists it.
    ///
    /// https://github.com/opencontainers/runtime-spec/blob/main/config.md
    package func ociConfiguration(_ facts: OCIFacts) -> JSON {
        var namespaces: [String] = []
        var map: IDMap?
        var mounts: [JSON] = []
        var readOnlyPaths: [String] = []
        var root = ("rootfs", readOnly: false)
        var layers: [String] = []
        var hostname: String?
        for step in steps {
            switch step.action {
            case .createNamespaces(let kinds, let ids):
                if kinds.contains(.user) { namespaces.append("user") }
                if kinds.contains(.mount) { namespaces.append("mount") }
                if kinds.contains(.hostname) { namespaces.append("uts") }
                if kinds.contains(.network) { namespaces.append("network") }
                if kinds.contains(.ipc) { namespaces.append("ipc") }
                if kinds.contains(.process) { namespaces.append("pid") }
                map = ids
            case .root(.overlay(let trees)): layers = trees
            case .root(.tree(let path)): root = (path, readOnly: true)
            case .sealRoot: root.readOnly = true
            case .bind(let bind):
                if bind.optional, facts.absent.contains(bind.source) { continue }
                // The runtime makes these itself; below /proc it has words of its own for what is read-only.
                if DeviceNode(bind.target).kind == .standard { continue }
                if bind.target == "/dev/console", facts.hasTerminal { continue }
                if bind.source == bind.target, bind.source.hasPrefix("/proc/"), bind.attributes == [.readOnly] {
                    readOnlyPaths.append(bind.target)
                } else {
                    mounts.append(Self.mount(bind))
                }
            case .mount(let type, let target, let flags, let data):
                mounts.append(
                    Self.mount(
                        target, type: type, source: type,
                        options: flags.words + data.split(separator: ",").map(String.init)))
            case .deviceDirectory(let path):
                mounts.append(
                    Self.mount(
                        path, type: "tmpfs", source: "tmpfs", options: ["nosuid", "noexec", "mode=755", "size=64k"]))
            case .copy(let source, let target):
                if facts.absent.contains(source) { continue }
                mounts.append(
                    Self.mount(BindMount(source: source, target: target, recursive: false, attributes: .readOnly)))
            case .hostname(let name): hostname = name
            // The runtime makes its working directory and the links in /dev; it has no words for the rest. Of propagation
            // the schema has "slave", which is the root's alone and would leave what lies below as it is.
            case .receivePropagationOnly, .scratch, .systemDirectory, .directory, .symlink, .append, .resolver,
                .accounts, .pivot,
                .unmount, .file, .cover, .mode, .loader, .hook, .mountPoint, .home:
                continue
            }
        }
        return .members(
            ("ociVersion", .string("1.0.2")), ("process", processConfiguration(facts, map)),
            ("root", .members(("path", .string(root.0)), ("readonly", .bool(root.readOnly)))),
            ("hostname", hostname.map { .string($0) }), ("mounts", .array(mounts)),
            (
                "annotations",
                layers.isEmpty
                    ? nil : .members(("berth.rootfs.lowerdir", .string(Self.lowerDirectories(layers))))
            ),
            (
                "linux",
                .members(
                    ("namespaces", .array(namespaces.map { .members(("type", .string($0))) })),
                    ("uidMappings", map.map { Self.mapping($0.insideUser, $0.outsideUser) }),
                    ("gidMappings", map.map { Self.mapping($0.insideGroup, $0.outsideGroup) }),
                    ("resources", resources(facts)),
                    ("seccomp", SeccompFilter.configuration(of: process.filters).map { .raw($0) }),
                    ("readonlyPaths", readOnlyPaths.isEmpty ? nil : .strings(readOnlyPaths)))
            ))
    }

    /// The value of overlayfs' `lowerdir` for mount(8), the highest first.
    package static func lowerDirectories(_ trees: [String]) -> String {
        trees.reversed().map { tree in
            var escaped: [UInt8] = []
            for byte in tree.utf8 {
                if [UInt8(ascii: "\\"), UInt8(ascii: ":"), UInt8(ascii: ",")].contains(byte) {
                    escaped.append(UInt8(ascii: "\\"))
                }
                escaped.append(byte)
            }
            return String(decoding: escaped, as: UTF8.self)
        }.joined(separator: ":")
    }

    private static func mapping(_ inside: UInt32, _ outside: UInt32) -> JSON {
        .array([
            .members(
                ("containerID", .number(UInt64(inside))), ("hostID", .number(UInt64(outside))), ("size", .number(1)))
        ])
    }

    private static func mount(_ bind: BindMount) -> JSON {
        var options = [bind.recursive ? "rbind" : "bind"]
        // With what is mounted below, as mount_setattr(2) does it.
        if bind.attributes.contains(.readOnly) { options.append(bind.recursive ? "rro" : "ro") }
        if bind.attributes.contains(.noSetUserID) { options.append("nosuid") }
        if bind.attributes.contains(.noDevices) { options.append("nodev") }
        if bind.attributes.contains(.noExecution) { options.append("noexec") }
        return mount(bind.target, type: "bind", source: bind.source, options: options)
    }

    private static func mount(_ target: String, type: String, source: String, options: [String]) -> JSON {
        .members(
            ("destination", .string(target)), ("type", .string(type)), ("source", .string(source)),
            ("options", .strings(options)))
    }

    private func processConfiguration(_ facts: OCIFacts, _ map: IDMap?) -> JSON {
        let userID = facts.imageUser?.userID ?? map?.insideUser ?? facts.userID
        let groupID = facts.imageUser?.groupID ?? map?.insideGroup ?? facts.groupID
        var groups = facts.imageUser?.supplementaryGroups ?? (map == nil ? facts.supplementaryGroups : [])
        groups += process.additionalGroups.filter { !groups.contains($0) }
        var environment = process.environment
        if let user = facts.imageUser {
            for (name, value) in [("HOME", user.home), ("USER", user.name), ("LOGNAME", user.name)]
            where !environment.contains(where: { $0.hasPrefix(name + "=") }) {
                environment.append("\(name)=\(value)")
            }
        }
        let bounding = (process.boundingCapabilities ?? Array(0...facts.lastCapability))
            .filter { $0 <= facts.lastCapability && Capabilities.names.indices.contains($0) }
            .map { Capabilities.names[$0] }
        // What execve(2) leaves: everything to uid 0, nothing to anybody else.
        let held = userID == 0 ? bounding : []
        return .members(
            ("terminal", facts.hasTerminal ? .bool(true) : nil),
            (
                "user",
                .members(
                    ("uid", .number(UInt64(userID))), ("gid", .number(UInt64(groupID))),
                    ("additionalGids", groups.isEmpty ? nil : .array(groups.map { .number(UInt64($0)) })))
            ),
            ("args", .strings(process.arguments)), ("env", .strings(environment)),
            ("cwd", .string(process.workingDirectory)),
            (
                "capabilities",
                .members(
                    ("bounding", .strings(bounding)), ("effective", .strings(held)), ("permitted", .strings(held)),
                    ("inheritable", .array([])), ("ambient", .array([])))
            ),
            (
                "rlimits",
                process.limits.isEmpty
                    ? nil
                    : .array(
                        process.limits.map { change in
                            .members(
                                ("type", .string("RLIMIT_" + change.limit.rawValue.uppercased())),
                                ("hard", .number(change.to.hard)), ("soft", .number(change.to.soft)))
                        })
            ), ("noNewPrivileges", .bool(process.noNewPrivileges)))
    }

    /// Without a policy everything is allowed, as under Berth: runtimes would refuse most otherwise.
    private func resources(_ facts: OCIFacts) -> JSON {
        var rules: [JSON] = []
        if cgroupPolicy?.devices != nil {
            rules.append(.members(("allow", .bool(false)), ("access", .string("rwm"))))
            for rule in facts.deviceRules {
                rules.append(
                    .members(
                        ("allow", .bool(true)), ("type", .string(rule.kind == .block ? "b" : "c")),
                        ("major", .number(UInt64(rule.major))), ("minor", rule.minor.map { .number(UInt64($0)) }),
                        ("access", .string(rule.line.split(separator: " ").last.map(String.init) ?? ""))))
            }
        } else {
            rules.append(.members(("allow", .bool(true)), ("access", .string("rwm"))))
        }
        return .members(
            ("devices", .array(rules)),
            ("memory", cgroupPolicy?.memory.map { .members(("limit", .number($0))) }),
            (
                "cpu",
                cgroupPolicy?.cpus.map {
                    .members(("quota", .number(UInt64($0) * 100_000)), ("period", .number(100_000)))
                }
            ), ("pids", cgroupPolicy?.processes.map { .members(("limit", .number(UInt64($0)))) }))
    }
}

extension MountFlags {
    fileprivate var words: [String] {
        var words: [String] = []
        if contains(.readOnly) { words.append("ro") }
        if contains(.noSetUserID) { words.append("nosuid") }
        if contains(.noDevices) { words.append("nodev") }
        if contains(.noExecution) { words.append("noexec") }
        return words
    }
}
