/// The CDI specifications of this host, read and checked: what `berth-image` compiles out of the files and the launcher
/// looks devices up in.
package struct DeviceRegistry: Equatable, Sendable {
    package struct Specification: Equatable, Sendable {
        package let path: String
        /// The place of the file's directory in the list; a later directory is stronger.
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

    /// A file that could not be taken in, with the reason in words; its devices are not known.
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

/// A device that was asked for and can not be had.
package enum DeviceError: Error, Equatable, Sendable {
    /// No file speaks of this kind.
    case unknownKind(String, refused: [DeviceRegistry.Refused])
    /// The kind is known, the device is not.
    case unknownDevice(String, known: [String], refused: [DeviceRegistry.Refused])
    /// Two files of equal strength define the device.
    case conflict(String, paths: [String])
    /// The device has a node that this process was not granted.
    case notGranted(String, node: DeviceNode, granted: [DeviceNode])
    /// A node that is not the device that the specification says.
    case wrongNode(String, path: String)
    /// A hook that Berth does not know and the site has not allowed.
    case hookRefused(String, path: String, place: String)
    /// A hook for a moment at which nobody is there to run it.
    case hookStage(String, path: String, place: String)
    /// A hook that Berth does itself, with arguments that it does not understand.
    case badHook(String, place: String)
    /// An option of a mount that Berth can not give effect to.
    case mountOption(String, place: String)
    /// A network interface under another name: the network is the host's.
    case netDevice(String, name: String, place: String)
    /// Nothing on this host matches what `--gpus` or `NVIDIA_VISIBLE_DEVICES` names.
    case noSuchGPU(String, granted: [DeviceNode])
    /// `--fabric` names one that is not there.
    case noFabric(String)
}

extension DeviceRegistry {
    /// A device and the specification it stands in.
    package struct Found: Equatable, Sendable {
        package let specification: Specification
        package let device: Device
        package var name: String { specification.kind + "=" + device.name }
    }

    /// The device of that name in the strongest directory that has it.
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

    /// Every device of a class, such as `gpu`, that can be resolved without a conflict.
    package func devices(class: String) -> [Found] {
        var result: [Found] = []
        for specification in specifications where specification.class == `class` {
            let isAlone = specifications.allSatisfy { $0.path == specification.path || $0.kind != specification.kind }
            for device in specification.devices {
                if isAlone {
                    result.append(Found(specification: specification, device: device))
                    continue
                }
                // A name that two equally strong files define stands for neither.
                guard
                    let name = try? QualifiedName(parsing: specification.kind + "=" + device.name),  // checked when compiled
                    let found = try? self.device(name),
                    found.specification.path == specification.path
                else { continue }
                result.append(found)
            }
        }
        return result
    }
}
