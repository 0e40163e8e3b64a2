internal import CLinux

package enum Clock {
    /// The corresponding call is `clock_gettime(2)` with `CLOCK_REALTIME`.
    package static var now: Timestamp { read(CLOCK_REALTIME) }

    /// Nanoseconds since some fixed point, never going back: `CLOCK_MONOTONIC`.
    package static var monotonicNanoseconds: UInt64 {
        let time = read(CLOCK_MONOTONIC)
        return UInt64(time.seconds) * 1_000_000_000 + UInt64(time.nanoseconds)
    }

    /// What `OtherProcess.startTicks` counts, in hundredths of a second: `CLOCK_BOOTTIME`.
    package static var ticksSinceBoot: UInt64 {
        let time = read(CLOCK_BOOTTIME)
        return UInt64(time.seconds) * 100 + UInt64(time.nanoseconds) / 10_000_000
    }

    /// The corresponding call is `nanosleep(2)`; a signal may end it early.
    package static func sleep(milliseconds: Int) {
        var time = timespec()
        time.tv_sec = milliseconds / 1000
        time.tv_nsec = milliseconds % 1000 * 1_000_000
        nanosleep(&time, nil)
    }

    private static func read(_ clock: clockid_t) -> Timestamp {
        var value = timespec()
        // Fails only for a clock that does not exist.
        clock_gettime(clock, &value)
        return Timestamp(seconds: Int64(value.tv_sec), nanoseconds: Int32(value.tv_nsec))
    }
}
