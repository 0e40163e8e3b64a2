internal import CLinux
internal import LinuxKernel

/// How much a layer may have under way to the disk where memory is limited: docs/decisions/0151-write-back-in-a-small-job.md
package struct WriteBackLimits: Equatable, Sendable {
    /// Of a file, and again of all that were finished, in bytes.
    package let bytes: Int64
    /// Finished files whose bytes may be under way; each keeps a descriptor. 0: only large files are waited for.
    package let files: Int

    package init(bytes: Int64, files: Int) {
        self.bytes = bytes
        self.files = files
    }

    /// Above this small files are left to the kernel: what is under way of them is little beside it.
    private static let small: UInt64 = 1 << 30

    /// A share of what a pull may have: a quarter of its memory, and 128 descriptors.
    ///
    /// - Parameter memory: The limit on its cgroups, in bytes.
    package init(memory: UInt64, layersAtOnce: Int) {
        let share = Int64(memory / 8) / Int64(layersAtOnce)
        self.init(bytes: max(2 << 20, share), files: memory > Self.small ? 0 : max(8, 64 / layersAtOnce))
    }
}

/// What of one file was handed to the disk, and what has got there.
struct WriteBackProgress {
    /// For the kernel a call is a request to the disk: not for less, in bytes.
    static let step: Int64 = 4 << 20
    private let limits: WriteBackLimits?
    private let step: Int64
    private var started: Int64 = 0
    private var finished: Int64 = 0

    init(_ limits: WriteBackLimits?) {
        self.limits = limits
        step = min(Self.step, limits.map { max(256 << 10, $0.bytes / 4) } ?? Self.step)
    }

    /// After all up to this offset was written. What is written early need not be waited for later, nor does it crowd the page
    /// cache; in a small job it would fill the memory while the disk is slow, and nothing that waits can be reclaimed.
    mutating func wrote(_ file: borrowing OwnedFileDescriptor, upTo end: Int64) {
        let edge = end / step * step
        guard edge > started else { return }
        // Advice: a file system that does not take it writes when it likes, and who settles hears of errors.
        try? file.startWriteBack(at: started, bytes: edge - started)  // see above
        started = edge
        guard let limits, edge - limits.bytes > finished else { return }
        try? file.finishWriteBack(at: finished, bytes: edge - limits.bytes - finished)  // see above
        finished = edge - limits.bytes
    }
}

/// Files that are complete and perhaps not on the disk, at most so many. In two halves: one is on its way while the other is
/// filled, so that the disk gets many at once, which it may join.
final class WriteBackWindow: @unchecked Sendable {
    private let limits: WriteBackLimits
    /// Small files may be made by several threads. All are held back together.
    private let mutex = Monitor()
    private var fresh: [DescriptorBox] = []
    private var freshBytes: Int64 = 0
    private var started: [DescriptorBox] = []

    /// `nil` where nothing is to be held.
    init?(_ limits: WriteBackLimits?) {
        guard let limits, limits.files > 0 else { return nil }
        self.limits = limits
    }

    /// Takes a file to which nothing more is written.
    func hold(_ file: consuming OwnedFileDescriptor, bytes: Int64) {
        if bytes == 0 { return }
        mutex.lock()
        defer { mutex.unlock() }
        fresh.append(DescriptorBox(file))
        freshBytes += min(bytes, limits.bytes)
        guard freshBytes >= limits.bytes / 2 || fresh.count >= limits.files else { return }
        // Advice, as above.
        for file in fresh { try? file.descriptor.startWriteBack(at: 0, bytes: 0) }  // see above
        for file in started { try? file.descriptor.finishWriteBack(at: 0, bytes: 0) }  // see above
        started = fresh
        fresh = []
        freshBytes = 0
    }
}
