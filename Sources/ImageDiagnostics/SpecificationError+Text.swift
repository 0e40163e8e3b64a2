package import DeviceSpecifications
internal import Diagnostics
internal import LinuxKernel

extension SpecificationError {
    /// What is wrong with the file, behind its name and line.
    package var text: String {
        switch reason {
        case .unreadable(let code): SystemError(call: "open", errno: code, subject: "").reason
        case .untrusted(let fault): Report(refusing: "it", fault.path, fault).what
        case .notYAML(let problem): "neither JSON nor YAML: \(problem)"
        case .wrongType(let field, let expected): "\(field) must be \(expected)"
        case .unknownField(let name): "there is no field \"\(name)\" here in CDI 1.1.0"
        case .missing(let field): "\(field) is missing"
        case .twice(let field): "\(field) stands here twice"
        case .unknownVersion(let version): "cdiVersion \"\(version)\" is none that Berth knows (0.1.0 to 1.1.0)"
        case .versionTooLow(let declared, let needed, let because):
            "cdiVersion is \(declared), but \(because) needs at least \(needed)"
        case .badKind(let kind): "kind \"\(kind)\" is not of the form VENDOR/CLASS"
        case .badDeviceName(let name): "\"\(name)\" can not be the name of a device"
        case .deviceTwice(let name): "the device \(name) stands here twice"
        case .noDevices: "it has no devices"
        case .emptyEdits(let device): "the device \(device) has no containerEdits"
        case .badVariable(let entry): "\"\(entry)\" is not of the form NAME=VALUE"
        case .notAbsolute(let field, let path): "\(field) \"\(path)\" is not absolute"
        case .badNodeType(let type): "a device node of type \"\(type)\": it is b, c, u or p"
        case .badPermissions(let text): "permissions \"\(text)\": they are out of r, w and m, or none"
        case .badHookName(let name): "there is no hook \"\(name)\""
        case .badTimeout(let seconds): "a timeout of \(seconds): it must be above 0"
        case .badClosID(let name): "closID \"\(name)\" is no name of a directory"
        case .netDeviceTwice(let name): "the network interface \(name) stands here twice"
        case .badAnnotation(let name): "the annotation \"\(name)\" is malformed"
        case .controlCharacter(let field): "\(field) holds a control character"
        }
    }
}
