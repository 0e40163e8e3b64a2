internal import Dispatch
internal import Foundation
internal import LinuxKernel
internal import Synchronization

/// Ends a piece of work in good order on SIGINT and SIGTERM: it is cancelled, tidies up, and then the process exits as
/// a shell reports a signal's death. A second signal, or too long a tidying, ends it at once; what is then left behind
/// is swept by the next pull.
final class Interruption: Sendable {
    private let received = Mutex<Int32?>(nil)
    private static let patience = 5.0

    /// Runs the work; does not return where a signal came.
    static func guarding<Value: Sendable>(_ work: @escaping @Sendable () async -> Value) async -> Value {
        let interruption = Interruption()
        let signals = [SIGINT, SIGTERM]
        // The work begins when both are watched for: what it leaves before that, nobody would tidy.
        let (watched, watching) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            var left = signals.count
            for await _ in watched {
                left -= 1
                if left == 0 { break }
            }
            return await work()
        }
        var sources: [any DispatchSourceSignal] = []
        for number in signals {
            // The default action would be taken besides the source's.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { interruption.receive(number) { task.cancel() } }
            source.setRegistrationHandler { watching.yield() }
            source.resume()
            sources.append(source)
        }
        let value = await task.value
        let number = interruption.received.withLock { $0 }
        for source in sources { source.cancel() }
        if let number { Processes.exit(128 + number) }
        for number in signals { signal(number, SIG_DFL) }
        return value
    }

    private func receive(_ number: Int32, cancel: () -> Void) {
        let isFirst = received.withLock { received in
            defer { received = received ?? number }
            return received == nil
        }
        guard isFirst else { Processes.exit(128 + number) }
        cancel()
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.patience) { Processes.exit(128 + number) }
    }
}
