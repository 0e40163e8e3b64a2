internal import Hashing
package import ImageSpec
package import LinuxKernel

/// Threads that compute the digests of byte streams: of blobs as they arrive, and of layers as they are inflated.
package final class HashPool: @unchecked Sendable {
    fileprivate let monitor: Monitor
    fileprivate let work: Monitor.Condition
    private var threads: [JoinedThread] = []
    // The monitor guards everything below.
    private var streams: [DigestStream] = []
    private var isDismissed = false

    /// - Parameter layers: The number of layers unpacked at once. Each has two streams: its blob, and what that inflates to.
    /// - Throws: `pthread_create(3)`'s error if no thread can be started. With fewer threads than wanted the pool is slower.
    package init(layers: Int = 1) throws(SystemError) {
        monitor = Monitor()
        work = Monitor.Condition(of: monitor)
        for _ in 0..<2 * layers {
            do throws(SystemError) {
                // A lower priority: inflating decides when a layer is done, so hashing must not take its processor.
                threads.append(JoinedThread(try WorkerThread(niceness: WorkerThread.givesWay) { [self] in serve() }))
            } catch {
                if threads.isEmpty { throw error }
            }
        }
    }

    /// Ends the threads and abandons the streams that are not finished.
    package func dismiss() {
        monitor.lock()
        isDismissed = true
        monitor.unlock()
        work.broadcast()
        for thread in threads { thread.join() }
        threads = []
        for stream in streams { stream.abandon() }
    }

    package func stream(_ algorithm: Digest.Algorithm) -> DigestStream {
        let stream = DigestStream(self, algorithm)
        monitor.lock()
        streams.append(stream)
        monitor.unlock()
        return stream
    }

    fileprivate func remove(_ stream: DigestStream) { streams.removeAll { $0 === stream } }

    private func serve() {
        monitor.lock()
        while !isDismissed {
            // The stream with the most bytes waiting: its producer is the first to run out of buffers.
            guard let stream = streams.filter(\.isReady).max(by: { $0.bytes < $1.bytes }) else {
                work.wait()
                continue
            }
            let piece = stream.begin()
            monitor.unlock()
            stream.hash(piece)
            monitor.lock()
            let callbacks = stream.end()
            monitor.unlock()
            callbacks.call()
            monitor.lock()
        }
        monitor.unlock()
    }
}

/// A stream of bytes whose digest a `HashPool` computes.
package final class DigestStream: @unchecked Sendable {
    private let pool: HashPool
    /// Used by one thread at a time: the one that set `isHashing`.
    private var running: RunningDigest
    // The pool's monitor guards everything below.
    private var pieces: [Piece] = []
    /// Bytes that are waiting to be hashed.
    fileprivate private(set) var bytes = 0
    private var isHashing = false
    private var finished: (@Sendable (Digest) -> Void)?

    private struct Piece {
        let bytes: UnsafeRawBufferPointer
        let done: @Sendable () -> Void
    }

    fileprivate init(_ pool: HashPool, _ algorithm: Digest.Algorithm) {
        self.pool = pool
        running = RunningDigest(algorithm)
    }

    /// Adds bytes, which must stay valid and unchanged until `done` is called or released.
    package func append(_ bytes: UnsafeRawBufferPointer, _ done: @escaping @Sendable () -> Void) {
        if bytes.isEmpty { return done() }
        pool.monitor.lock()
        pieces.append(Piece(bytes: bytes, done: done))
        self.bytes += bytes.count
        pool.monitor.unlock()
        pool.work.signal()
    }

    /// Calls `finished` with the digest of all bytes, on any thread; nothing may be appended afterwards.
    package func finish(_ finished: @escaping @Sendable (Digest) -> Void) {
        pool.monitor.lock()
        self.finished = finished
        let callbacks = callbacks()
        pool.monitor.unlock()
        callbacks.call()
    }

    /// Waits for the digest of all bytes.
    package func finish() -> Digest {
        let done = Semaphore()
        nonisolated(unsafe) var digest: Digest?  // written before the signal, read after it
        finish {
            digest = $0
            done.signal()
        }
        done.wait()
        guard let digest else { preconditionFailure("signalled before the digest was written") }
        return digest
    }

    /// Drops the bytes that are waiting. A pending `finish` gets the digest of what was hashed.
    package func abandon() {
        pool.monitor.lock()
        let dropped = isHashing ? pieces[1...] : pieces[...]
        pieces.removeLast(dropped.count)
        let callbacks = callbacks()
        pool.remove(self)
        pool.monitor.unlock()
        callbacks.call()
        withExtendedLifetime(dropped) {}  // releases their owners here, not under the monitor
    }

    // MARK: Called by the pool

    fileprivate var isReady: Bool { !isHashing && !pieces.isEmpty }

    fileprivate func begin() -> UnsafeRawBufferPointer {
        isHashing = true
        return pieces[0].bytes
    }

    /// The one call that is made without the monitor.
    fileprivate func hash(_ piece: UnsafeRawBufferPointer) { running.update(piece) }

    fileprivate func end() -> Callbacks {
        isHashing = false
        let piece = pieces.removeFirst()
        bytes -= piece.bytes.count
        var callbacks = callbacks()
        callbacks.done = piece.done
        return callbacks
    }

    private func callbacks() -> Callbacks {
        guard pieces.isEmpty, !isHashing, let finished else { return Callbacks() }
        self.finished = nil
        pool.remove(self)
        return Callbacks { [self] in finished(running.finish()) }
    }

    /// Calls to make once the monitor is unlocked.
    fileprivate struct Callbacks {
        var done: (@Sendable () -> Void)?
        let finished: (@Sendable () -> Void)?

        init(_ finished: (@Sendable () -> Void)? = nil) { self.finished = finished }

        func call() {
            done?()
            finished?()
        }
    }
}
