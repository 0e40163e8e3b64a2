internal import Dispatch
internal import Glibc
internal import LinuxKernel
internal import Synchronization

/// Ends a piece of work in good order on SIGINT, SIGTERM and SIGHUP: it is cancelled, tidies up, and then the process
/// exits as a shell reports a signal's death. A second signal, or too long a tidying, ends it at once; what is then left
/// behind is swept by the next pull.
final class Interruption: Sendable {
    private struct Signal {
        let number: Int32
        let time: ContinuousClock.Instant
    }

    private let received = Mutex<Signal?>(nil)
    private static let patience = 5.0
    /// Signals this close to the first are the same wish: a terminal or scheduler signals the whole group, so that the
    /// launcher dies, and its death sends one more.
    private static let sameWish = Duration.milliseconds(500)

    /// Runs the work; does not return where a signal came.
    static func guarding<Value: Sendable>(_ work: @escaping @Sendable () async -> Value) async -> Value {
        let interruption = Interruption()
        // What was ignored stays so: a shell's job in the background, nohup(1).
        let signals = [SIGINT, SIGTERM, SIGHUP].filter { number in
            var action = sigaction()
            sigaction(number, nil, &action)
            return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) != 1  // SIG_IGN
        }
        // The work begins when both are watched for: what it leaves before that, nobody would tidy.
        let (watched, watching) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            var left = signals.count
            var watching = watched.makeAsyncIterator()
            while left > 0 {
                await watching.next()
                left -= 1
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
        let number = interruption.received.withLock { $0?.number }
        for source in sources { source.cancel() }
        if let number { Processes.exit(128 + number) }
        for number in signals { signal(number, SIG_DFL) }
        return value
    }

    private func receive(_ number: Int32, cancel: () -> Void) {
        let now = ContinuousClock.now
        let first = received.withLock { received in
            defer { received = received ?? Signal(number: number, time: now) }
            return received
        }
        if let first {
            if now - first.time >= Self.sameWish { Processes.exit(128 + number) }
            return
        }
        cancel()
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.patience) { Processes.exit(128 + number) }
    }
}
