package import DeviceSpecifications
internal import Diagnostics
internal import LinuxKernel

extension SpecificationError {
    /// The error, to be appended to the file's name and line.
    package var text: String {
        switch reason {
        case .unreadable(let code): SystemError(call: "open", errno: code, subject: "").reason
        case .untrusted(let fault): Report(refusing: "it", fault.path, fault).summary
        case .notYAML(let problem): "neither JSON nor YAML: \(problem)"
        case .wrongType(let field, let expected): "\(field) must be \(expected)"
        case .unknownField(let name): "CDI 1.1.0 has no field \"\(name)\" here"
        case .missing(let field): "\(field) is missing"
        case .twice(let field): "\(field) occurs twice"
        case .unknownVersion(let version): "cdiVersion \"\(version)\" is not supported (0.1.0 to 1.1.0)"
        case .versionTooLow(let declared, let needed, let because):
            "cdiVersion is \(declared), but \(because) needs at least \(needed)"
        case .badKind(let kind): "kind \"\(kind)\" is not of the form VENDOR/CLASS"
        case .badDeviceName(let name): "\"\(name)\" is not a valid device name"
        case .deviceTwice(let name): "the device \(name) occurs twice"
        case .noDevices: "it has no devices"
        case .emptyEdits(let device): "the device \(device) has no containerEdits"
        case .badVariable(let entry): "\"\(entry)\" is not of the form NAME=VALUE"
        case .notAbsolute(let field, let path): "\(field) \"\(path)\" is not absolute"
        case .badNodeType(let type): "a device node has the type \"\(type)\": expected b, c, u or p"
        case .badPermissions(let text): "permissions are \"\(text)\": expected letters of rwm, or none"
        case .badHookName(let name): "unknown hook \"\(name)\""
        case .badTimeout(let seconds): "timeout is \(seconds): it must be greater than 0"
        case .badClosID(let name): "closID \"\(name)\" is not a directory name"
        case .netDeviceTwice(let name): "the network interface \(name) occurs twice"
        case .badAnnotation(let name): "the annotation \"\(name)\" is malformed"
        case .controlCharacter(let field): "\(field) contains a control character"
        }
    }
}
