internal import CLinux

package enum Processors {
    /// How many this process may run on, which under a scheduler is fewer than there are. At least 1.
    ///
    /// The corresponding call is `sched_getaffinity(2)`.
    package static var online: Int { max(1, Int(berth_processor_count())) }
}
