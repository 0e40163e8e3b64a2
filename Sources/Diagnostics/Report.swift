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
        return lines.map(Self.printable).joined(separator: "\n") + "\n"
    }

    /// Names come from images and registries; none of them may steer the terminal, nor turn the line's direction.
    private static func printable(_ line: String) -> String {
        String(String.UnicodeScalarView(line.unicodeScalars.map { steers($0) ? "\u{FFFD}" : $0 }))
    }

    private static func steers(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // C0, DEL and C1; line and paragraph separators; embeddings, overrides and isolates of the bidirectional
        // algorithm; bytes of an argument that are no text.
        case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069, 0x10FF80...0x10FFFF: true
        default: false
        }
    }
}

/// The exit statuses of Docker and env(1).
package enum ExitStatus: Int32, Sendable {
    /// Berth itself failed; the command was not started.
    case ownFailure = 125
    case cannotExecute = 126
    case notFound = 127
}
