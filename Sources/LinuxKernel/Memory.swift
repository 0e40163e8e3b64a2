internal import CLinux

package enum Memory {
    /// Has the allocator give every large piece back to the system when it is freed. By itself it begins to keep them for later,
    /// in pools of each thread, once it has seen one freed: a pull of many layers then holds what it no longer needs. Of what is
    /// small each thread may keep some, as the network's buffers come and go thousands of times.
    ///
    /// The corresponding call is `mallopt(3)`.
    package static func giveBackWhatIsLarge() {
        _ = berth_mmap_threshold(128 << 10)
        _ = berth_trim_threshold(2 << 20)
    }
}

extension Memory {
    /// The corresponding call is `sysconf(3)`.
    package static let pageBytes = Int(sysconf(Int32(_SC_PAGESIZE)))
}
