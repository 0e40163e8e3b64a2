/// A ring of a few large buffers between one writer and several readers, each of which reads all data. It bounds memory
/// and avoids copies: buffers are filled and read in place.
///
/// Blocks with a mutex and conditions. All sides run on threads of their own, outside Swift's pool.
final class BoundedRing: @unchecked Sendable {
    private let slots: [UnsafeMutableRawBufferPointer]
    private let monitor: Monitor
    private let room: Monitor.Condition
    private let filling: Monitor.Condition
    // Guarded by the monitor. Counts only grow; a slot's index is the count modulo the number of slots.
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

    /// The data for a reader that pulls them. Other readers are called by the writer and call `release`.
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

    /// The number of slots that are not released by all readers.
    private var inUse: Int { filled - (released.min() ?? filled) }

    /// Waits for the next buffer to fill; returns `nil` after a reader has cancelled.
    func emptySlot() -> UnsafeMutableRawBufferPointer? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isCancelled, inUse == slots.count { room.wait() }
        return isCancelled ? nil : slots[filled % slots.count]
    }

    /// Publishes the first `count` bytes of the buffer that `emptySlot` returned.
    func publish(_ count: Int) {
        monitor.lock()
        lengths[filled % slots.count] = count
        filled += 1
        monitor.unlock()
        filling.broadcast()
    }

    /// Ends the stream, with an error if the writer failed. Data published before is still delivered.
    func finish(_ error: LayerError?) {
        monitor.lock()
        isFinished = true
        failure = error
        monitor.unlock()
        filling.broadcast()
    }

    /// Called by a reader to stop: the next `emptySlot` returns `nil`.
    func cancel() {
        monitor.lock()
        isCancelled = true
        monitor.unlock()
        room.broadcast()
    }

    /// Releases the oldest slot that the reader holds.
    func release(_ reader: Int) {
        monitor.lock()
        released[reader] += 1
        let isHalfFree = inUse <= slots.count / 2
        monitor.unlock()
        // Only when half of the slots are free, because waking a thread costs as much as filling a part of one.
        if isHalfFree { room.broadcast() }
    }

    /// The oldest slot that the reader has not released; empty at the end.
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
