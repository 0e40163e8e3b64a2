internal import CLinux

/// Starting programs: in place of this one, or beside it.
package enum Processes {
    package static var ownID: Int32 { getpid() }
    /// Another one's once the parent has ended.
    package static var parentID: Int32 { getppid() }

    /// Replaces this program; returns only where that failed. The corresponding call is `execve(2)`.
    package static func execute(_ path: String, arguments: [String], environment: [String]) -> SystemError {
        withCStrings(arguments) { cArguments in
            withCStrings(environment) { cEnvironment in
                var failure = SystemError(call: "execve", errno: 0, subject: path)
                // It throws nothing itself.
                try? path.withCPath { cPath in
                    StartingState.restore()
                    execve(cPath, cArguments, cEnvironment)
                    failure = SystemError.last("execve", path)
                }
                return failure
            }
        }
    }

    /// Where a spawned program's standard output goes.
    package enum Output: Sendable {
        case inherit, standardError
        /// Its first bytes: of standard output, or of standard error as well.
        case capture(limit: Int), captureBoth(limit: Int)
    }

    /// How a spawned program ended, and what it printed where that was captured.
    package struct Ended: Sendable {
        /// The exit status, or 128 + the signal's number.
        package let status: Int32
        package let output: [UInt8]
    }

    /// Runs a program and waits for it; its standard input is what is given, or `/dev/null`. The corresponding calls are
    /// `posix_spawn(3)` and `waitpid(2)`.
    ///
    /// - Parameter deadline: In `Clock.monotonicNanoseconds`; a program that runs longer is killed, which is
    ///   `ETIMEDOUT`.
    package static func run(
        _ path: String, arguments: [String], environment: [String], output: Output, input: [UInt8]? = nil,
        deadline: UInt64? = nil
    ) throws(SystemError) -> Ended {
        try wait(
            for: try start(path, arguments: arguments, environment: environment, output: output, input: input),
            deadline: deadline)
    }

    /// A program that runs beside this one, to be waited for.
    package struct Child: Sendable {
        fileprivate let id: pid_t
        fileprivate let path: String
        /// Where what it prints arrives, and how much of it counts.
        fileprivate let pipe: Int32
        fileprivate let limit: Int
    }

    /// The first half of `run`.
    package static func start(
        _ path: String, arguments: [String], environment: [String], output: Output, input: [UInt8]? = nil
    ) throws(SystemError) -> Child {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var inputEnd: Int32 = -1
        defer { if inputEnd >= 0 { close(inputEnd) } }
        if let input {
            inputEnd = try pipe(holding: input, path)
            posix_spawn_file_actions_adddup2(&actions, inputEnd, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        var pipeEnds: [Int32] = [-1, -1]
        var limit = 0
        switch output {
        case .inherit: break
        case .standardError: posix_spawn_file_actions_adddup2(&actions, 2, 1)
        case .capture(let bytes), .captureBoth(let bytes):
            limit = bytes
            try checked("pipe2", path) { berth_pipe2(&pipeEnds, O_CLOEXEC) }
            posix_spawn_file_actions_adddup2(&actions, pipeEnds[1], 1)
            if case .captureBoth = output { posix_spawn_file_actions_adddup2(&actions, pipeEnds[1], 2) }
        }
        // As every program may expect: this one ignores a signal, and what its caller has ignored or blocked is the
        // command's to have.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var (all, none) = (sigset_t(), sigset_t())
        sigfillset(&all)
        sigemptyset(&none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var child: pid_t = 0
        let code = withCStrings(arguments) { cArguments in
            withCStrings(environment) { cEnvironment in
                posix_spawn(&child, path, &actions, &attributes, cArguments, cEnvironment)
            }
        }
        if code == 0 { StartingState.giveCallersOpenFiles(to: child) }
        if pipeEnds[1] >= 0 { close(pipeEnds[1]) }
        guard code == 0 else {
            if pipeEnds[0] >= 0 { close(pipeEnds[0]) }
            throw SystemError(call: "posix_spawn", errno: code, subject: path)
        }
        return Child(id: child, path: path, pipe: pipeEnds[0], limit: limit)
    }

    /// The second half of `run`. The corresponding call is `waitpid(2)`.
    package static func wait(for process: Child, deadline: UInt64? = nil) throws(SystemError) -> Ended {
        let (child, path, limit) = (process.id, process.path, process.limit)
        var captured: [UInt8] = []
        var isLate = false
        if let deadline {
            (captured, isLate) = follow(child, process.pipe, limit: limit, until: deadline)
            if process.pipe >= 0 { close(process.pipe) }
        } else if process.pipe >= 0 {
            let reading = OwnedFileDescriptor(rawValue: process.pipe)
            // Past the limit the reader goes away and the writer gets SIGPIPE: it must not hang the launch.
            captured = (try? reading.readAll(limit: limit)) ?? []  // what was printed is only advice
        }
        var status: Int32 = 0
        try checked("waitpid", path) { waitpid(child, &status, 0) }
        if isLate { throw SystemError(call: "waitpid", errno: ETIMEDOUT, subject: path) }
        return Ended(
            status: berth_wifexited(status) != 0 ? berth_wexitstatus(status) : 128 + berth_wtermsig(status),
            output: captured)
    }

    /// The reading end of a pipe that holds all of `bytes`, which must fit: what nobody reads must not hang anybody.
    private static func pipe(holding bytes: [UInt8], _ subject: String) throws(SystemError) -> Int32 {
        guard bytes.count <= 4096 else { throw SystemError(call: "pipe2", errno: EFBIG, subject: subject) }
        var ends: [Int32] = [-1, -1]
        try checked("pipe2", subject) { berth_pipe2(&ends, O_CLOEXEC) }
        let writing = OwnedFileDescriptor(rawValue: ends[1])
        do throws(SystemError) { try writing.writeAll(bytes) } catch {
            close(ends[0])
            throw error
        }
        return ends[0]
    }

    /// Reads what the program prints until it has ended, which what it has started in turn may outlive; kills it when
    /// its time is over.
    private static func follow(
        _ child: pid_t, _ pipe: Int32, limit: Int, until deadline: UInt64
    ) -> (captured: [UInt8], isLate: Bool) {
        var captured: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        // Refused by some seccomp filters: then the child is looked for now and then.
        let handle = berth_pidfd_open(child)
        defer { if handle >= 0 { close(handle) } }
        var waits = [
            pollfd(fd: handle, events: Int16(POLLIN), revents: 0), pollfd(fd: pipe, events: Int16(POLLIN), revents: 0),
        ]
        while true {
            let now = Clock.monotonicNanoseconds
            guard now < deadline else {
                kill(child, SIGKILL)
                return (captured, true)
            }
            let left = Int32(clamping: (deadline - now) / 1_000_000 + 1)
            _ = poll(&waits, 2, handle < 0 ? min(left, 10) : left)
            if waits[1].revents != 0 {
                let count = CLinux.read(pipe, &chunk, chunk.count)
                if count > 0, captured.count < limit { captured += chunk[..<count] }
                if count <= 0 { waits[1].fd = -1 }
            } else if waits[0].revents != 0 || handle < 0 && hasEnded(child) {
                return (captured, false)
            }
        }
    }

    /// It can still be waited for. The corresponding call is `waitid(2)` with `WNOWAIT`.
    private static func hasEnded(_ child: pid_t) -> Bool {
        var found = siginfo_t()
        return waitid(P_PID, id_t(child), &found, WEXITED | WNOHANG | WNOWAIT) == 0 && found.si_signo != 0
    }

    /// The corresponding call is `poll(2)` of nothing.
    package static func sleep(milliseconds: Int) { _ = poll(nil, 0, Int32(clamping: milliseconds)) }

    /// The environment this process was given, one `NAME=value` each.
    package static func environment() -> [String] {
        var result: [String] = []
        guard var cursor = berth_environ() else { return result }
        while let entry = cursor.pointee {
            result.append(RawText.string(entry))
            cursor += 1
        }
        return result
    }

    /// The arguments this process was given, its own name first.
    package static func arguments() -> [String] {
        var result: [String] = []
        guard var cursor = berth_argv() else { return result }
        while let argument = cursor.pointee {
            result.append(RawText.string(argument))
            cursor += 1
        }
        return result
    }

    /// Where this process stands; `nil` where that has no path from its root. The corresponding call is `getcwd(3)`.
    package static var workingDirectory: String? {
        guard let path = getcwd(nil, 0) else { return nil }
        defer { free(path) }
        return path.pointee == 0x2F ? RawText.string(path) : nil
    }

    /// The absolute path of the program this process runs, by `/proc/self/exe`.
    package static func ownPath() throws(SystemError) -> String {
        let directory = try OwnedFileDescriptor(opening: "/proc/self", .path | .directory)
        let path = try directory.linkTarget("exe").displayPath
        // A sealed copy and a detached mount have no path: `continueSealed` passes the original's as the first argument.
        return path == "/" || path.hasPrefix("/memfd:berth") ? arguments().first ?? path : path
    }

    /// Has this process sent SIGTERM when its parent ends, however that happens; at once where it has ended already. The
    /// corresponding call is `prctl(2)`, `PR_SET_PDEATHSIG`.
    package static func end(with parent: Int32) throws(SystemError) {
        try checked("prctl", "PR_SET_PDEATHSIG") { berth_prctl(1, UInt(SIGTERM), 0, 0, 0) }
        if getppid() != parent { kill(getpid(), SIGTERM) }
    }

    /// The corresponding call is `_exit(2)`: nothing is flushed, nothing is run.
    package static func exit(_ status: Int32) -> Never { _exit(status) }
}

private func duplicate(_ bytes: [UInt8]) -> UnsafeMutablePointer<CChar>? {
    (bytes + [0]).withUnsafeBytes { $0.baseAddress.flatMap { strdup($0.assumingMemoryBound(to: CChar.self)) } }
}

/// Calls `body` with a NULL-terminated array of C strings.
private func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
    for index in 0..<strings.count {
        pointers[index] = RawText.bytes(strings[index]).map(duplicate) ?? strdup(strings[index])
    }
    pointers[strings.count] = nil
    defer {
        for index in 0..<strings.count { free(pointers[index]) }
        pointers.deallocate()
    }
    return body(pointers)
}
