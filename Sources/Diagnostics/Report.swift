internal import LinuxKernel

/// What people are told of a failure: what, where in the work, and what to do about it. The only place with such text
/// is this module.
package struct Report: Equatable, Sendable {
    /// One line: the thing and the reason.
    package var what: String
    /// Facts that help to find the place, a line each.
    package var details: [String]
    /// What to do about it.
    package var hint: String?
    package var status: ExitStatus

    package init(_ what: String, details: [String] = [], hint: String? = nil, status: ExitStatus = .ownFailure) {
        self.what = what
        self.details = details
        self.hint = hint
        self.status = status
    }

    /// The lines as they go to standard error.
    package var text: String {
        var lines = ["berth: " + what]
        lines += details.map { "  " + $0 }
        if let hint { lines.append("  hint: " + hint) }
        return lines.map(TerminalText.line).joined(separator: "\n") + "\n"
    }
}

/// The exit statuses of Docker and env(1).
package enum ExitStatus: Int32, Sendable {
    /// Berth itself failed; the command was not started.
    case ownFailure = 125
    case cannotExecute = 126
    case notFound = 127
}
