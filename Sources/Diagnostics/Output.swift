package import LinuxKernel

/// Writes to the standard streams. The launcher and the image tool print through this type only.
package enum Output {
    /// Writes output for other programs, byte for byte.
    ///
    /// - Returns: The error, or `nil`. A pipe that the reader has closed is not an error.
    package static func write(_ bytes: UnsafeRawBufferPointer) -> Report? {
        do throws(SystemError) { try Streams.standardOutput(bytes) } catch {
            return error.errno == Errno.EPIPE ? nil : Report(output: error)
        }
        return nil
    }

    /// Writes text of Berth, or lines that `TerminalText` has made safe.
    package static func write(_ text: String) -> Report? {
        var text = text
        return text.withUTF8 { write(UnsafeRawBufferPointer($0)) }
    }

    /// Writes a line that may contain untrusted text.
    package static func write(line: String) -> Report? { write(TerminalText.line(line) + "\n") }

    /// Writes to standard error.
    package static func note(_ text: String) {
        try? Streams.standardError(Array(text.utf8))  // there is no other place to report it
    }

    package static func note(line: String) { note("berth: " + TerminalText.line(line) + "\n") }
}

extension Report {
    /// A failed write to standard output.
    package init(output error: SystemError) {
        let hint: String? =
            switch error.errno {
            case Errno.ENOSPC: "the file system of the output file is full"
            case Errno.EDQUOT: "the disk quota for the output file is used up"
            case Errno.EFBIG: "the output file reached the file size limit: ulimit -f unlimited"
            default: nil
            }
        self.init("cannot write to standard output: \(error.sentence)", hint: hint)
    }
}
