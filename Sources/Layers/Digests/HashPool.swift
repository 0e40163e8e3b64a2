internal import Hashing
package import ImageSpec
package import LinuxKernel

/// Threads that compute the digests of byte streams: of blobs as they arrive, and of layers as they are decompressed.
package final class HashPool: @unchecked Sendable {
    fileprivate let monitor: Monitor
    fileprivate let work: Monitor.Condition
    private var threads: [JoinedThread] = []
    // Guarded by the monitor.
    private var streams: [DigestStream] = []
    private var isDismissed = false

    /// - Parameter layers: The number of layers unpacked at once. Each has two streams: the blob and its decompressed
    ///   content.
    /// - Throws: The error of `pthread_create(3)` if no thread starts. With fewer threads, the pool is only slower.
    package init(layers: Int = 1) throws(SystemError) {
        monitor = Monitor()
        work = Monitor.Condition(of: monitor)
        for _ in 0..<2 * layers {
            do throws(SystemError) {
                // A lower priority, because decompression determines when a layer is done.
                threads.append(JoinedThread(try WorkerThread(niceness: WorkerThread.lowPriority) { [self] in serve() }))
            } catch {
                if threads.isEmpty { throw error }
            }
        }
    }

    /// Stops the threads and abandons unfinished streams.
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
            // Hash the stream with the most waiting bytes, because its producer runs out of buffers first.
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
    /// Used by one thread at a time, which has set `isHashing`.
    private var running: RunningDigest
    // Guarded by the pool's monitor.
    private var pieces: [Piece] = []
    /// The number of bytes that wait to be hashed.
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

    /// Calls `finished` with the digest of all bytes, on any thread. No bytes may be appended afterwards.
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

    /// Drops the waiting bytes. A pending `finish` gets the digest of the bytes hashed so far.
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

    /// Called without the monitor.
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

    /// Callbacks to call after the monitor is unlocked.
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
