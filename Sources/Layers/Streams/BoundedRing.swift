/// A few large buffers that go round between one producing thread and those that consume, each of which sees all of it, so
/// that memory stays bounded and no side copies: the producer fills a buffer in place, the consumers read it in place.
///
/// Blocking on purpose (a mutex and a condition): all sides run on threads of their own, outside Swift's pool.
final class BoundedRing: @unchecked Sendable {
    private let slots: [UnsafeMutableRawBufferPointer]
    private let monitor = Monitor()
    // All below under the monitor. Counts only grow; a slot's index is the count modulo the number of slots.
    private var filled = 0
    private var released: [Int]
    private var lengths: [Int]
    private var isFinished = false
    private var isCancelled = false
    private var failure: LayerError?
    /// Whether a slot is lent to the consumer.
    private var isLent: [Bool]

    init(slots: Int, bytes: Int, consumers: Int = 1) {
        self.slots = (0..<slots).map { _ in .allocate(byteCount: bytes, alignment: 4096) }
        lengths = Array(repeating: 0, count: slots)
        released = Array(repeating: 0, count: consumers)
        isLent = Array(repeating: false, count: consumers)
    }

    deinit {
        for slot in slots { slot.deallocate() }
    }

    /// What one consumer sees.
    func chunks(for consumer: Int) -> any ChunkSource { Reader(self, consumer) }

    private final class Reader: ChunkSource {
        private let ring: BoundedRing
        private let consumer: Int

        init(_ ring: BoundedRing, _ consumer: Int) {
            self.ring = ring
            self.consumer = consumer
        }

        func next() throws(LayerError) -> UnsafeRawBufferPointer { try ring.next(consumer) }
    }

    /// The producer's next buffer to fill, waiting for one; nil once a consumer has given up.
    func emptySlot() -> UnsafeMutableRawBufferPointer? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isCancelled, released.contains(where: { filled - $0 == slots.count }) {
            monitor.wait()
        }
        return isCancelled ? nil : slots[filled % slots.count]
    }

    /// Passes on the first `count` bytes of the buffer that `emptySlot` gave.
    func publish(_ count: Int) {
        monitor.lock()
        lengths[filled % slots.count] = count
        filled += 1
        monitor.tellOfChange()
        monitor.unlock()
    }

    /// The producer's last word: the end, or why there is none. What was published before is still delivered.
    func finish(_ error: LayerError?) {
        monitor.lock()
        isFinished = true
        failure = error
        monitor.tellOfChange()
        monitor.unlock()
    }

    /// A consumer's last word: the producer's next `emptySlot` is nil.
    func cancel() {
        monitor.lock()
        isCancelled = true
        monitor.tellOfChange()
        monitor.unlock()
    }

    /// A consumer's next buffer, valid until its next call; empty at the end.
    private func next(_ consumer: Int) throws(LayerError) -> UnsafeRawBufferPointer {
        monitor.lock()
        defer { monitor.unlock() }
        if isLent[consumer] {
            released[consumer] += 1
            isLent[consumer] = false
            monitor.tellOfChange()
        }
        while filled == released[consumer] && !isFinished { monitor.wait() }
        if filled == released[consumer] {
            if let failure { throw failure }
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        isLent[consumer] = true
        let index = released[consumer] % slots.count
        return UnsafeRawBufferPointer(rebasing: slots[index][..<lengths[index]])
    }
}
