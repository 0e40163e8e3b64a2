internal import LinuxKernel

/// An error message for people: what failed and why, details, and the remedy. Only this module and `ImageDiagnostics`
/// contain such text.
package struct Report: Equatable, Sendable {
    /// What failed and why, in one line.
    package var summary: String
    /// Facts that help to find the cause, one per line.
    package var details: [String]
    /// The remedy.
    package var hint: String?
    package var status: ExitStatus

    package init(
        _ summary: String, details: [String] = [], hint: String? = nil, status: ExitStatus = .ownFailure
    ) {
        self.summary = summary
        self.details = details
        self.hint = hint
        self.status = status
    }

    /// The lines for standard error.
    package var text: String {
        var lines = ["berth: " + summary]
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
