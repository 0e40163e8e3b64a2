/// A few large buffers that go round between one thread that fills them and others that read them, each of whom sees all, so
/// that memory stays bounded and nobody copies: a buffer is filled in place, and read in place.
///
/// Blocking on purpose (a mutex and conditions): all sides run on threads of their own, outside Swift's pool.
final class BoundedRing: @unchecked Sendable {
    private let slots: [UnsafeMutableRawBufferPointer]
    private let monitor: Monitor
    private let room: Monitor.Condition
    private let filling: Monitor.Condition
    // All below under the monitor. Counts only grow; a slot's index is the count modulo the number of slots.
    private var filled = 0
    private var released: [Int]
    private var lengths: [Int]
    private var isFinished = false
    private var isCancelled = false
    private var failure: LayerError?

    init(slots: Int, bytes: Int, readers: Int) {
        self.slots = (0..<slots).map { _ in .allocate(byteCount: bytes, alignment: 4096) }
        lengths = Array(repeating: 0, count: slots)
        released = Array(repeating: 0, count: readers)
        monitor = Monitor()
        room = Monitor.Condition(of: monitor)
        filling = Monitor.Condition(of: monitor)
    }

    deinit {
        for slot in slots { slot.deallocate() }
    }

    /// What one reader sees, who waits for it; others are told by whoever fills, and call `release`.
    func chunks(for reader: Int) -> any ChunkSource { Reader(self, reader) }

    private final class Reader: ChunkSource {
        private let ring: BoundedRing
        private let number: Int
        private var hasSlot = false

        init(_ ring: BoundedRing, _ number: Int) {
            self.ring = ring
            self.number = number
        }

        func next() throws(LayerError) -> UnsafeRawBufferPointer {
            if hasSlot { ring.release(number) }
            let chunk = try ring.next(number)
            hasSlot = !chunk.isEmpty
            return chunk
        }
    }

    /// How many slots somebody has still to read.
    private var inUse: Int { filled - (released.min() ?? filled) }

    /// The next buffer to fill, waiting for one; nil once a reader has given up.
    func emptySlot() -> UnsafeMutableRawBufferPointer? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isCancelled, inUse == slots.count { room.wait() }
        return isCancelled ? nil : slots[filled % slots.count]
    }

    /// Passes on the first `count` bytes of the buffer that `emptySlot` gave.
    func publish(_ count: Int) {
        monitor.lock()
        lengths[filled % slots.count] = count
        filled += 1
        monitor.unlock()
        filling.broadcast()
    }

    /// The last word of whoever fills: the end, or why there is none. What was published before is still delivered.
    func finish(_ error: LayerError?) {
        monitor.lock()
        isFinished = true
        failure = error
        monitor.unlock()
        filling.broadcast()
    }

    /// A reader's last word: the next `emptySlot` is nil.
    func cancel() {
        monitor.lock()
        isCancelled = true
        monitor.unlock()
        room.broadcast()
    }

    /// Gives back the first of the slots that the reader has not given back yet.
    func release(_ reader: Int) {
        monitor.lock()
        released[reader] += 1
        let isHalfFree = inUse <= slots.count / 2
        monitor.unlock()
        // For half of the slots at once, as waking a thread costs as much as filling a part of one.
        if isHalfFree { room.broadcast() }
    }

    /// The reader's first slot that was not given back; empty at the end.
    private func next(_ reader: Int) throws(LayerError) -> UnsafeRawBufferPointer {
        monitor.lock()
        defer { monitor.unlock() }
        while filled == released[reader] && !isFinished { filling.wait() }
        if filled == released[reader] {
            if let failure { throw failure }
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        let index = released[reader] % slots.count
        return UnsafeRawBufferPointer(rebasing: slots[index][..<lengths[index]])
    }
}
