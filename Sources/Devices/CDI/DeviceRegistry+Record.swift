internal import LinuxKernel

/// Encodes the registry so that the launcher needs no JSON or YAML parser: a line with the version, then fields ended
/// by NUL, each a name and values separated by the unit separator. The compiler rejects paths and variables that
/// contain either byte.
extension DeviceRegistry {
    private static let heading = "berth-cdi-record 1\n"
    private static let separator: UInt8 = 0x1F

    /// - Parameter key: `SpecificationFiles.key` of the compiled files.
    package func encoded(key: String) -> [UInt8] {
        var bytes = Array(Self.heading.utf8)
        func add(_ name: String, _ values: [String]) {
            bytes += name.utf8
            for value in values {
                bytes.append(Self.separator)
                bytes += value.utf8
            }
            bytes.append(0)
        }
        add("key", [key])
        for file in refused { add("refused", [file.path, "\(file.line)", file.reason]) }
        for specification in specifications {
            add(
                "specification",
                [specification.path, "\(specification.priority)", specification.vendor, specification.class])
            Self.encode(specification.edits, add)
            for device in specification.devices {
                add("device", [device.name, "\(device.line)"])
                Self.encode(device.edits, add)
            }
        }
        return bytes
    }

    private static func encode(_ edits: ContainerEdits, _ add: (String, [String]) -> Void) {
        for variable in edits.env { add("env", ["\(variable.line)", variable.entry]) }
        for node in edits.deviceNodes {
            add(
                "node",
                [
                    "\(node.line)", node.path, node.hostPath, node.type, "\(node.major)", "\(node.minor)",
                    node.fileMode.map { "\($0)" } ?? "", node.permissions, node.uid.map { "\($0)" } ?? "",
                    node.gid.map { "\($0)" } ?? "",
                ])
        }
        for net in edits.netDevices { add("net", ["\(net.line)", net.hostInterfaceName, net.name]) }
        for mount in edits.mounts {
            add(
                "mount",
                ["\(mount.line)", mount.hostPath, mount.containerPath, mount.type, mount.soname] + mount.options)
        }
        for hook in edits.hooks {
            let timeout = hook.timeout.map { "\($0)" } ?? ""
            add(
                "hook",
                ["\(hook.line)", hook.hookName, hook.path, timeout, "\(hook.args.count)"] + hook.args + hook.env)
        }
        if let rdt = edits.intelRdt {
            add(
                "rdt",
                [
                    "\(rdt.line)", rdt.closID, rdt.l3CacheSchema, rdt.memBwSchema, rdt.enableMonitoring ? "yes" : "no",
                ] + rdt.schemata)
        }
        for group in edits.additionalGids { add("gid", ["\(group)"]) }
    }

    /// Returns `nil` if the bytes are not a record of this version or belong to files with another key.
    package init?(decoding bytes: [UInt8], key: String) {
        guard bytes.starts(with: Self.heading.utf8), bytes.last == 0 else { return nil }
        self.init()
        var isKeyed = false
        for field in bytes.dropFirst(Self.heading.utf8.count).dropLast().split(
            separator: 0, omittingEmptySubsequences: false)
        {
            var values = field.split(separator: Self.separator, omittingEmptySubsequences: false).map {
                String(decoding: $0, as: UTF8.self)
            }
            let name = values.removeFirst()
            switch name {
            case "key":
                guard values == [key] else { return nil }
                isKeyed = true
            case "refused":
                guard values.count == 3 else { return nil }
                refused.append(Refused(path: values[0], line: Int(values[1]) ?? 0, reason: values[2]))
            case "specification":
                guard values.count == 4, let priority = Int(values[1]) else { return nil }
                specifications.append(
                    Specification(path: values[0], priority: priority, vendor: values[2], class: values[3]))
            case "device":
                guard values.count == 2, let last = specifications.indices.last else { return nil }
                specifications[last].devices.append(Device(name: values[0], line: Int(values[1]) ?? 0))
            default:
                guard let last = specifications.indices.last else { return nil }
                let isGood: Bool
                if let device = specifications[last].devices.indices.last {
                    isGood = Self.decode(name, values, into: &specifications[last].devices[device].edits)
                } else {
                    isGood = Self.decode(name, values, into: &specifications[last].edits)
                }
                guard isGood else { return nil }
            }
        }
        guard isKeyed else { return nil }
    }

    private static func decode(_ name: String, _ values: [String], into edits: inout ContainerEdits) -> Bool {
        guard let first = values.first else { return false }
        let line = Int(first) ?? 0
        switch name {
        case "env":
            guard values.count == 2 else { return false }
            edits.env.append(ContainerEdits.Variable(line: line, entry: values[1]))
        case "node":
            guard values.count == 10 else { return false }
            edits.deviceNodes.append(
                ContainerEdits.DeviceNode(
                    line: line, path: values[1], hostPath: values[2], type: values[3], major: Int64(values[4]) ?? 0,
                    minor: Int64(values[5]) ?? 0, fileMode: UInt32(values[6]), permissions: values[7],
                    uid: UInt32(values[8]), gid: UInt32(values[9])))
        case "net":
            guard values.count == 3 else { return false }
            edits.netDevices.append(
                ContainerEdits.NetDevice(line: line, hostInterfaceName: values[1], name: values[2]))
        case "mount":
            guard values.count >= 5 else { return false }
            edits.mounts.append(
                ContainerEdits.Mount(
                    line: line, hostPath: values[1], containerPath: values[2], type: values[3],
                    options: Array(values[5...]), soname: values[4]))
        case "hook":
            guard values.count >= 5, let count = Int(values[4]), count >= 0, values.count >= 5 + count else {
                return false
            }
            edits.hooks.append(
                ContainerEdits.Hook(
                    line: line, hookName: values[1], path: values[2], args: Array(values[5..<5 + count]),
                    env: Array(values[(5 + count)...]), timeout: Int(values[3])))
        case "rdt":
            guard values.count >= 5 else { return false }
            edits.intelRdt = ContainerEdits.IntelRdt(
                line: line, closID: values[1], l3CacheSchema: values[2], memBwSchema: values[3],
                schemata: Array(values[5...]), enableMonitoring: values[4] == "yes")
        case "gid":
            guard let group = UInt32(first) else { return false }
            edits.additionalGids.append(group)
        default: return false
        }
        return true
    }
}
