internal import Diagnostics
internal import LinuxKernel

enum Terminal {
    /// The node, where `srun` shows what is said on many.
    nonisolated(unsafe) static var node = ""  // set once, by the only thread

    /// Berth's own text, or text whose lines went through `TerminalText`.
    static func print(_ text: String) {
        if let report = Output.write(text) { fail(report) }
    }

    static func note(_ text: String) { Output.note(line: (node.isEmpty ? "" : node + ": ") + text) }

    static func say(_ report: Report?) {
        if let report { Output.note(report.text) }
    }

    static func fail(_ report: Report?) -> Never {
        say(report)
        Processes.exit((report?.status ?? .ownFailure).rawValue)
    }
}
