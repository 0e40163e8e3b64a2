internal import CLinux

/// Normalizes the inherited process state for Berth itself: child programs do not inherit the caller's descriptors,
/// children can be waited for, and exceeding a limit is an error rather than a signal.
///
/// The command gets the caller's state back: `Processes.execute` restores signals, `restoreLimits` the limits.
package enum StartingState {
    private struct Saved {
        var mask = sigset_t()
        /// The signals, and whether they were ignored.
        var ignored: [(number: Int32, was: Bool)] = []
        var limits: [(limit: ResourceLimit, values: LimitValues)] = []
    }

    /// Set once at the start and then only read.
    nonisolated(unsafe) private static var saved: Saved?

    /// Called first in a program.
    ///
    /// - Parameter marksDescriptors: `false` if this program is executed again, or only executes another program of Berth,
    ///   which marks them itself.
    package static func establish(marksDescriptors: Bool = true) {
        var state = Saved()
        if marksDescriptors { markDescriptors() }
        // The next opened file would otherwise take the number of a missing standard stream and receive messages.
        for number in Int32(0)...2 where berth_fcntl(number, F_GETFD, 0) == -1 {
            if number == 1 { Streams.isOutputMissing = true }
            _ = berth_open("/dev/null", (number == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC, 0)
        }
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, &state.mask)
        // With SIGCHLD ignored, waitpid(2) finds no child. SIGXFSZ kills a process that writes beyond the file size
        // limit.
        state.ignored = [
            (SIGCHLD, berth_set_signal(SIGCHLD, 0) == 1), (SIGXFSZ, berth_set_signal(SIGXFSZ, 1) == 1),
        ]
        for limit in [ResourceLimit.openFiles, .fileSize, .addressSpace, .data, .stack] {
            var (soft, hard) = (UInt64(0), UInt64(0))
            if berth_caller_limit(limit.number, &soft, &hard) == 1 {
                state.limits.append((limit, LimitValues(soft: soft, hard: hard)))
                continue
            }
            guard limit != .stack, let now = try? limit.current(), now.soft < now.hard else { continue }  // skip
            if (try? limit.set(LimitValues(soft: now.hard, hard: now.hard))) != nil {  // denied: keep it
                state.limits.append((limit, now))
            }
        }
        saved = state
    }

    /// The limit that the caller had set.
    package static func callersValue(of limit: ResourceLimit) throws(SystemError) -> LimitValues {
        if let own = saved?.limits.first(where: { $0.limit == limit }) { return own.values }
        return try limit.current()
    }

    /// The current limit on open files if it is below `least`.
    package static func openFilesBelow(_ least: UInt64) -> UInt64? {
        guard let now = try? ResourceLimit.openFiles.current(), now.soft < least else { return nil }  // unknown
        return now.soft
    }

    /// Restores the caller's limits. Called before the command's own limits are set.
    ///
    /// - Parameter except: Limits that are set afterwards anyway.
    package static func restoreLimits(except: [ResourceLimit]) throws(SystemError) {
        saved?.limits.removeAll { except.contains($0.limit) }
        for (limit, values) in saved?.limits ?? [] where !ofMemory.contains(limit) { try limit.set(values) }
    }

    /// Restored last, because this program needs the memory until it executes the command.
    private static let ofMemory: [ResourceLimit] = [.addressSpace, .data, .stack]

    /// Restores the caller's state for the program that replaces this one.
    static func restore() {
        guard var state = saved else { return }
        // The limit on open files, too: another program of Berth would take a raised limit for the caller's.
        for (limit, values) in state.limits { try? limit.set(values) }  // lowering cannot fail
        for (number, was) in state.ignored { _ = berth_set_signal(number, was ? 1 : 0) }
        sigprocmask(SIG_SETMASK, &state.mask, nil)
    }

    /// Gives a child the caller's limit on open files, because programs in some languages close every possible
    /// descriptor at start, which takes minutes with the hard limit. Sets it in the child only, because threads of this
    /// process open files. The corresponding call is `prlimit(2)`.
    static func giveCallersOpenFiles(to child: Int32) {
        guard let own = saved?.limits.first(where: { $0.limit == .openFiles }) else { return }
        _ = berth_prlimit(child, own.limit.number, own.values.soft, own.values.hard)  // denied: it keeps ours
    }

    /// Marks the caller's descriptors above the standard streams close-on-exec.
    package static func markDescriptors() {
        if berth_close_range(3, UInt32.max, 4 /* CLOSE_RANGE_CLOEXEC */) == 0 { return }
        // Linux before 5.11, or denied by a seccomp filter.
        guard let directory = try? OwnedFileDescriptor(opening: "/proc/self/fd", .readOnly | .directory),  // no /proc
            let names = try? directory.entries()  // likewise
        else { return }
        for name in names {
            if let number = Int32(name.displayPath), number > 2 { _ = berth_fcntl(number, F_SETFD, Int(FD_CLOEXEC)) }
        }
    }
}

/// The caller's descriptors that the command inherits under the same numbers. Create it before this program opens any
/// file, because until then every open descriptor is the caller's.
package struct InheritedDescriptors: Sendable {
    private var numbers: [Int32] = []

    package init() {}

    /// Adds the next `count` descriptors. Returns the first one that is not open; `nil` if all are.
    package mutating func add(next count: Int) -> Int? {
        for number in 3..<(3 + count) {
            guard let raw = Int32(exactly: number), berth_fcntl(raw, F_GETFD, 0) != -1 else { return number }
            numbers.append(raw)
        }
        return nil
    }

    /// A connection by which a process manager talks with its tasks, such as `PMI_FD` names: a socket or a pipe. A file or a
    /// directory would be a way around the container.
    package mutating func add(connection number: Int32) {
        var raw = stat()
        guard number > 2, fstat(number, &raw) == 0, [BERTH_S_IFSOCK, BERTH_S_IFIFO].contains(raw.st_mode & BERTH_S_IFMT),
            !numbers.contains(number)
        else { return }
        numbers.append(number)
    }

    /// Clears close-on-exec. Called just before the command is executed.
    package func handOn() throws(SystemError) {
        for number in numbers { try checked("fcntl", "\(number)") { berth_fcntl(number, F_SETFD, 0) } }
    }
}
