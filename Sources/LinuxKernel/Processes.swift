internal import CLinux

/// Executes programs in place of this one or as children.
package enum Processes {
    package static var ownID: Int32 { getpid() }
    /// The ID of another process once the parent has exited.
    package static var parentID: Int32 { getppid() }

    /// Replaces this program; returns only on failure. The corresponding call is `execve(2)`.
    package static func execute(_ path: String, arguments: [String], environment: [String]) -> SystemError {
        withCStrings(arguments) { cArguments in
            withCStrings(environment) { cEnvironment in
                var failure = SystemError(call: "execve", errno: 0, subject: path)
                try? path.withCPath { cPath in  // `body` does not throw
                    StartingState.restore()
                    execve(cPath, cArguments, cEnvironment)
                    failure = SystemError.last("execve", path)
                }
                return failure
            }
        }
    }

    /// The destination of a child's standard output.
    package enum Output: Sendable {
        case inherit, standardError
        /// Captures the first bytes of standard output, or of both standard output and standard error.
        case capture(limit: Int), captureBoth(limit: Int)
    }

    /// The result of a child, and its captured output.
    package struct Ended: Sendable {
        /// The exit status, or 128 plus the signal number.
        package let status: Int32
        package let output: [UInt8]
    }

    /// Runs a program and waits for it. Its standard input is `input`, or `/dev/null`. The corresponding calls are
    /// `posix_spawn(3)` and `waitpid(2)`.
    ///
    /// - Parameter deadline: A time of `Clock.monotonicNanoseconds` at which the program is killed and `ETIMEDOUT` is
    ///   thrown.
    package static func run(
        _ path: String, arguments: [String], environment: [String], output: Output, input: [UInt8]? = nil,
        deadline: UInt64? = nil
    ) throws(SystemError) -> Ended {
        try wait(
            for: try start(path, arguments: arguments, environment: environment, output: output, input: input),
            deadline: deadline)
    }

    /// A running child that must be waited for.
    package struct Child: Sendable {
        fileprivate let id: pid_t
        fileprivate let path: String
        /// Receives the captured output, up to `limit`.
        fileprivate let pipe: Int32
        fileprivate let limit: Int
    }

    /// Starts a child, as `run` does.
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
        // Reset signals to what programs expect. This process ignores one, and what its caller ignores or blocks is
        // restored only for the command.
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

    /// Waits for a child, as `run` does. The corresponding call is `waitpid(2)`.
    package static func wait(for process: Child, deadline: UInt64? = nil) throws(SystemError) -> Ended {
        let (child, path, limit) = (process.id, process.path, process.limit)
        var captured: [UInt8] = []
        var isLate = false
        if let deadline {
            (captured, isLate) = follow(child, process.pipe, limit: limit, until: deadline)
            if process.pipe >= 0 { close(process.pipe) }
        } else if process.pipe >= 0 {
            let reading = OwnedFileDescriptor(rawValue: process.pipe)
            // Stop reading at the limit. A child that writes more gets SIGPIPE, so it cannot block the launch.
            captured = (try? reading.readAll(limit: limit)) ?? []  // the output is only informative
        }
        var status: Int32 = 0
        if isLate {
            // A child in uninterruptible sleep, for example on a dead file server, does not die yet. It is left to init.
            var tries = 0
            while tries < 100, waitpid(child, &status, WNOHANG) == 0 {
                sleep(milliseconds: 20)
                tries += 1
            }
            throw SystemError(call: "waitpid", errno: ETIMEDOUT, subject: path)
        }
        try checked("waitpid", path) { waitpid(child, &status, 0) }
        return Ended(
            status: berth_wifexited(status) != 0 ? berth_wexitstatus(status) : 128 + berth_wtermsig(status),
            output: captured)
    }

    /// The read end of a pipe that contains `bytes`. They must fit, because a full pipe would block the writer.
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

    /// Reads the output until the child exits; its own children may live longer. Kills it at the deadline.
    private static func follow(
        _ child: pid_t, _ pipe: Int32, limit: Int, until deadline: UInt64
    ) -> (captured: [UInt8], isLate: Bool) {
        var captured: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        // Some seccomp filters deny this call; the child is then polled.
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

    /// Whether the child has exited; leaves it to be waited for. The corresponding call is `waitid(2)` with `WNOWAIT`.
    private static func hasEnded(_ child: pid_t) -> Bool {
        var found = siginfo_t()
        return waitid(P_PID, id_t(child), &found, WEXITED | WNOHANG | WNOWAIT) == 0 && found.si_signo != 0
    }

    /// The corresponding call is `poll(2)` without descriptors.
    package static func sleep(milliseconds: Int) { _ = poll(nil, 0, Int32(clamping: milliseconds)) }

    /// The environment of this process as `NAME=value`.
    package static func environment() -> [String] {
        var result: [String] = []
        guard var cursor = berth_environ() else { return result }
        while let entry = cursor.pointee {
            result.append(RawText.string(entry))
            cursor += 1
        }
        return result
    }

    /// The arguments of this process; the first one is its name.
    package static func arguments() -> [String] {
        var result: [String] = []
        guard var cursor = berth_argv() else { return result }
        while let argument = cursor.pointee {
            result.append(RawText.string(argument))
            cursor += 1
        }
        return result
    }

    /// The working directory; `nil` if it has no path from the root. The corresponding call is `getcwd(3)`.
    package static var workingDirectory: String? {
        guard let path = getcwd(nil, 0) else { return nil }
        defer { free(path) }
        return path.pointee == 0x2F ? RawText.string(path) : nil
    }

    /// The absolute path of this program, from `/proc/self/exe`.
    package static func ownPath() throws(SystemError) -> String {
        let directory = try OwnedFileDescriptor(opening: "/proc/self", .path | .directory)
        let path = try directory.linkTarget("exe").displayPath
        // A sealed copy and a detached mount have no path: `continueSealed` passes the original's as the first argument.
        return path == "/" || path.hasPrefix("/memfd:berth") ? arguments().first ?? path : path
    }

    /// Makes the kernel send SIGTERM to this process when its parent exits, or now if it already has. The corresponding
    /// call is `prctl(2)`, `PR_SET_PDEATHSIG`.
    package static func end(with parent: Int32) throws(SystemError) {
        try checked("prctl", "PR_SET_PDEATHSIG") { berth_prctl(1, UInt(SIGTERM), 0, 0, 0) }
        if getppid() != parent { kill(getpid(), SIGTERM) }
    }

    /// The corresponding call is `_exit(2)`: flushes nothing and runs no exit handlers.
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
