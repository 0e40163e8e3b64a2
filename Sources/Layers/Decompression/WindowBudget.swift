/// Limits the total window size of all concurrent zstd decoders, so that a pull's memory does not grow with the number
/// of concurrent layers. A decoder waits until its window fits; a window larger than the budget is decoded alone.
package final class WindowBudget: @unchecked Sendable {
    static let shared = WindowBudget(bytes: 19 << 20)
    /// The memory of a decoder besides its window, and of the layer that it decodes.
    static let besides = 3 << 19

    private let bytes: Int
    private let monitor: Monitor
    private let room: Monitor.Condition
    // Guarded by the monitor.
    private var taken = 0

    package init(bytes: Int) {
        self.bytes = bytes
        monitor = Monitor()
        room = Monitor.Condition(of: monitor)
    }

    /// Waits for the memory. A decoder that holds some must return it first, because two could wait for each other
    /// forever.
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

    /// The window size of the frame that starts here (RFC 8878, section 3.1.1.1); `nil` for a skippable frame.
    package static func window(of frame: UnsafeRawBufferPointer) -> Int? {
        // For a truncated header, assume the usual maximum.
        let usual = 8 << 20
        guard frame.count >= 6 else { return usual }
        guard frame.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) else { return nil }
        let descriptor = frame[4]
        if descriptor & 0x20 == 0 {
            let base = 1 << (10 + Int(frame[5] >> 3))
            return base + base / 8 * Int(frame[5] & 7)
        }
        // A single segment: the window is the whole content.
        let start = 5 + [0, 1, 2, 4][Int(descriptor & 3)]
        let length = [1, 2, 4, 8][Int(descriptor >> 6)]
        guard frame.count >= start + length else { return usual }
        var size: UInt64 = length == 2 ? 256 : 0
        for index in 0..<length { size += UInt64(frame[start + index]) << (8 * UInt64(index)) }
        return Int(min(size, 1 << 40))  // larger frames are rejected
    }
}
