internal import CLinux

/// A resource limit of getrlimit(2), by its name in ulimit and in Docker's `--ulimit`.
package enum ResourceLimit: String, CaseIterable, Sendable {
    case addressSpace = "as"
    case core, cpu, data
    case fileSize = "fsize"
    case locks
    case lockedMemory = "memlock"
    case messageQueues = "msgqueue"
    case nice
    case openFiles = "nofile"
    case processes = "nproc"
    case residentSet = "rss"
    case realtimePriority = "rtprio"
    case realtimeTime = "rttime"
    case pendingSignals = "sigpending"
    case stack

    /// `RLIMIT_*` of Linux on all architectures that Berth supports.
    package var number: Int32 {
        switch self {
        case .cpu: 0
        case .fileSize: 1
        case .data: 2
        case .stack: 3
        case .core: 4
        case .residentSet: 5
        case .processes: 6
        case .openFiles: 7
        case .lockedMemory: 8
        case .addressSpace: 9
        case .locks: 10
        case .pendingSignals: 11
        case .messageQueues: 12
        case .nice: 13
        case .realtimePriority: 14
        case .realtimeTime: 15
        }
    }
}

/// A soft and a hard value in the limit's unit (bytes, files, seconds). `unlimited` is `RLIM_INFINITY`.
package struct LimitValues: Equatable, Sendable {
    package static let unlimited = UInt64.max
    package var soft: UInt64
    package var hard: UInt64
    package init(soft: UInt64, hard: UInt64) {
        self.soft = soft
        self.hard = hard
    }
}

extension ResourceLimit {
    /// The corresponding call is `getrlimit(2)`.
    package func current() throws(SystemError) -> LimitValues {
        var soft: UInt64 = 0
        var hard: UInt64 = 0
        try checked("getrlimit", rawValue) { berth_getrlimit(number, &soft, &hard) }
        return LimitValues(soft: soft, hard: hard)
    }

    /// The corresponding call is `setrlimit(2)`. Raising the hard value needs `CAP_SYS_RESOURCE`.
    package func set(_ values: LimitValues) throws(SystemError) {
        try checked("setrlimit", rawValue) { berth_setrlimit(number, values.soft, values.hard) }
    }
}
