internal import Distribution
internal import Layers
internal import Synchronization

/// Carries a blob from the network's tasks, which must not block, to a layer's thread, which may: a queue of a few
/// MiB between an asynchronous writer and a blocking reader, who reads the bytes where the network put them.
final class BlobChannel: ChunkSource, Sendable {
    /// For all blobs at once 8 MiB at most.
    private static var capacity: Int {
        let count = open.load(ordering: .relaxed)
        return count > 4 ? 512 << 10 : (8 << 20) / max(2, count)
    }

    /// The channels there are.
    private static let open = Atomic(0)

    private struct State {
        var chunks: [BlobChunk] = []
        /// The reader has it.
        var lent: BlobChunk?
        /// What all chunks take in memory that anybody has still.
        var footprint = 0
        var isFinished = false
        var failure: RegistryError?
        var isCancelled = false
        /// The writer, waiting for room.
        var writer: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let readable = Semaphore()
    private let task = Mutex<Task<Void, Never>?>(nil)

    /// Whether what comes out at the end is known to be what the digest says.
    let isVerified: Bool

    init(_ stream: BlobStream) {
        isVerified = stream.verifiesDigest
        Self.open.add(1, ordering: .relaxed)
        let running = Task(executorPreference: ConnectionExecutor()) { [weak self] in
            do throws(RegistryError) {
                var iterator = stream.makeAsyncIterator()
                while let chunk = try await iterator.next() {
                    guard let self, await self.write(chunk) else { return }
                }
                self?.finish(nil)
            } catch {
                self?.finish(error)
            }
        }
        task.withLock { $0 = running }
    }

    deinit {
        Self.open.subtract(1, ordering: .relaxed)
        task.withLock { $0?.cancel() }
    }

    /// `false` once nobody reads any more.
    private func write(_ chunk: BlobChunk) async -> Bool {
        let footprint = chunk.footprint
        chunk.whenGone = { [weak self] in self?.forget(footprint) }
        while true {
            enum Outcome { case written, full, gone }
            let outcome = state.withLock { state -> Outcome in
                if state.isCancelled { return .gone }
                if state.footprint >= Self.capacity { return .full }
                state.chunks.append(chunk)
                state.footprint += footprint
                return .written
            }
            switch outcome {
            case .written:
                readable.signal()
                return true
            case .gone: return false
            case .full:
                await withCheckedContinuation { continuation in
                    let resumeNow = state.withLock { state -> Bool in
                        if state.footprint <= Self.capacity / 2 || state.isCancelled { return true }
                        state.writer = continuation
                        return false
                    }
                    if resumeNow { continuation.resume() }
                }
            }
        }
    }

    private func finish(_ error: RegistryError?) {
        state.withLock {
            $0.isFinished = true
            $0.failure = error
        }
        readable.signal()
    }

    /// Makes a reader that waits fail, and the writer stop.
    func cancel() {
        let writer = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.isCancelled = true
            defer { state.writer = nil }
            return state.writer
        }
        writer?.resume()
        task.withLock { $0?.cancel() }
        readable.signal()
    }

    /// A chunk is gone; a writer that waits is woken for half of the room at once, and not for each.
    private func forget(_ footprint: Int) {
        let writer = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.footprint -= footprint
            guard state.footprint <= Self.capacity / 2 else { return nil }
            defer { state.writer = nil }
            return state.writer
        }
        writer?.resume()
    }

    func next() throws(LayerError) -> UnsafeRawBufferPointer {
        // With the last who has it `forget` is called, which wants the lock.
        let last = state.withLock { state in state.lent.take() }
        withExtendedLifetime(last) {}
        while true {
            enum Outcome {
                case chunk(BlobChunk)
                case end
                case failed(RegistryError)
                case cancelled
                case empty
            }
            let outcome = state.withLock { state -> Outcome in
                if state.isCancelled { return .cancelled }
                if state.chunks.isEmpty {
                    if let failure = state.failure { return .failed(failure) }
                    return state.isFinished ? .end : .empty
                }
                let chunk = state.chunks.removeFirst()
                state.lent = chunk
                return .chunk(chunk)
            }
            switch outcome {
            case .chunk(let chunk): return chunk.bytes
            case .end: return UnsafeRawBufferPointer(start: nil, count: 0)
            case .failed(let error): throw LayerError(.source(LayerError.SourceFailure(error)))
            case .cancelled: throw LayerError(.cancelled)
            case .empty: readable.wait()
            }
        }
    }
}
