import Foundation
import Synchronization

/// Runs `body` `count` times in parallel, each in its own thread, and throws the first error.
package func concurrently(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
    let failures = Failures()
    let ended = DispatchSemaphore(value: 0)
    for number in 0..<count {
        Thread {
            do { try body(number) } catch { failures.add("\(error)") }
            ended.signal()
        }.start()
    }
    for _ in 0..<count { ended.wait() }
    if let first = failures.all.first { throw TestSupportError("\(failures.all.count) of \(count) failed: \(first)") }
}

private final class Failures: Sendable {
    private let texts = Mutex<[String]>([])
    func add(_ text: String) { texts.withLock { $0.append(text) } }
    var all: [String] { texts.withLock { $0 } }
}

/// Whether a condition becomes true within a minute.
///
/// For locks that were just released: a child that another test starts at that moment shares them until its `execve`.
package func soon(_ holds: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<6000 {
        if try holds() { return true }
        usleep(10_000)
    }
    return try holds()
}
