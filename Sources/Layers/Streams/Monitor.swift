internal import CLinux

/// A mutex, and word of changes of what it guards, for threads that block: pthread_mutex_lock(3), pthread_cond_wait(3).
final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }

    /// Lets others in until one of them tells of a change, or for no reason at all.
    func wait() { pthread_cond_wait(changed, mutex) }

    /// To all who wait.
    func tellOfChange() { pthread_cond_broadcast(changed) }
}
