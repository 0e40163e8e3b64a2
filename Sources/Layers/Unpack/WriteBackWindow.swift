internal import CLinux
internal import LinuxKernel

/// When the disk gets what is written of large files: docs/explanation/decisions/pull-pipeline.md
package enum WriteBackPolicy: Equatable, Sendable {
    /// When the kernel likes; nobody waits for it.
    case whenever
    /// As it is written, since somebody will wait for all of it.
    case early
    /// Likewise, and no more than so many bytes of a layer are under way at a time.
    case within(bytes: Int64)

    /// A layer's share of an eighth of what the pull may have.
    ///
    /// - Parameter memory: The limit on its cgroups, in bytes.
    package init(memory: UInt64, layersAtOnce: Int) {
        // No less than a slow disk works off while the next piece is made.
        self = .within(bytes: max(2 << 20, Int64(memory / 8) / Int64(layersAtOnce)))
    }
}

/// What of a layer's large files was handed to the disk, and what has got there.
final class WriteBackWindow {
    /// For the kernel a call is a request to the disk: not for less, in bytes.
    private let step: Int64
    private let limit: Int64?
    private let isOff: Bool
    /// Of the file that is being written: how far it was handed over, how far it was waited for.
    private var started: Int64 = 0
    private var finished: Int64 = 0
    /// Files before it that were not waited for to their end, oldest first, kept open until they are.
    private var earlier: [(file: DescriptorBox, from: Int64, bytes: Int64)] = []
    private var earlierBytes: Int64 = 0
    /// Descriptors are few.
    private static let mostEarlier = 32

    init(_ policy: WriteBackPolicy) {
        limit = if case .within(let bytes) = policy { bytes } else { nil }
        step = limit.map { min(4 << 20, max(256 << 10, $0 / 4)) } ?? 4 << 20
        isOff = policy == .whenever
    }

    /// After all up to this offset was written.
    func wrote(_ file: DescriptorBox, upTo end: Int64) {
        if isOff { return }
        let edge = end / step * step
        if edge > started { handOver(file, upTo: edge) }
    }

    /// After the file's last byte.
    func end(_ file: DescriptorBox) {
        if isOff { return }
        defer { (started, finished) = (0, 0) }
        guard let size = try? file.descriptor.status().size else { return }  // advice, all of it
        if size > started { handOver(file, upTo: size) }
        guard limit != nil, started > finished else { return }
        earlier.append((file, finished, started - finished))
        earlierBytes += started - finished
        if earlier.count > Self.mostEarlier { waitForOldest() }
    }

    /// In a small job what waits for the disk would fill the memory, and none of it can be reclaimed.
    private func handOver(_ file: DescriptorBox, upTo edge: Int64) {
        // Advice: a file system that does not take it writes when it likes, and who settles hears of errors.
        try? file.descriptor.startWriteBack(at: started, bytes: edge - started)
        started = edge
        guard let limit else { return }
        while !earlier.isEmpty, earlierBytes + started - finished > limit { waitForOldest() }
        guard edge - limit > finished else { return }
        try? file.descriptor.finishWriteBack(at: finished, bytes: edge - limit - finished)
        finished = edge - limit
    }

    private func waitForOldest() {
        let (file, from, bytes) = earlier.removeFirst()
        try? file.descriptor.finishWriteBack(at: from, bytes: bytes)
        earlierBytes -= bytes
    }
}
