/// What all zstd frames that are being decoded may look back on together, so that a pull's memory does not grow with the number
/// of layers at once. Whoever wants more than is left waits for the others to end; a window that is larger than the whole
/// is had alone.
package final class WindowBudget: @unchecked Sendable {
    static let shared = WindowBudget(bytes: 19 << 20)
    /// What a decoder has beside its window, and what the layer around it holds while it decodes.
    static let besides = 3 << 19

    private let bytes: Int
    private let monitor: Monitor
    private let room: Monitor.Condition
    // Under the monitor.
    private var taken = 0

    package init(bytes: Int) {
        self.bytes = bytes
        monitor = Monitor()
        room = Monitor.Condition(of: monitor)
    }

    /// Waits for the room. Whoever has some already gives it back first: two that waited for each other would wait for ever.
    package func take(_ count: Int) {
        monitor.lock()
        while taken > 0, taken + count > bytes { room.wait() }
        taken += count
        monitor.unlock()
    }

    package func giveBack(_ count: Int) {
        monitor.lock()
        taken -= count
        monitor.unlock()
        room.broadcast()
    }

    /// How far back the frame looks that begins here (RFC 8878, section 3.1.1.1); nil for a frame that is passed over.
    package static func window(of frame: UnsafeRawBufferPointer) -> Int? {
        // What is cut off is taken for what most have at most.
        let usual = 8 << 20
        guard frame.count >= 6 else { return usual }
        guard frame.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) else { return nil }
        let descriptor = frame[4]
        if descriptor & 0x20 == 0 {
            let base = 1 << (10 + Int(frame[5] >> 3))
            return base + base / 8 * Int(frame[5] & 7)
        }
        // One segment: all of it.
        let start = 5 + [0, 1, 2, 4][Int(descriptor & 3)]
        let length = [1, 2, 4, 8][Int(descriptor >> 6)]
        guard frame.count >= start + length else { return usual }
        var size: UInt64 = length == 2 ? 256 : 0
        for index in 0..<length { size += UInt64(frame[start + index]) << (8 * UInt64(index)) }
        return Int(min(size, 1 << 40))  // no frame is decoded that says so
    }
}
