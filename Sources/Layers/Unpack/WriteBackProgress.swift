internal import CLinux
internal import LinuxKernel

/// How much of a large file may be under way to the disk where memory is limited:
/// docs/decisions/0151-write-back-in-a-small-job.md
package struct WriteBackLimit: Equatable, Sendable {
    package let bytes: Int64

    /// A layer's share of an eighth of what the pull may have.
    ///
    /// - Parameter memory: The limit on its cgroups, in bytes.
    package init(memory: UInt64, layersAtOnce: Int) {
        // No less than a slow disk works off while the next piece is made.
        bytes = max(2 << 20, Int64(memory / 8) / Int64(layersAtOnce))
    }
}

/// What of one file was handed to the disk, and what has got there.
struct WriteBackProgress {
    /// For the kernel a call is a request to the disk: not for less, in bytes.
    static let step: Int64 = 4 << 20
    private let limit: WriteBackLimit?
    private let step: Int64
    private var started: Int64 = 0
    private var finished: Int64 = 0

    init(_ limit: WriteBackLimit?) {
        self.limit = limit
        step = min(Self.step, limit.map { max(256 << 10, $0.bytes / 4) } ?? Self.step)
    }

    /// After all up to this offset was written. What is written early need not be waited for later, nor does it crowd the page
    /// cache; in a small job it would fill the memory while the disk is slow, and nothing that waits can be reclaimed.
    mutating func wrote(_ file: borrowing OwnedFileDescriptor, upTo end: Int64) {
        let edge = end / step * step
        guard edge > started else { return }
        // Advice: a file system that does not take it writes when it likes, and who settles hears of errors.
        try? file.startWriteBack(at: started, bytes: edge - started)  // see above
        started = edge
        guard let limit, edge - limit.bytes > finished else { return }
        try? file.finishWriteBack(at: finished, bytes: edge - limit.bytes - finished)  // see above
        finished = edge - limit.bytes
    }
}
