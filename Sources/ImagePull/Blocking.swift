internal import Layers
internal import LinuxKernel
internal import Store

/// Runs blocking work on a separate thread and awaits it, because Swift's pool has few threads, which also serve the
/// network.
func blocking<Value: Sendable>(
    _ body: @escaping @Sendable () throws(PullError) -> Value
) async throws(PullError) -> Value {
    let outcome: Result<Value, PullError> = await withCheckedContinuation { continuation in
        do throws(SystemError) {
            let thread = try WorkerThread {
                do throws(PullError) { continuation.resume(returning: .success(try body())) } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
            thread.detach()
        } catch {
            continuation.resume(returning: .failure(.store(.system(error))))
        }
    }
    return try outcome.get()
}
