internal import CLinux
package import LinuxKernel

/// A thread that may block, unlike threads of Swift's pool. Its creator joins it.
package struct WorkerThread: ~Copyable {
    private let thread: pthread_t

    /// The niceness of a thread that must not delay others: `nice(2)`.
    package static let lowPriority: CInt = 5

    /// The corresponding calls are `pthread_create(3)` and, for a niceness other than 0, `nice(2)`, which on Linux
    /// applies to the calling thread only.
    package init(niceness: CInt = 0, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let box = Unmanaged.passRetained(
            Body {
                if niceness != 0 { _ = nice(niceness) }  // denied: normal priority
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

    /// Set while a thread creates another one.
    private static let making: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key, nil)
        return key
    }()

    /// Whether the calling thread is within `init`, which throws its errors.
    package static var isBeingMade: Bool { pthread_getspecific(making) != nil }

    /// Checks that `count` threads can run at the same time, then ends them.
    package static func checkAvailability(_ count: Int) throws(SystemError) {
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

    /// Lets the thread continue without being joined.
    package consuming func detach() { pthread_detach(thread) }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}

/// Wraps a thread for collections, which cannot contain a noncopyable value.
final class JoinedThread {
    private var thread: WorkerThread?

    init(_ thread: consuming WorkerThread) { self.thread = consume thread }

    func join() { thread.take()?.join() }
}
