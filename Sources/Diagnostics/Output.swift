package import LinuxKernel

/// The standard streams, for both programs: everything that they print goes through here.
package enum Output {
    /// What another program reads: exactly these bytes.
    ///
    /// - Returns: Why not all of it was written, or nil. A reader that has gone away is no failure.
    package static func write(_ bytes: UnsafeRawBufferPointer) -> Report? {
        do throws(SystemError) { try Streams.standardOutput(bytes) } catch {
            return error.errno == Errno.EPIPE ? nil : Report(output: error)
        }
        return nil
    }

    /// Berth's own text, or text whose lines went through `TerminalText`.
    package static func write(_ text: String) -> Report? {
        var text = text
        return text.withUTF8 { write(UnsafeRawBufferPointer($0)) }
    }

    /// A line with words of foreign origin.
    package static func write(line: String) -> Report? { write(TerminalText.line(line) + "\n") }

    /// The same on standard error, where a failure can be reported to nobody.
    package static func note(_ text: String) {
        try? Streams.standardError(Array(text.utf8))
    }

    package static func note(line: String) { note("berth: " + TerminalText.line(line) + "\n") }
}

extension Report {
    /// Standard output could not be written.
    package init(output error: SystemError) {
        let hint: String? =
            switch error.errno {
            case Errno.ENOSPC: "the file system of the file that standard output goes to is full"
            case Errno.EDQUOT: "the disk quota of the file that standard output goes to is used up"
            case Errno.EFBIG: "the file that standard output goes to reached a limit: ulimit -f unlimited"
            default: nil
            }
        self.init("cannot write to standard output: \(error.sentence)", hint: hint)
    }
}
