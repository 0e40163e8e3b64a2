internal import Glibc

/// When to retry, and after which delay.
package struct RetryPolicy: Sendable, Equatable {
    /// The maximum number of consecutive attempts without progress, including the first one.
    package var attempts = 6
    package var firstDelay = Duration.milliseconds(500)
    package var maximumDelay = Duration.seconds(20)
    /// If a registry requests a longer delay than this, the pull fails and reports it.
    package var longestRetryAfter = Duration.seconds(90)
    /// How long to retry with a host that has answered before, whatever the number of attempts: the time of a restart.
    package var persistence = Duration.seconds(60)

    package init() {}

    /// 408 and most 5xx statuses are transient; 501 and 505 are permanent.
    static func isTransient(_ status: Int) -> Bool {
        [408, 425, 429, 500, 502, 503, 504].contains(status)
    }

    /// The delay before attempt number `attempt` (the second is 1), with full jitter, because all nodes of a cluster
    /// may fail at once.
    func delay(before attempt: Int) -> Duration {
        let ceiling = min(maximumDelay, firstDelay * (1 << min(attempt - 1, 16)))
        return ceiling * Double.random(in: 0.25...1)
    }

    /// Parses `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3). `date` is the server's clock, if
    /// known.
    static func retryAfter(_ value: String?, date: String?) -> Duration? {
        guard let value else { return nil }
        if let seconds = UInt32(value) { return .seconds(Int64(seconds)) }
        guard let until = secondsSinceEpoch(value) else { return nil }
        let now = date.flatMap(secondsSinceEpoch) ?? Int64(time(nil))
        return .seconds(max(0, until - now))
    }

    /// Parses the date format that servers must send, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
    static func secondsSinceEpoch(_ date: String) -> Int64? {
        let parts = date.split(separator: " ")
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard parts.count == 6, parts[5] == "GMT", let day = Int32(parts[1]), let year = Int32(parts[3]),
            let month = months.firstIndex(of: String(parts[2]))
        else { return nil }
        let clock = parts[4].split(separator: ":").compactMap { Int32($0) }
        guard clock.count == 3, 1970...9999 ~= year, 1...31 ~= day else { return nil }
        var fields = tm()
        fields.tm_year = year - 1900
        fields.tm_mon = Int32(month)
        fields.tm_mday = day
        (fields.tm_hour, fields.tm_min, fields.tm_sec) = (clock[0], clock[1], clock[2])
        return Int64(timegm(&fields))
    }
}

/// Counts the attempts of one operation.
struct Attempts {
    private let policy: RetryPolicy
    /// The current attempt, from 1.
    private(set) var number = 1
    private var firstFailure: ContinuousClock.Instant?

    init(_ policy: RetryPolicy) { self.policy = policy }

    /// The pause before the next attempt; `nil` if there were enough.
    ///
    /// - Parameters:
    ///   - error: The error of the attempt; `nil` for a transient status.
    ///   - heard: Whether the host has answered before.
    mutating func next(after error: RegistryError?, heard: Bool) -> Duration? {
        let now = ContinuousClock.now
        let since = firstFailure ?? now
        firstFailure = since
        var most = policy.attempts
        switch error?.reason {
        // If no process listens, a typing error is more likely than a restart, unless the host has answered before.
        case .unreachable(.refused)? where !heard: most = min(most, 3)
        case .unreachable(.nameNotFound)?: most = heard ? most : 1
        default: if error?.isTransient == false { return nil }
        }
        guard number < most || heard && now - since < policy.persistence else { return nil }
        let delay = policy.delay(before: number)
        number += 1
        return delay
    }
}
