package import ImageSpec
package import LinuxKernel

/// Threads that find the digests of streams of bytes, wherever there is something of one; two at a time where that is faster.
package final class DigestCrew: @unchecked Sendable {
    fileprivate let monitor: Monitor
    fileprivate let work: Monitor.Condition
    private let inPairs: Bool
    private var members: [JoinedThread] = []
    // All below under the monitor.
    private var streams: [DigestStream] = []
    private var isDismissed = false

    /// - Parameters:
    ///   - layers: How many are unpacked at once: of each there are two streams, its blob and what that inflates to.
    ///   - inPairs: Whether two at a time are faster.
    package init(layers: Int = 1, inPairs: Bool = PairedSHA256.isSupported) throws(SystemError) {
        self.inPairs = inPairs
        monitor = Monitor()
        work = Monitor.Condition(of: monitor)
        // By twos one thread keeps up with four streams.
        let count = inPairs ? (layers + 1) / 2 : 2 * layers
        for _ in 0..<count {
            do throws(SystemError) {
                // They give way: whoever inflates is who is waited for in the end.
                members.append(JoinedThread(try WorkerThread(niceness: WorkerThread.givesWay) { [self] in serve() }))
            } catch {
                // Fewer hands do the same.
                if members.isEmpty { throw error }
            }
        }
    }

    /// Ends the threads. Whatever was not finished comes to nothing.
    package func dismiss() {
        monitor.lock()
        isDismissed = true
        monitor.unlock()
        work.tellAll()
        for member in members { member.join() }
        members = []
        for stream in streams { stream.abandon() }
    }

    /// - Parameter enough: With how many bytes a stream does not wait for another to go together with. Whoever adds them must be
    ///   able to add as many while nothing is given back.
    package func stream(_ algorithm: Digest.Algorithm, enough: Int = 0) -> DigestStream {
        let stream = DigestStream(self, ContentHasher(algorithm, inPairs: inPairs), enough)
        monitor.lock()
        streams.append(stream)
        monitor.unlock()
        return stream
    }

    fileprivate func remove(_ stream: DigestStream) { streams.removeAll { $0 === stream } }

    private func serve() {
        monitor.lock()
        while !isDismissed {
            guard let (one, two) = choose() else {
                work.wait()
                continue
            }
            let (first, second) = (one.begin(), two?.begin())
            monitor.unlock()
            let used = DigestStream.hash(one, first, two, second)
            monitor.lock()
            let news = (one.end(used.first), two?.end(used.second))
            monitor.unlock()
            news.0.tell()
            news.1?.tell()
            monitor.lock()
        }
        monitor.unlock()
    }

    /// What is to be done next: two streams, those first of which there is most, or one that may go alone.
    private func choose() -> (DigestStream, DigestStream?)? {
        let ready = streams.filter(\.isReady).sorted { $0.bytes > $1.bytes }
        if let first = ready.first, first.goesInPairs, let second = ready.dropFirst().first(where: \.goesInPairs) {
            return (first, second)
        }
        return ready.first(where: \.mayGoAlone).map { ($0, nil) }
    }
}

/// A stream of bytes whose digest a crew finds.
package final class DigestStream: @unchecked Sendable {
    private let crew: DigestCrew
    private let enough: Int
    fileprivate let goesInPairs: Bool
    /// Whoever has begun has it for himself.
    private var hasher: ContentHasher
    // All below under the crew's monitor.
    private var pieces: [Piece] = []
    fileprivate private(set) var bytes = 0
    private var isAtWork = false
    private var finished: (@Sendable (Digest) -> Void)?

    private struct Piece {
        var bytes: UnsafeRawBufferPointer
        let done: @Sendable () -> Void
    }

    fileprivate init(_ crew: DigestCrew, _ hasher: ContentHasher, _ enough: Int) {
        self.crew = crew
        self.hasher = hasher
        self.enough = enough
        goesInPairs = hasher.goesInPairs
    }

    /// Adds bytes, which stay as they are until `done` is called, or let go.
    package func append(_ bytes: UnsafeRawBufferPointer, _ done: @escaping @Sendable () -> Void) {
        if bytes.isEmpty { return done() }
        crew.monitor.lock()
        pieces.append(Piece(bytes: bytes, done: done))
        self.bytes += bytes.count
        crew.monitor.unlock()
        crew.work.tellOne()
    }

    /// Tells the digest of all that was added, by whatever thread; nothing may be added afterwards.
    package func finish(_ finished: @escaping @Sendable (Digest) -> Void) {
        crew.monitor.lock()
        self.finished = finished
        let news = news()
        crew.monitor.unlock()
        crew.work.tellOne()
        news.tell()
    }

    /// The digest of all that was added, which is waited for.
    package func finish() -> Digest {
        let told = Semaphore()
        nonisolated(unsafe) var digest: Digest?  // written before the signal, read after it
        finish {
            digest = $0
            told.signal()
        }
        told.wait()
        guard let digest else { preconditionFailure("told without having been written") }
        return digest
    }

    /// Nobody wants to know any more; whoever waits is told of what there is.
    package func abandon() {
        crew.monitor.lock()
        let left = isAtWork ? pieces[1...] : pieces[...]
        pieces.removeLast(left.count)
        let news = news()
        crew.remove(self)
        crew.monitor.unlock()
        news.tell()
        withExtendedLifetime(left) {}  // what they keep goes here, not under the monitor
    }

    // MARK: For the crew, under its monitor

    fileprivate var isReady: Bool { !isAtWork && !pieces.isEmpty }
    fileprivate var mayGoAlone: Bool { bytes >= enough || finished != nil || !goesInPairs }

    fileprivate func begin() -> UnsafeRawBufferPointer {
        isAtWork = true
        return pieces[0].bytes
    }

    fileprivate func end(_ used: Int) -> News {
        isAtWork = false
        bytes -= used
        pieces[0].bytes = UnsafeRawBufferPointer(rebasing: pieces[0].bytes[used...])
        let done = pieces[0].bytes.isEmpty ? pieces.removeFirst().done : nil
        var news = news()
        news.done = done
        return news
    }

    private func news() -> News {
        guard pieces.isEmpty, !isAtWork, let finished else { return News() }
        self.finished = nil
        crew.remove(self)
        return News { [self] in finished(hasher.finish()) }
    }

    /// What is to be told once the monitor is unlocked.
    fileprivate struct News {
        var done: (@Sendable () -> Void)?
        var finished: (@Sendable () -> Void)?

        init(_ finished: (@Sendable () -> Void)? = nil) { self.finished = finished }

        func tell() {
            done?()
            finished?()
        }
    }

    // MARK: For the crew, between `begin` and `end`

    /// Takes one or both further, as far as the piece of one of them goes; tells how far.
    fileprivate static func hash(
        _ one: DigestStream, _ first: UnsafeRawBufferPointer, _ two: DigestStream?, _ second: UnsafeRawBufferPointer?
    ) -> (first: Int, second: Int) {
        guard let two, let second, let hashers = one.hasher.pair(with: two.hasher) else {
            one.hasher.update(first)
            return (first.count, 0)
        }
        var rests = (first, second)
        while !rests.0.isEmpty, !rests.1.isEmpty {
            let used = PairedSHA256.update(hashers.0, rests.0, hashers.1, rests.1)
            rests.0 = UnsafeRawBufferPointer(rebasing: rests.0[used.first...])
            rests.1 = UnsafeRawBufferPointer(rebasing: rests.1[used.second...])
        }
        return (first.count - rests.0.count, second.count - rests.1.count)
    }
}
