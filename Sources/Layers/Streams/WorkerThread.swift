internal import CLinux
package import LinuxKernel

/// A thread that blocks as it likes, joined by whoever started it; Swift's own pool must not be blocked.
package struct WorkerThread: ~Copyable {
    private let thread: pthread_t

    /// How much lower than others' the priority is of a thread that need not be in time (`nice(2)`).
    package static let givesWay: CInt = 5

    /// The corresponding calls are `pthread_create(3)` and, for a niceness beside the caller's own, `nice(2)`, which in Linux is a
    /// thread's own affair.
    package init(niceness: CInt = 0, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let box = Unmanaged.passRetained(
            Body {
                if niceness != 0 { _ = nice(niceness) }  // as fast as anybody, where that should be refused
                body()
            })
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, box.toOpaque())
        guard code == 0 else {
            box.release()
            throw SystemError(call: "pthread_create", errno: code, subject: "layer thread")
        }
        self.thread = thread
    }

    package consuming func join() { pthread_join(thread, nil) }

    /// Lets it run on by itself: somebody else hears of its end.
    package consuming func detach() { pthread_detach(thread) }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}

/// A thread for where what can not be copied can not be kept.
final class JoinedThread {
    private var thread: WorkerThread?

    init(_ thread: consuming WorkerThread) { self.thread = consume thread }

    func join() { thread.take()?.join() }
}
