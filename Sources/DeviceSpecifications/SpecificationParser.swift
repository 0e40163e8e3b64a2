package import Devices
internal import LinuxKernel

/// Reads one CDI specification, JSON or YAML, by the rules of version 1.1.0:
/// https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
package enum SpecificationParser {
    /// - Throws: `SpecificationError` for everything that the reference implementation rejects, and for relative paths.
    package static func parse(
        _ text: String, path: String, priority: Int
    ) throws(SpecificationError) -> DeviceRegistry.Specification {
        // The reference implementation accepts it in YAML but not in JSON.
        guard text.unicodeScalars.first != "\u{FEFF}" else {
            throw SpecificationError(1, .notYAML("it begins with a byte order mark"))
        }
        guard let root = try YAMLDocument(Array(text.utf8)).root else {
            throw SpecificationError(0, .missing(field: "cdiVersion"))
        }
        var fields = try Fields(root, "the specification")
        let declared = try fields.required("cdiVersion")
        let kind = try fields.required("kind")
        guard let slash = kind.firstIndex(of: "/") else { throw SpecificationError(fields.line, .badKind(kind)) }
        let vendor = String(kind[..<slash])
        let name = String(kind[kind.utf8.index(after: slash)...])
        guard QualifiedName.isVendorOrClass(vendor), vendor.utf8.count <= 253, QualifiedName.isVendorOrClass(name),
            name.utf8.count <= 63
        else { throw SpecificationError(fields.line, .badKind(kind)) }

        var use = VersionUse(class: name)
        if try fields.annotations() > 0 { use.needs("0.6.0", "annotations") }
        var specification = DeviceRegistry.Specification(
            path: path, priority: priority, vendor: vendor, class: name,
            edits: try edits(try fields.object("containerEdits"), &use))
        var names: Set<String> = []
        for var device in try fields.objects("devices") {
            let name = try device.required("name")
            guard QualifiedName.isDeviceName(name) else { throw SpecificationError(device.line, .badDeviceName(name)) }
            guard names.insert(name).inserted else {
                throw SpecificationError(device.line, .deviceTwice(name))
            }
            if name.utf8.first.map({ (0x30...0x39).contains($0) }) == true {
                use.needs("0.5.0", "a name that starts with a digit")
            }
            if try device.annotations() > 0 { use.needs("0.6.0", "annotations") }
            let edits = try edits(try device.object("containerEdits"), &use)
            guard !edits.isEmpty else { throw SpecificationError(device.line, .emptyEdits(device: name)) }
            try device.finish()
            specification.devices.append(DeviceRegistry.Device(name: name, line: device.line, edits: edits))
        }
        try fields.finish()
        guard !specification.devices.isEmpty else { throw SpecificationError(0, .noDevices) }
        try use.check(declared, line: fields.line)
        return specification
    }

    // MARK: Edits

    private static func edits(
        _ fields: Fields?, _ use: inout VersionUse
    ) throws(SpecificationError) -> ContainerEdits {
        var edits = ContainerEdits()
        guard var fields else { return edits }
        for (line, entry) in try fields.strings("env") ?? [] {
            try check(variable: entry, line)
            edits.env.append(ContainerEdits.Variable(line: line, entry: entry))
        }
        for var node in try fields.objects("deviceNodes") { edits.deviceNodes.append(try deviceNode(&node, &use)) }
        var hostNames: Set<String> = []
        var names: Set<String> = []
        for var net in try fields.objects("netDevices") {
            use.needs("1.1.0", "netDevices")
            let device = ContainerEdits.NetDevice(
                line: net.line, hostInterfaceName: try net.required("hostInterfaceName"),
                name: try net.required("name"))
            try net.finish()
            guard hostNames.insert(device.hostInterfaceName).inserted else {
                throw SpecificationError(net.line, .netDeviceTwice(device.hostInterfaceName))
            }
            guard names.insert(device.name).inserted else {
                throw SpecificationError(net.line, .netDeviceTwice(device.name))
            }
            edits.netDevices.append(device)
        }
        for var mount in try fields.objects("mounts") { edits.mounts.append(try self.mount(&mount, &use)) }
        for var hook in try fields.objects("hooks") { edits.hooks.append(try self.hook(&hook)) }
        if var rdt = try fields.object("intelRdt") { edits.intelRdt = try intelRdt(&rdt, &use) }
        // The specification's text uses both spellings.
        edits.additionalGids = try fields.integers("additionalGids") + (try fields.integers("additionalGIDs"))
        if !edits.additionalGids.isEmpty { use.needs("0.7.0", "additionalGids") }
        try fields.finish()
        return edits
    }

    private static func check(variable entry: String, _ line: Int) throws(SpecificationError) {
        guard let equals = entry.firstIndex(of: "="), equals != entry.startIndex else {
            throw SpecificationError(line, .badVariable(entry))
        }
    }

    private static func deviceNode(
        _ fields: inout Fields, _ use: inout VersionUse
    ) throws(SpecificationError) -> ContainerEdits.DeviceNode {
        let path = try fields.path("path")
        let hostPath = try fields.string("hostPath") ?? ""
        if !hostPath.isEmpty {
            use.needs("0.5.0", "hostPath")
            guard hostPath.hasPrefix("/") else {
                throw SpecificationError(fields.line, .notAbsolute(field: "hostPath", hostPath))
            }
        }
        let type = try fields.string("type") ?? ""
        guard ["", "b", "c", "u", "p"].contains(type) else { throw SpecificationError(fields.line, .badNodeType(type)) }
        let permissions = try fields.string("permissions") ?? ""
        guard permissions == "none" || permissions.allSatisfy({ "rwm".contains($0) }) else {
            throw SpecificationError(fields.line, .badPermissions(permissions))
        }
        let node = ContainerEdits.DeviceNode(
            line: fields.line, path: path, hostPath: hostPath, type: type,
            major: try fields.integer("major", as: Int64.self) ?? 0,
            minor: try fields.integer("minor", as: Int64.self) ?? 0,
            fileMode: try fields.integer("fileMode", as: UInt32.self), permissions: permissions,
            uid: try fields.integer("uid", as: UInt32.self), gid: try fields.integer("gid", as: UInt32.self))
        try fields.finish()
        return node
    }

    private static func mount(
        _ fields: inout Fields, _ use: inout VersionUse
    ) throws(SpecificationError) -> ContainerEdits.Mount {
        let hostPath = try fields.required("hostPath")
        let containerPath = try fields.path("containerPath")
        let type = try fields.string("type") ?? ""
        if !type.isEmpty { use.needs("0.4.0", "the type of a mount") }
        let options = try fields.strings("options")?.map(\.text) ?? []
        let isBind =
            ["", "none", "bind"].contains(type) || options.contains("bind") || options.contains("rbind")
        guard !isBind || hostPath.hasPrefix("/") else {
            throw SpecificationError(fields.line, .notAbsolute(field: "hostPath", hostPath))
        }
        try fields.finish()
        // Read the soname here, because opening forty libraries would slow down a launch.
        let name = hostPath.split(separator: "/").last ?? ""
        let soname = isBind && name.contains(".so") ? ELFFile(path: hostPath)?.soname ?? "" : ""
        return ContainerEdits.Mount(
            line: fields.line, hostPath: hostPath, containerPath: containerPath, type: type, options: options,
            soname: soname)
    }

    private static let hookNames = [
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    ]

    private static func hook(_ fields: inout Fields) throws(SpecificationError) -> ContainerEdits.Hook {
        let name = try fields.required("hookName")
        guard hookNames.contains(name) else { throw SpecificationError(fields.line, .badHookName(name)) }
        let path = try fields.path("path")
        let args = try fields.strings("args")?.map(\.text) ?? []
        var env: [String] = []
        for (line, entry) in try fields.strings("env") ?? [] {
            try check(variable: entry, line)
            env.append(entry)
        }
        let timeout = try fields.integer("timeout", as: Int.self)
        if let timeout, timeout <= 0 { throw SpecificationError(fields.line, .badTimeout(timeout)) }
        try fields.finish()
        return ContainerEdits.Hook(
            line: fields.line, hookName: name, path: path, args: args, env: env, timeout: timeout)
    }

    private static func intelRdt(
        _ fields: inout Fields, _ use: inout VersionUse
    ) throws(SpecificationError) -> ContainerEdits.IntelRdt {
        use.needs("0.7.0", "intelRdt")
        let closID = try fields.string("closID") ?? ""
        // The name of a directory below /sys/fs/resctrl; "/" is the root.
        guard
            closID == "/"
                || (closID.utf8.count < 4096 && ![".", ".."].contains(closID)
                    && !closID.contains(where: { $0 == "/" || $0 == "\n" }))
        else { throw SpecificationError(fields.line, .badClosID(closID)) }
        let schemata = try fields.strings("schemata")?.map(\.text)
        let monitoring = try fields.flag("enableMonitoring") ?? false
        if schemata != nil || monitoring { use.needs("1.1.0", "schemata and enableMonitoring") }
        let rdt = ContainerEdits.IntelRdt(
            line: fields.line, closID: closID, l3CacheSchema: try fields.string("l3CacheSchema") ?? "",
            memBwSchema: try fields.string("memBwSchema") ?? "", schemata: schemata ?? [],
            enableMonitoring: monitoring)
        try fields.finish()
        return rdt
    }
}

/// The lowest version that supports everything a specification uses. Declaring a lower one is an error, because older
/// readers would ignore fields that they do not know.
private struct VersionUse {
    private static let versions = [
        "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
    ]

    private var needed = 2
    private var because = "the first version that is still read"

    init(class name: String) {
        if name.contains(".") { needs("0.6.0", "a dot in the class") }
    }

    mutating func needs(_ version: String, _ what: String) {
        guard let place = Self.versions.firstIndex(of: version), place > needed else { return }
        needed = place
        because = what
    }

    func check(_ declared: String, line: Int) throws(SpecificationError) {
        let plain = declared.hasPrefix("v") ? String(declared.dropFirst()) : declared
        guard let place = Self.versions.firstIndex(of: plain) else {
            throw SpecificationError(line, .unknownVersion(declared))
        }
        guard place >= needed else {
            throw SpecificationError(
                line, .versionTooLow(declared: declared, needed: Self.versions[needed], because: because))
        }
    }
}
