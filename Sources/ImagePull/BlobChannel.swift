internal import Distribution
internal import Layers
internal import Synchronization

/// Carries a blob from the network's tasks, which must not block, to a layer's thread, which may: a queue of a few
/// MiB between an asynchronous writer and a blocking reader.
final class BlobChannel: ByteSource, Sendable {
    /// For all layers at once 8 MiB at most: what a pull holds in memory does not grow with the number of processors.
    private static let capacity = ImagePuller.width > 4 ? 512 << 10 : (8 << 20) / ImagePuller.width

    private struct State {
        var chunks: [[UInt8]] = []
        /// Where the next chunk to be read is, and how far into it the reader has come.
        var head = 0
        var offset = 0
        var bytes = 0
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
        let running = Task { [weak self] in
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

    deinit { task.withLock { $0?.cancel() } }

    /// `false` once nobody reads any more.
    private func write(_ chunk: [UInt8]) async -> Bool {
        while true {
            enum Outcome { case written, full, gone }
            let outcome = state.withLock { state -> Outcome in
                if state.isCancelled { return .gone }
                if state.bytes >= Self.capacity { return .full }
                state.chunks.append(chunk)
                state.bytes += chunk.count
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
                        if state.bytes < Self.capacity || state.isCancelled { return true }
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

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(LayerError) -> Int {
        while true {
            enum Outcome {
                case bytes(Int, CheckedContinuation<Void, Never>?)
                case end
                case failed(RegistryError)
                case cancelled
                case empty
            }
            let outcome = state.withLock { state -> Outcome in
                if state.isCancelled { return .cancelled }
                guard state.head < state.chunks.count else {
                    if let failure = state.failure { return .failed(failure) }
                    return state.isFinished ? .end : .empty
                }
                var filled = 0
                while filled < buffer.count, state.head < state.chunks.count {
                    let available = state.chunks[state.head].count - state.offset
                    let count = min(available, buffer.count - filled)
                    state.chunks[state.head].withUnsafeBytes { chunk in
                        let part = UnsafeRawBufferPointer(rebasing: chunk[state.offset..<state.offset + count])
                        UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]).copyMemory(from: part)
                    }
                    filled += count
                    state.offset += count
                    if state.offset == state.chunks[state.head].count {
                        state.chunks[state.head] = []
                        state.head += 1
                        state.offset = 0
                    }
                }
                state.bytes -= filled
                if state.head == state.chunks.count {
                    state.chunks.removeAll(keepingCapacity: true)
                    state.head = 0
                }
                defer { if state.bytes < Self.capacity { state.writer = nil } }
                return .bytes(filled, state.bytes < Self.capacity ? state.writer : nil)
            }
            switch outcome {
            case .bytes(let count, let writer):
                writer?.resume()
                return count
            case .end: return 0
            case .failed(let error): throw LayerError(.source(LayerError.SourceFailure(error)))
            case .cancelled: throw LayerError(.cancelled)
            case .empty: readable.wait()
            }
        }
    }
}
