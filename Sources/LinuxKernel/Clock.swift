internal import CLinux

package enum Clock {
    /// The corresponding call is `clock_gettime(2)` with `CLOCK_REALTIME`.
    package static var now: Timestamp { read(CLOCK_REALTIME) }

    /// Formats a time in UTC as in RFC 3339: `2026-11-30T19:48:08Z`. The corresponding call is `gmtime_r(3)`.
    package static func text(_ seconds: Int64) -> String {
        var (moment, fields) = (time_t(seconds), tm())
        gmtime_r(&moment, &fields)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date = "\(fields.tm_year + 1900)-" + two(fields.tm_mon + 1) + "-" + two(fields.tm_mday)
        return date + "T" + two(fields.tm_hour) + ":" + two(fields.tm_min) + ":" + two(fields.tm_sec) + "Z"
    }

    /// Nanoseconds since an arbitrary point; never decreases: `CLOCK_MONOTONIC`.
    package static var monotonicNanoseconds: UInt64 {
        let time = read(CLOCK_MONOTONIC)
        return UInt64(time.seconds) * 1_000_000_000 + UInt64(time.nanoseconds)
    }

    /// The clock of `OtherProcess.startTicks`, in hundredths of a second: `CLOCK_BOOTTIME`.
    package static var ticksSinceBoot: UInt64 {
        let time = read(CLOCK_BOOTTIME)
        return UInt64(time.seconds) * 100 + UInt64(time.nanoseconds) / 10_000_000
    }

    /// The corresponding call is `nanosleep(2)`. A signal may end it early.
    package static func sleep(milliseconds: Int) {
        var time = timespec()
        time.tv_sec = milliseconds / 1000
        time.tv_nsec = milliseconds % 1000 * 1_000_000
        nanosleep(&time, nil)
    }

    private static func read(_ clock: clockid_t) -> Timestamp {
        var value = timespec()
        // Fails only for an unknown clock.
        clock_gettime(clock, &value)
        return Timestamp(seconds: Int64(value.tv_sec), nanoseconds: Int32(value.tv_nsec))
    }
}
