internal import Diagnostics
internal import LinuxKernel

enum Terminal {
    static func print(_ text: String) {
        // A reader that has gone away is no failure of ours.
        try? Streams.standardOutput(Array(text.utf8))  // see above
    }

    static func note(_ text: String) {
        try? Streams.standardError(Array(("berth: " + text + "\n").utf8))  // nobody to tell
    }

    static func say(_ report: Report?) {
        if let report { try? Streams.standardError(Array(report.text.utf8)) }  // nobody to tell
    }

    static func fail(_ report: Report?) -> Never {
        if let report { try? Streams.standardError(Array(report.text.utf8)) }  // nobody to tell
        Processes.exit((report?.status ?? .ownFailure).rawValue)
    }
}
