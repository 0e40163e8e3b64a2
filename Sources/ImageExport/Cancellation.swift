internal import Layers
internal import LinuxKernel
internal import Synchronization

/// Tells blocking threads that their work was cancelled.
final class Cancellation: Sendable {
    private let isCancelled = Atomic<Bool>(false)

    func cancel() { isCancelled.store(true, ordering: .relaxed) }

    func check() throws(ExportError) {
        if isCancelled.load(ordering: .relaxed) { throw .cancelled }
    }
}

/// Runs blocking work on a separate thread. A cancelled task cancels the work and waits for it, so that its files can
/// be removed.
func blocking<Value: Sendable>(
    _ body: @escaping @Sendable (Cancellation) throws(ExportError) -> Value
) async throws(ExportError) -> Value {
    let cancellation = Cancellation()
    let outcome: Result<Value, ExportError> = await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
            do throws(SystemError) {
                let thread = try WorkerThread {
                    do throws(ExportError) {
                        continuation.resume(returning: .success(try body(cancellation)))
                    } catch {
                        continuation.resume(returning: .failure(error))
                    }
                }
                thread.detach()
            } catch {
                continuation.resume(returning: .failure(.system(error)))
            }
        }
    } onCancel: {
        cancellation.cancel()
    }
    return try outcome.get()
}
