/// The parsed and checked CDI specifications of this host. `berth-image` compiles them, and the launcher looks devices
/// up in them.
package struct DeviceRegistry: Equatable, Sendable {
    package struct Specification: Equatable, Sendable {
        package let path: String
        /// The index of the file's directory in the list. A higher index has priority.
        package let priority: Int
        package let vendor: String
        package let `class`: String
        package var edits: ContainerEdits
        package var devices: [Device]

        package init(
            path: String, priority: Int, vendor: String, class: String, edits: ContainerEdits = ContainerEdits(),
            devices: [Device] = []
        ) {
            self.path = path
            self.priority = priority
            self.vendor = vendor
            self.class = `class`
            self.edits = edits
            self.devices = devices
        }

        package var kind: String { vendor + "/" + `class` }
    }

    package struct Device: Equatable, Sendable {
        package let name: String
        package let line: Int
        package var edits: ContainerEdits

        package init(name: String, line: Int, edits: ContainerEdits = ContainerEdits()) {
            self.name = name
            self.line = line
            self.edits = edits
        }
    }

    /// A file that was rejected, with the reason. Its devices are unknown.
    package struct Refused: Equatable, Sendable {
        package let path: String
        package let line: Int
        package let reason: String
        package init(path: String, line: Int, reason: String) {
            self.path = path
            self.line = line
            self.reason = reason
        }
    }

    package var specifications: [Specification] = []
    package var refused: [Refused] = []

    package init() {}
}

/// Why a requested device is not available.
package enum DeviceError: Error, Equatable, Sendable {
    /// No specification defines this kind.
    case unknownKind(String, refused: [DeviceRegistry.Refused])
    /// The kind is known, but not the device.
    case unknownDevice(String, known: [String], refused: [DeviceRegistry.Refused])
    /// Two files of equal priority define the device.
    case conflict(String, paths: [String])
    /// The device has a node that this process was not granted.
    case notGranted(String, node: DeviceNode, granted: [DeviceNode])
    /// A host node is not the device that the specification describes.
    case wrongNode(String, path: String)
    /// Berth does not implement the hook, and the site does not allow it.
    case hookRefused(String, path: String, place: String)
    /// Berth runs no hooks at this stage of the lifecycle.
    case hookStage(String, path: String, place: String)
    /// Berth implements the hook, but not with these arguments.
    case badHook(String, place: String)
    /// Berth does not support this mount option.
    case mountOption(String, place: String)
    /// A network interface with a new name, which the host's network namespace cannot have.
    case netDevice(String, name: String, place: String)
    /// No GPU of this host matches an entry of `--gpus` or `NVIDIA_VISIBLE_DEVICES`.
    case noSuchGPU(String, granted: [DeviceNode])
    /// The host lacks the fabric that `--fabric` requests.
    case noFabric(String)
}

extension DeviceRegistry {
    /// A device and the specification that defines it.
    package struct Found: Equatable, Sendable {
        package let specification: Specification
        package let device: Device
        package var name: String { specification.kind + "=" + device.name }
    }

    /// The device of that name in the directory with the highest priority.
    package func device(_ name: QualifiedName) throws(DeviceError) -> Found {
        var best: [Found] = []
        var known: [String] = []
        for specification in specifications
        where specification.vendor == name.vendor && specification.class == name.class {
            for device in specification.devices {
                known.append(device.name)
                guard device.name == name.name else { continue }
                let found = Found(specification: specification, device: device)
                if let first = best.first {
                    if first.specification.priority > specification.priority { continue }
                    if first.specification.priority < specification.priority { best = [] }
                }
                best.append(found)
            }
        }
        guard let found = best.first else {
            if known.isEmpty { throw .unknownKind(name.kind, refused: refused) }
            throw .unknownDevice(name.text, known: known.sorted(), refused: refused)
        }
        guard best.count == 1 else { throw .conflict(name.text, paths: best.map(\.specification.path)) }
        return found
    }

    /// The files that define each device, of those with the highest priority.
    var definitions: [String: (priority: Int, paths: [String])] {
        var result: [String: (priority: Int, paths: [String])] = [:]
        for specification in specifications {
            for device in specification.devices {
                let name = specification.kind + "=" + device.name
                let known = result[name]?.priority ?? .min
                if known > specification.priority { continue }
                if known < specification.priority { result[name] = (specification.priority, []) }
                result[name]?.paths.append(specification.path)
            }
        }
        return result
    }

    /// All devices of a class such as `gpu` that no two files of equal priority define.
    package func devices(class: String) -> [Found] {
        var result: [Found] = []
        lazy var definitions = self.definitions
        for specification in specifications where specification.class == `class` {
            let isAlone = specifications.allSatisfy { $0.path == specification.path || $0.kind != specification.kind }
            for device in specification.devices {
                if isAlone {
                    result.append(Found(specification: specification, device: device))
                    continue
                }
                // Two files of equal priority define the name, so it is ambiguous.
                let paths = definitions[specification.kind + "=" + device.name]?.paths
                guard paths == [specification.path] else { continue }
                result.append(Found(specification: specification, device: device))
            }
        }
        return result
    }
}
