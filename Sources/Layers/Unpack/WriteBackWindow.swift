internal import CLinux
internal import LinuxKernel

/// When large files are written back to disk: docs/explanation/decisions/pull-pipeline.md
package enum WriteBackPolicy: Equatable, Sendable {
    /// When the kernel decides, because no process waits for the disk.
    case whenever
    /// While they are written, because the pull waits for the disk at the end.
    case early
    /// Likewise, with at most this many bytes of a layer in flight.
    case within(bytes: Int64)

    /// A layer's share of an eighth of the pull's memory.
    ///
    /// - Parameter memory: The memory limit of the pull's cgroups, in bytes.
    package init(memory: UInt64, layersAtOnce: Int) {
        // At least what a slow disk writes while the next piece is produced.
        self = .within(bytes: max(2 << 20, Int64(memory / 8) / Int64(layersAtOnce)))
    }
}

/// Tracks the write-back of a layer's large files.
final class WriteBackWindow {
    /// Each call starts a disk request, so this is the minimum size in bytes.
    private let step: Int64
    private let limit: Int64?
    private let isOff: Bool
    /// How far write-back of the current file was started and has finished.
    private var started: Int64 = 0
    private var finished: Int64 = 0
    /// Earlier files whose write-back has not finished, oldest first. They stay open until then.
    private var earlier: [(file: DescriptorBox, from: Int64, bytes: Int64)] = []
    private var earlierBytes: Int64 = 0
    /// Limits the number of open descriptors.
    private static let mostEarlier = 32

    init(_ policy: WriteBackPolicy) {
        limit = if case .within(let bytes) = policy { bytes } else { nil }
        step = limit.map { min(4 << 20, max(256 << 10, $0 / 4)) } ?? 4 << 20
        isOff = policy == .whenever
    }

    /// Called after all bytes up to this offset were written.
    func wrote(_ file: DescriptorBox, upTo end: Int64) {
        if isOff { return }
        let edge = end / step * step
        if edge > started { handOver(file, upTo: edge) }
    }

    /// Called after the file's last byte.
    func end(_ file: DescriptorBox) {
        if isOff { return }
        defer { (started, finished) = (0, 0) }
        guard let size = try? file.descriptor.status().size else { return }  // best effort
        if size > started { handOver(file, upTo: size) }
        guard limit != nil, started > finished else { return }
        earlier.append((file, finished, started - finished))
        earlierBytes += started - finished
        if earlier.count > Self.mostEarlier { waitForOldest() }
    }

    /// In a small job, dirty pages would fill the memory, and they cannot be reclaimed until they are written.
    private func handOver(_ file: DescriptorBox, upTo edge: Int64) {
        // Best effort: the final flush reports errors.
        try? file.descriptor.startWriteBack(at: started, bytes: edge - started)  // best effort
        started = edge
        guard let limit else { return }
        while !earlier.isEmpty, earlierBytes + started - finished > limit { waitForOldest() }
        guard edge - limit > finished else { return }
        try? file.descriptor.finishWriteBack(at: finished, bytes: edge - limit - finished)  // likewise
        finished = edge - limit
    }

    private func waitForOldest() {
        let (file, from, bytes) = earlier.removeFirst()
        try? file.descriptor.finishWriteBack(at: from, bytes: bytes)  // likewise
        earlierBytes -= bytes
    }
}
