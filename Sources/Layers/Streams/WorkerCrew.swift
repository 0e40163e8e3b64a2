internal import CLinux

/// Threads that share out numbered pieces of work, whoever asks for it among them. They start with the first work that is more
/// than one piece; where no thread can be had, the caller does it all.
final class WorkerCrew: @unchecked Sendable {
    private let size: Int
    private var members: [Member] = []
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    // All below under the mutex.
    private var work: (@Sendable (Int) -> Void)?
    private var count = 0
    private var begun = 0
    private var ended = 0
    private var isDismissed = false

    /// - Parameter size: How many work at once, the caller included.
    init(size: Int) {
        self.size = size
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    /// An array holds nothing that can not be copied.
    private final class Member {
        private var thread: WorkerThread?
        init(_ thread: consuming WorkerThread) { self.thread = consume thread }
        func join() { thread.take()?.join() }
    }

    /// Runs `work` once for each number below `count`, and returns when all have ended.
    func carryOut(_ count: Int, _ work: @escaping @Sendable (Int) -> Void) {
        if count == 1 { return work(0) }
        while members.count < min(size, count) - 1, !isDismissed {
            // Fewer hands do the same.
            guard let thread = try? WorkerThread({ [self] in serve() }) else { break }  // see above
            members.append(Member(thread))
        }
        pthread_mutex_lock(mutex)
        (self.work, self.count, begun, ended) = (work, count, 0, 0)
        pthread_cond_broadcast(changed)
        takePieces()
        while ended < count { pthread_cond_wait(changed, mutex) }
        self.work = nil
        pthread_mutex_unlock(mutex)
    }

    /// Ends the threads. Nothing may be at work.
    func dismiss() {
        pthread_mutex_lock(mutex)
        isDismissed = true
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
        for member in members { member.join() }
        members = []
    }

    private func serve() {
        pthread_mutex_lock(mutex)
        while !isDismissed {
            takePieces()
            pthread_cond_wait(changed, mutex)
        }
        pthread_mutex_unlock(mutex)
    }

    /// Called, and returns, with the mutex locked.
    private func takePieces() {
        while let work, begun < count {
            let piece = begun
            begun += 1
            pthread_mutex_unlock(mutex)
            work(piece)
            pthread_mutex_lock(mutex)
            ended += 1
            if ended == count { pthread_cond_broadcast(changed) }
        }
    }
}
