import Foundation
import Layers
import Synchronization
import Testing

/// The limit for the zstd windows of all layers together.
@Suite struct WindowBudgetTests {
    /// RFC 8878, section 3.1.1.1: the window size in a frame.
    @Test func windowsAreReadFromTheFrame() {
        func window(_ bytes: [UInt8]) -> Int? { bytes.withUnsafeBytes { WindowBudget.window(of: $0) } }
        #expect(window(StreamTests.zstd([1, 2, 3], windowLog: 20)) == 1 << 20)
        #expect(window(StreamTests.zstd([1, 2, 3], windowLog: 28)) == 1 << 28)
        let magic: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD]
        // Mantissas in units of one eighth.
        #expect(window(magic + [0, 10 << 3 | 3]) == (1 << 20) + 3 << 17)
        // A single segment with its length in one, two, four and eight bytes, after a dictionary ID.
        #expect(window(magic + [0x20, 200]) == 200)
        #expect(window(magic + [0x60, 0, 1]) == 512)
        #expect(window(magic + [0xA0, 0, 0, 1, 0]) == 65_536)
        #expect(window(magic + [0xE0, 0, 0, 0, 1, 0, 0, 0, 0]) == 1 << 24)
        #expect(window(magic + [0xE3, 9, 9, 9, 9, 0, 0, 0, 1, 0, 0, 0, 0]) == 1 << 24)
        #expect(window(magic + [0xE0] + [UInt8](repeating: 0xFF, count: 8)) == 1 << 40)
        #expect(window(StreamTests.skippable) == nil)
        // Truncated: the usual maximum.
        #expect(window(magic + [0xE0, 0, 0]) == 8 << 20)
        #expect(window(magic) == 8 << 20)
    }

    @Test func windowsAreSharedOut() {
        let budget = WindowBudget(bytes: 16)
        budget.take(10)
        budget.take(6)
        let entered = Mutex(0)
        let ended = DispatchSemaphore(value: 0)
        for _ in 0..<3 {
            Thread {
                budget.take(16)
                entered.withLock { $0 += 1 }
                budget.giveBack(16)
                ended.signal()
            }.start()
        }
        usleep(50_000)
        #expect(entered.withLock { $0 } == 0)
        budget.giveBack(10)
        usleep(50_000)
        #expect(entered.withLock { $0 } == 0)
        budget.giveBack(6)
        for _ in 0..<3 { ended.wait() }
        #expect(entered.withLock { $0 } == 3)
        // More than the budget: decoded alone.
        budget.take(100)
        budget.giveBack(100)
    }
}
