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
        pthread_setspecific(Self.making, UnsafeRawPointer(bitPattern: 1))
        defer { pthread_setspecific(Self.making, nil) }
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

    /// Set in a thread while it makes another.
    private static let making: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()

    /// Whether the calling thread is within `init`, which throws what goes wrong.
    package static var isBeingMade: Bool { pthread_getspecific(making) != nil }

    /// Makes so many threads that are there at once, and ends them.
    package static func tryOut(_ count: Int) throws(SystemError) {
        let gate = Monitor()
        var made: [JoinedThread] = []
        gate.lock()
        defer {
            gate.unlock()
            for thread in made { thread.join() }
        }
        for _ in 0..<count {
            made.append(
                JoinedThread(
                    try WorkerThread {
                        gate.lock()
                        gate.unlock()
                    }))
        }
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
