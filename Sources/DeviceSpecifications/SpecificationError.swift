package import LinuxKernel

/// Why a CDI specification is rejected.
package struct SpecificationError: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        case unreadable(errno: Int32)
        /// Another user could have written it.
        case untrusted(UntrustedPath)
        case notYAML(String)
        /// A value of another type was expected: `a list`, `a whole number`.
        case wrongType(field: String, expected: String)
        case unknownField(String)
        case missing(field: String)
        case twice(field: String)
        case unknownVersion(String)
        case versionTooLow(declared: String, needed: String, because: String)
        case badKind(String)
        case badDeviceName(String)
        case deviceTwice(String)
        case noDevices
        case emptyEdits(device: String)
        case badVariable(String)
        case notAbsolute(field: String, String)
        case badNodeType(String)
        case badPermissions(String)
        case badHookName(String)
        case badTimeout(Int)
        case badClosID(String)
        case netDeviceTwice(String)
        case badAnnotation(String)
        /// A byte that neither a path nor a variable can contain.
        case controlCharacter(field: String)
    }

    /// Counted from 1; 0 for the file as a whole.
    package let line: Int
    package let reason: Reason

    init(_ line: Int, _ reason: Reason) {
        self.line = line
        self.reason = reason
    }
}
