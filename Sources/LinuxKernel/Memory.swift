internal import CLinux

package enum Memory {
    /// Makes the allocator return large blocks to the system when they are freed. By default it starts to cache them
    /// per thread after the first is freed, so a pull of many layers would keep memory that it no longer needs. Small
    /// blocks may stay cached, because network buffers are allocated thousands of times.
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
