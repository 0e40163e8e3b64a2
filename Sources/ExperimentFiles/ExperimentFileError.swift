package import LinuxKernel

/// Why an experiment file cannot be used.
package struct ExperimentFileError: Error, Sendable {
    package enum Reason: Sendable {
        case unreadable(SystemError)
        /// No directory of the search path has a file of that name.
        case notFound(searched: [String])
        /// The search path leads to a file that another user could have written: `Trust`.
        case untrusted(UntrustedPath)
        case syntax(line: Int, String)
        case unknownKey(String)
        /// What the key takes.
        case badValue(key: String, expected: String)
        case unresolved(key: String, variable: String)
        case malformedReference(key: String, String)
        case tooManyBases
        /// A file that is its own base.
        case ownBase
        /// EDF has it, and Berth does not.
        case unsupported(key: String, reason: String, remedy: String)
        /// A lock whose image has another digest than its `[lock]` table.
        case brokenLock
    }

    package let file: String
    package let reason: Reason

    package init(file: String, reason: Reason) { (self.file, self.reason) = (file, reason) }
}
