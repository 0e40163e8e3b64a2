internal import Diagnostics
internal import LinuxKernel

enum Terminal {
    /// The node, where `srun` shows what is said on many.
    nonisolated(unsafe) static var node = ""  // set once, by the only thread

    static func print(_ text: String) {
        // A reader that has gone away is no failure of ours.
        try? Streams.standardOutput(Array(text.utf8))  // see above
    }

    static func note(_ text: String) {
        try? Streams.standardError(Array(("berth: " + (node.isEmpty ? "" : node + ": ") + text + "\n").utf8))  // nobody to tell
    }

    static func say(_ report: Report?) {
        if let report { try? Streams.standardError(Array(report.text.utf8)) }  // nobody to tell
    }

    static func fail(_ report: Report?) -> Never {
        if let report { try? Streams.standardError(Array(report.text.utf8)) }  // nobody to tell
        Processes.exit((report?.status ?? .ownFailure).rawValue)
    }
}
