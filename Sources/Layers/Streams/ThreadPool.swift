/// Threads that share numbered pieces of work with the caller. They start when work with more than one piece arrives.
/// If no thread starts, the caller does all of it.
final class ThreadPool: @unchecked Sendable {
    private let size: Int
    private var members: [JoinedThread] = []
    private let monitor: Monitor
    private let changed: Monitor.Condition
    // Guarded by the monitor.
    private var work: (@Sendable (Int) -> Void)?
    private var count = 0
    private var begun = 0
    private var ended = 0
    private var isDismissed = false

    /// - Parameter size: The number of threads, including the caller.
    init(size: Int) {
        self.size = size
        monitor = Monitor()
        changed = Monitor.Condition(of: monitor)
    }

    /// Calls `work` once for each number below `count`, and returns when all calls have returned.
    func run(_ count: Int, _ work: @escaping @Sendable (Int) -> Void) {
        if count == 1 { return work(0) }
        while members.count < min(size, count) - 1, !isDismissed {
            // Fewer threads suffice.
            guard let thread = try? WorkerThread({ [self] in serve() }) else { break }  // fewer suffice
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

    /// Stops the threads. No work may be running.
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

    /// Called and returns with the monitor locked.
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
