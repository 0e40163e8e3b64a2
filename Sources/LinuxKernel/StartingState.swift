internal import CLinux

/// The state that Berth itself works in, whatever its caller left it: no descriptor of the caller's goes to a program
/// that is started from here, children can be waited for, a limit is an error and not a signal.
///
/// The command gets back what its caller had set: `Processes.execute` restores signals, `restoreLimits` the limits.
package enum StartingState {
    private struct Saved {
        var mask = sigset_t()
        /// Of signals, whether they were ignored.
        var ignored: [(number: Int32, was: Bool)] = []
        var limits: [(limit: ResourceLimit, values: LimitValues)] = []
    }

    /// Set once, before anything else runs, and only read afterwards.
    nonisolated(unsafe) private static var saved: Saved?

    /// Comes first in a program.
    ///
    /// - Parameter marksDescriptors: Not where this program only becomes another one of Berth's, which does it itself.
    package static func establish(marksDescriptors: Bool = true) {
        var state = Saved()
        if marksDescriptors { markDescriptors() }
        // A missing standard stream would be replaced by the next file that is opened, and messages would go into that.
        for number in Int32(0)...2 where berth_fcntl(number, F_GETFD, 0) == -1 {
            if number == 1 { Streams.isOutputMissing = true }
            _ = berth_open("/dev/null", (number == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC, 0)
        }
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, &state.mask)
        // With SIGCHLD ignored waitpid(2) finds no child; SIGXFSZ would end a write above the limit on file sizes.
        state.ignored = [
            (SIGCHLD, berth_set_signal(SIGCHLD, 0) == 1), (SIGXFSZ, berth_set_signal(SIGXFSZ, 1) == 1),
        ]
        for limit in [ResourceLimit.openFiles, .fileSize, .addressSpace, .data, .stack] {
            var (soft, hard) = (UInt64(0), UInt64(0))
            if berth_caller_limit(limit.number, &soft, &hard) == 1 {
                state.limits.append((limit, LimitValues(soft: soft, hard: hard)))
                continue
            }
            guard limit != .stack, let now = try? limit.current(), now.soft < now.hard else { continue }  // unknown: left alone
            if (try? limit.set(LimitValues(soft: now.hard, hard: now.hard))) != nil {  // it stays as it is
                state.limits.append((limit, now))
            }
        }
        saved = state
    }

    /// What the caller had set.
    package static func callersValue(of limit: ResourceLimit) throws(SystemError) -> LimitValues {
        if let own = saved?.limits.first(where: { $0.limit == limit }) { return own.values }
        return try limit.current()
    }

    /// The limit on open files in force, where it is below this.
    package static func openFilesBelow(_ least: UInt64) -> UInt64? {
        guard let now = try? ResourceLimit.openFiles.current(), now.soft < least else { return nil }  // unknown: enough
        return now.soft
    }

    /// Before the command's own limits are set.
    ///
    /// - Parameter except: Those that are set anyway.
    package static func restoreLimits(except: [ResourceLimit]) throws(SystemError) {
        saved?.limits.removeAll { except.contains($0.limit) }
        for (limit, values) in saved?.limits ?? [] where !ofMemory.contains(limit) { try limit.set(values) }
    }

    /// This program itself needs what they allow, up to its end.
    private static let ofMemory: [ResourceLimit] = [.addressSpace, .data, .stack]

    /// For the program that is executed next in place of this one.
    static func restore() {
        guard var state = saved else { return }
        // Those of files too: another program of Berth's would take a raised limit for the caller's.
        for (limit, values) in state.limits { try? limit.set(values) }  // lower, as it was
        for (number, was) in state.ignored { _ = berth_set_signal(number, was ? 1 : 0) }
        sigprocmask(SIG_SETMASK, &state.mask, nil)
    }

    /// A program that is started beside this one closes each of its descriptors in turn, in some languages: with the
    /// hard limit that takes minutes. Set from outside and only there: this program's threads are opening files. The
    /// corresponding call is `prlimit(2)`.
    static func giveCallersOpenFiles(to child: Int32) {
        guard let own = saved?.limits.first(where: { $0.limit == .openFiles }) else { return }
        _ = berth_prlimit(child, own.limit.number, own.values.soft, own.values.hard)  // refused: then with ours
    }

    /// Whatever the caller has left open above the standard streams is closed by execve(2).
    package static func markDescriptors() {
        if berth_close_range(3, UInt32.max, 4 /* CLOSE_RANGE_CLOEXEC */) == 0 { return }
        // Before Linux 5.11, or refused by a filter.
        guard let directory = try? OwnedFileDescriptor(opening: "/proc/self/fd", .readOnly | .directory),  // none to be seen
            let names = try? directory.entries()  // likewise
        else { return }
        for name in names {
            if let number = Int32(name.displayPath), number > 2 { _ = berth_fcntl(number, F_SETFD, Int(FD_CLOEXEC)) }
        }
    }
}

/// Descriptors of the caller's that the command is to have as well, under the same numbers. To be made before this
/// program opens anything: until then every open descriptor is the caller's.
package struct InheritedDescriptors: Sendable {
    private var numbers: [Int32] = []

    package init() {}

    /// The first of the next `count` descriptors that is not open; `nil` where all are.
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

    /// Just before the command is executed.
    package func handOn() throws(SystemError) {
        for number in numbers { try checked("fcntl", "\(number)") { berth_fcntl(number, F_SETFD, 0) } }
    }
}
