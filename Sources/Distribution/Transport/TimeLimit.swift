internal import Synchronization

/// Runs work with a time limit that includes redirects, retries and pauses.
///
/// A timeout for silence does not suffice, because a server may send a byte now and then.
///
/// - Parameter work: Records failures after which it continues in its argument. At the limit, the last one is the
///   error.
func withinLimit<Value: Sendable>(
    _ limit: Duration, host: String, subject: String,
    _ work: @escaping @Sendable (_ note: FailureNote) async throws(RegistryError) -> Value
) async throws(RegistryError) -> Value {
    let note = FailureNote()
    let outcome = await withTaskGroup(of: Result<Value, RegistryError>?.self) {
        group -> Result<Value, RegistryError> in
        group.addTask {
            do throws(RegistryError) { return .success(try await work(note)) } catch { return .failure(error) }
        }
        group.addTask {
            try? await Task.sleep(for: limit)  // cancelled when the work is done
            return nil
        }
        if let first = await group.next(), let result = first {
            group.cancelAll()
            return result
        }
        let isInterrupted = Task.isCancelled
        group.cancelAll()
        // The work may have finished in the meantime.
        if let last = await group.next(), case .success(let value)? = last { return .success(value) }
        if isInterrupted { return .failure(RegistryError(host: host, subject: subject, reason: .cancelled)) }
        return .failure(note.last ?? RegistryError(host: host, subject: subject, reason: .tooSlow(limit: limit)))
    }
    return try outcome.get()
}

/// The last failure after which the work continued.
final class FailureNote: Sendable {
    private let failure = Mutex<RegistryError?>(nil)

    var last: RegistryError? { failure.withLock { $0 } }

    func set(_ error: RegistryError) { failure.withLock { $0 = error } }
}

/// The value of a task that others also wait for; `nil` if this task is cancelled first.
func valueUnlessCancelled<Value: Sendable>(_ task: Task<Value, Never>) async -> Value? {
    let first = FirstAnswer<Value>()
    return await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
            first.wait(continuation)
            Task { first.answer(await task.value) }
        }
    } onCancel: {
        first.answer(nil)
    }
}

/// The first of several answers.
private final class FirstAnswer<Value: Sendable>: Sendable {
    private enum State {
        case undecided
        case waiting(CheckedContinuation<Value?, Never>)
        case answered(Value?)
    }

    private let state = Mutex(State.undecided)

    func wait(_ continuation: CheckedContinuation<Value?, Never>) {
        let early = state.withLock { state -> Value?? in
            if case .answered(let value) = state { return .some(value) }
            state = .waiting(continuation)
            return nil
        }
        if let early { continuation.resume(returning: early) }
    }

    func answer(_ value: Value?) {
        let continuation = state.withLock { state -> CheckedContinuation<Value?, Never>? in
            switch state {
            case .undecided:
                state = .answered(value)
                return nil
            case .waiting(let continuation):
                state = .answered(value)
                return continuation
            case .answered: return nil
            }
        }
        continuation?.resume(returning: value)
    }
}
