internal import Diagnostics
internal import FoundationEssentials
internal import Glibc
internal import Layers
internal import LinuxKernel

/// Threads where few can be had: limits of processes and of address space, seccomp filters, full cgroups.
///
/// libdispatch waits for a thread that cannot be created, without end, and NIO traps. So one is tried before anything
/// begins, and `pthread_create` itself is defined here: what fails for a while ends the program with the reason.
enum ThreadSupply {
    /// What the network, the digests and one layer need at once.
    private static let least = 8
    /// Address space for buffers and for the pools of the allocator, of which each thread has one. What cannot be
    /// allocated later ends a program in Swift by a signal.
    private static var addressSpace: Int { (640 + 24 * min(ProcessInfo.processInfo.activeProcessorCount, 32)) << 20 }

    static func check() throws(SystemError) {
        let addressSpace = addressSpace
        let place = mmap(nil, addressSpace, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let place, place != MAP_FAILED else {
            throw SystemError(call: "mmap", errno: errno, subject: "\(addressSpace >> 20) MiB of address space")
        }
        defer { munmap(place, addressSpace) }
        try WorkerThread.checkAvailability(least)
    }

    /// How long a shortage may last: the threads of another job that is ending are gone by then.
    private static let patience: UInt64 = 5_000_000_000

    fileprivate typealias Create =
        @convention(c) (
            UnsafeMutablePointer<pthread_t>?, UnsafePointer<pthread_attr_t>?,
            (@convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?)?, UnsafeMutableRawPointer?
        ) -> Int32

    /// The C library's.
    fileprivate static let create: Create? = {
        // RTLD_NEXT, a macro that Swift does not see.
        dlsym(UnsafeMutableRawPointer(bitPattern: -1), "pthread_create").map { unsafeBitCast($0, to: Create.self) }
    }()

    fileprivate static func report(_ code: Int32) -> Never {
        CommandLineRun.fail(Report(SystemError(call: "pthread_create", errno: code, subject: "a thread")))
    }

    fileprivate static func isPatient(since start: UInt64) -> Bool {
        guard Clock.monotonicNanoseconds - start < patience else { return false }
        Processes.sleep(milliseconds: 100)
        return true
    }
}

/// Takes the C library's place for all libraries of this program.
@_cdecl("pthread_create") func berthCreateThread(
    _ thread: UnsafeMutablePointer<pthread_t>?, _ attributes: UnsafePointer<pthread_attr_t>?,
    _ start: (@convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?)?,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let create = ThreadSupply.create else { return EAGAIN }
    var code = create(thread, attributes, start, argument)
    // Berth's own threads report a failure, or do with fewer.
    if code == 0 || WorkerThread.isBeingMade { return code }
    let began = Clock.monotonicNanoseconds
    while code == EAGAIN, ThreadSupply.isPatient(since: began) { code = create(thread, attributes, start, argument) }
    if code != 0 { ThreadSupply.report(code) }
    return 0
}
