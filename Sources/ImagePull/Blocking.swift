internal import Layers
internal import LinuxKernel
internal import Store

/// Runs what may block on a thread of its own and waits for it without blocking Swift's pool, whose few threads carry
/// the network too.
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
