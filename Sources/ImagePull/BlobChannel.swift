internal import Distribution
internal import Layers
internal import Synchronization

/// Passes a blob from network tasks, which must not block, to a layer's thread, which may: a queue of a few MiB between
/// an asynchronous writer and a blocking reader. The reader uses the bytes in the network's buffers.
final class BlobChannel: ChunkSource, Sendable {
    /// At most 8 MiB for all blobs together.
    private static var capacity: Int {
        let count = open.load(ordering: .relaxed)
        return count > 4 ? 512 << 10 : (8 << 20) / max(2, count)
    }

    /// The number of open channels.
    private static let open = Atomic(0)

    private struct State {
        var chunks: [BlobChunk] = []
        /// The chunk that the reader uses.
        var lent: BlobChunk?
        /// The memory of all chunks that are still in use.
        var footprint = 0
        var isFinished = false
        var failure: RegistryError?
        var isCancelled = false
        /// The writer, if it waits for space.
        var writer: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let readable = Semaphore()
    private let task = Mutex<Task<Void, Never>?>(nil)

    /// Whether the channel verifies the digest at the end.
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

    /// Returns `false` after the reader has stopped.
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

    /// Makes a waiting reader fail and the writer stop.
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

    /// Called when a chunk is released. Wakes a waiting writer when half of the space is free, rather than for each
    /// chunk.
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
        // Releasing the last reference calls `forget`, which needs the lock.
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
