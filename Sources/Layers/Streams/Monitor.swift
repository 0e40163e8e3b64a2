internal import CLinux

/// A mutex with conditions for blocking threads: pthread_mutex_lock(3), pthread_cond_wait(3).
final class Monitor: @unchecked Sendable {
    fileprivate let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() { pthread_mutex_init(mutex, nil) }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }

    /// One kind of change, so that only threads that wait for it are woken.
    final class Condition: @unchecked Sendable {
        private let monitor: Monitor
        private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

        init(of monitor: Monitor) {
            self.monitor = monitor
            pthread_cond_init(condition, nil)
        }

        deinit {
            pthread_cond_destroy(condition)
            condition.deallocate()
        }

        /// Waits until another thread signals the condition, or a spurious wake-up. The caller has locked the monitor.
        func wait() { pthread_cond_wait(condition, monitor.mutex) }

        /// Wakes all waiting threads. Preferably call it with the monitor unlocked, because they lock it.
        func broadcast() { pthread_cond_broadcast(condition) }

        /// Wakes one waiting thread.
        func signal() { pthread_cond_signal(condition) }
    }
}
