internal import CLinux

package enum Processors {
    /// The number of processors that this process may use, at least 1. A scheduler may limit it.
    ///
    /// The corresponding call is `sched_getaffinity(2)`.
    package static var online: Int { max(1, Int(berth_processor_count())) }
}
