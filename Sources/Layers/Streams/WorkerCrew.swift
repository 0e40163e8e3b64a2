/// Threads that share out numbered pieces of work, whoever asks for it among them. They start with the first work that is more
/// than one piece; where no thread can be had, the caller does it all.
final class WorkerCrew: @unchecked Sendable {
    private let size: Int
    private var members: [JoinedThread] = []
    private let monitor: Monitor
    private let changed: Monitor.Condition
    // All below under the monitor.
    private var work: (@Sendable (Int) -> Void)?
    private var count = 0
    private var begun = 0
    private var ended = 0
    private var isDismissed = false

    /// - Parameter size: How many work at once, the caller included.
    init(size: Int) {
        self.size = size
        monitor = Monitor()
        changed = Monitor.Condition(of: monitor)
    }

    /// Runs `work` once for each number below `count`, and returns when all have ended.
    func carryOut(_ count: Int, _ work: @escaping @Sendable (Int) -> Void) {
        if count == 1 { return work(0) }
        while members.count < min(size, count) - 1, !isDismissed {
            // Fewer hands do the same.
            guard let thread = try? WorkerThread({ [self] in serve() }) else { break }
            members.append(JoinedThread(thread))
        }
        monitor.lock()
        (self.work, self.count, begun, ended) = (work, count, 0, 0)
        changed.broadcast()
        takePieces()
        while ended < count { changed.wait() }
        self.work = nil
        monitor.unlock()
    }

    /// Ends the threads. Nothing may be at work.
    func dismiss() {
        monitor.lock()
        isDismissed = true
        changed.broadcast()
        monitor.unlock()
        for member in members { member.join() }
        members = []
    }

    private func serve() {
        monitor.lock()
        while !isDismissed {
            takePieces()
            changed.wait()
        }
        monitor.unlock()
    }

    /// Called, and returns, with the monitor locked.
    private func takePieces() {
        while let work, begun < count {
            let piece = begun
            begun += 1
            monitor.unlock()
            work(piece)
            monitor.lock()
            ended += 1
            if ended == count { changed.broadcast() }
        }
    }
}
