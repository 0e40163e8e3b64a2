internal import Diagnostics
internal import LinuxKernel

/// Waits for what another process has: its lock on a name, or the files that it is making.
struct Waiting {
    /// What the other process does, such as "is creating the container x".
    let activity: String
    /// What can be done if it does not end, besides ending it.
    let hint: String
    /// `nil` for a launch without a time limit, which waits for an hour.
    let deadline: UInt64?
    /// In `Clock.monotonicNanoseconds`.
    private let start = Clock.monotonicNanoseconds

    private static let patience: UInt64 = 3_600_000_000_000
    /// Shorter waits are not reported.
    private static let silence: UInt64 = 2_000_000_000

    init(activity: String, hint: String, deadline: UInt64?) {
        (self.activity, self.hint, self.deadline) = (activity, hint, deadline)
    }

    /// Attempts until there is a value. Reports a wait of more than two seconds, and gives up at the deadline.
    func until<Value: ~Copyable>(
        holders: () -> [FileHolder], _ attempt: () throws(Failure) -> Value?
    ) throws(Failure) -> Value {
        let end = deadline ?? start + Self.patience
        var isReported = false
        while true {
            if let value = try attempt() { return value }
            let now = Clock.monotonicNanoseconds
            func others() -> String {
                let holders = holders().map { "process \($0.processID) (\($0.command))" }
                return holders.isEmpty ? "another process" : holders.joined(separator: ", ")
            }
            if now >= end {
                throw .report(
                    Report(
                        "gave up waiting \(deadline == nil ? "after an hour" : "at the end of the start time-out"): "
                            + "\(others()) \(activity)",
                        hint: "end that process if it hangs" + (hint.isEmpty ? "" : "; " + hint)))
            }
            if !isReported, now - start > Self.silence {
                isReported = true
                Terminal.note("waiting: \(others()) \(activity)")
            }
            Processes.sleep(milliseconds: 20)
        }
    }
}
