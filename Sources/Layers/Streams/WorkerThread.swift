internal import CLinux
package import LinuxKernel

/// A thread that blocks as it likes, joined by whoever started it; Swift's own pool must not be blocked.
package struct WorkerThread: ~Copyable {
    private let thread: pthread_t

    /// The corresponding call is `pthread_create(3)`.
    package init(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let box = Unmanaged.passRetained(Body(body))
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
