internal import CLinux

/// sem_overview(7): wakes a blocked thread. A task, which must not block, may signal. Signals without a waiter are
/// kept, so a waiter must check its condition again.
package final class Semaphore: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    package init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    package func signal() { sem_post(semaphore) }

    package func wait() { while sem_wait(semaphore) == -1 {} }
}
