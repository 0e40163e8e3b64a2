internal import CLinux

/// A few large buffers that go round between one producing and one consuming thread, so that memory stays bounded
/// and neither side copies: the producer fills a buffer in place, the consumer reads it in place.
///
/// Blocking on purpose (a mutex and a condition): both sides run on threads of their own, outside Swift's pool.
final class BoundedRing: ChunkSource, @unchecked Sendable {
    private let slots: [UnsafeMutableRawBufferPointer]
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    // All below under the mutex. Counts only grow; a slot's index is the count modulo the number of slots.
    private var filled = 0
    private var released = 0
    private var lengths: [Int]
    private var isFinished = false
    private var isCancelled = false
    private var failure: LayerError?
    /// Consumer's own: whether a slot is lent out.
    private var isLent = false

    init(slots: Int, bytes: Int) {
        self.slots = (0..<slots).map { _ in .allocate(byteCount: bytes, alignment: 4096) }
        lengths = Array(repeating: 0, count: slots)
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
        for slot in slots { slot.deallocate() }
    }

    /// The producer's next buffer to fill, waiting for one; nil once the consumer has given up.
    func emptySlot() -> UnsafeMutableRawBufferPointer? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while filled - released == slots.count && !isCancelled { pthread_cond_wait(changed, mutex) }
        return isCancelled ? nil : slots[filled % slots.count]
    }

    /// Passes on the first `count` bytes of the buffer that `emptySlot` gave.
    func publish(_ count: Int) {
        pthread_mutex_lock(mutex)
        lengths[filled % slots.count] = count
        filled += 1
        pthread_cond_signal(changed)
        pthread_mutex_unlock(mutex)
    }

    /// The producer's last word: the end, or why there is none. What was published before is still delivered.
    func finish(_ error: LayerError?) {
        pthread_mutex_lock(mutex)
        isFinished = true
        failure = error
        pthread_cond_signal(changed)
        pthread_mutex_unlock(mutex)
    }

    /// The consumer's last word: the producer's next `emptySlot` is nil.
    func cancel() {
        pthread_mutex_lock(mutex)
        isCancelled = true
        pthread_cond_signal(changed)
        pthread_mutex_unlock(mutex)
    }

    /// The consumer's next buffer, valid until the next call; empty at the end.
    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        if isLent {
            released += 1
            isLent = false
            pthread_cond_signal(changed)
        }
        while filled == released && !isFinished { pthread_cond_wait(changed, mutex) }
        if filled == released {
            if let failure { throw failure }
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        isLent = true
        let index = released % slots.count
        return UnsafeRawBufferPointer(rebasing: slots[index][..<lengths[index]])
    }
}
