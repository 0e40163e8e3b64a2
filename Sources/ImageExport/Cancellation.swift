internal import Layers
internal import LinuxKernel
internal import Synchronization

/// Tells threads that block that nobody waits for their work any more.
final class Cancellation: Sendable {
    private let isCancelled = Atomic<Bool>(false)

    func cancel() { isCancelled.store(true, ordering: .relaxed) }

    func check() throws(ExportError) {
        if isCancelled.load(ordering: .relaxed) { throw .cancelled }
    }
}

/// Runs what may block on a thread of its own; a cancelled task cancels it and waits for its end, so that what it had
/// open can be removed.
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
