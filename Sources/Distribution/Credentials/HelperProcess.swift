internal import FoundationEssentials
internal import Glibc
internal import NIOPosix
internal import Synchronization

/// Runs a credential helper with a clean environment, a time limit and an output limit.
enum HelperProcess {
    enum Result: Sendable {
        case ended(status: Int32, output: Data, errors: Data)
        case timedOut
        /// The helper did not start; the value is an `errno`.
        case failed(Int32)
    }

    /// The variables by which helpers find their own configuration. Others are dropped, because a job's environment may
    /// contain secrets and loader variables.
    private static let passedOn: Set<String> = [
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
        "DBUS_SESSION_BUS_ADDRESS", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    ]
    private static let passedOnPrefixes = [
        "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "ACR_", "GNUPG", "PASSWORD_STORE_",
    ]

    static func environment(from environment: [String: String]) -> [String: String] {
        environment.filter { entry in
            passedOn.contains(entry.key) || passedOnPrefixes.contains { entry.key.hasPrefix($0) }
        }
    }

    static func path(of program: String, in searchPath: String) -> String? {
        // Only absolute entries: an empty one means the working directory, which may belong to another user.
        searchPath.split(separator: ":").filter { $0.hasPrefix("/") }.map { "\($0)/\(program)" }
            .first { access($0, X_OK) == 0 }
    }

    static func run(
        _ path: String, _ arguments: [String], environment: [String: String], input: String, timeout: Duration
    ) async -> Result {
        // Waiting blocks, so do not use one of the few threads that run tasks.
        do {
            return try await NIOThreadPool.singleton.runIfActive {
                runBlocking(path, arguments, environment: environment, input: input, timeout: timeout)
            }
        } catch {
            return .failed(ECANCELED)
        }
    }

    private static func runBlocking(
        _ path: String, _ arguments: [String], environment: [String: String], input: String, timeout: Duration
    ) -> Result {
        let deadline = ContinuousClock.now + timeout
        guard let standardInput = PipeEnds(), let output = PipeEnds(), let errors = PipeEnds() else {
            return .failed(errno)
        }
        // Write before the start: the input fits into the pipe's buffer, and a helper that never reads cannot cause
        // SIGPIPE.
        let bytes = Array(input.utf8.prefix(4096))
        guard write(standardInput.writing, bytes, bytes.count) == bytes.count else { return .failed(errno) }
        standardInput.closeWriting()

        var child = pid_t()
        let code = spawn(
            path, arguments, environment, [standardInput.reading, output.writing, errors.writing], &child)
        guard code == 0 else { return .failed(code) }
        output.closeWriting()
        errors.closeWriting()
        let collected = output.readAll(and: errors, until: deadline)
        var status = Int32(0)
        while collected != nil {
            // A helper may close its output and continue, so its exit has the same deadline.
            let ended = waitpid(child, &status, WNOHANG)
            if ended == child, let collected {
                let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
                return .ended(status: code, output: collected.0, errors: collected.1)
            }
            if ended < 0 && errno != EINTR || ContinuousClock.now >= deadline { break }
            usleep(2000)
        }
        // Kill the whole process group, because a script's children hold the pipes open.
        kill(-child, SIGKILL)
        // A process that hangs in the kernel does not exit; it is left to the reaper of this process's children.
        for _ in 0..<500 where waitpid(child, &status, WNOHANG) == 0 { usleep(2000) }
        return .timedOut
    }

    /// Held while a pipe is created and a child is started, so that no child inherits another one's pipe. The Glibc
    /// module lacks `pipe2`, which creates close-on-exec pipes.
    fileprivate static let starting = Mutex<Void>(())

    /// Foundation's `Process` waits for all descendants, so a time limit could not end it.
    private static func spawn(
        _ path: String, _ arguments: [String], _ environment: [String: String], _ descriptors: [Int32],
        _ child: inout pid_t
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        for (target, source) in descriptors.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, source, Int32(target))
        }
        // Libraries have descriptors that are not close-on-exec, such as the registry's socket.
        posix_spawn_file_actions_addclosefrom_np(&actions, Int32(descriptors.count))
        // A separate process group that can be killed as a whole, and default signal handling.
        var defaults = sigset_t()
        sigfillset(&defaults)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var words = ([path] + arguments).map { strdup($0) } + [nil]
        var variables = environment.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (words + variables).forEach { free($0) } }
        return starting.withLock { _ in posix_spawn(&child, path, &actions, &attributes, &words, &variables) }
    }
}

/// The two ends of a pipe, closed with it.
private final class PipeEnds {
    private(set) var reading: Int32 = -1
    private(set) var writing: Int32 = -1
    private static let limit = 1 << 20

    init?() {
        var ends: [Int32] = [-1, -1]
        let isOpen = HelperProcess.starting.withLock { _ in
            guard pipe(&ends) == 0 else { return false }
            return ends.allSatisfy { fcntl($0, F_SETFD, FD_CLOEXEC) == 0 }
        }
        (reading, writing) = (ends[0], ends[1])
        guard isOpen else { return nil }
    }

    deinit {
        if reading >= 0 { close(reading) }
        closeWriting()
    }

    func closeWriting() {
        if writing >= 0 { close(writing) }
        writing = -1
    }

    /// Reads both pipes to their ends in parallel, because neither may fill up. Returns `nil` at the deadline.
    func readAll(and other: PipeEnds, until deadline: ContinuousClock.Instant) -> (Data, Data)? {
        var polls = [self, other].map { pollfd(fd: $0.reading, events: Int16(POLLIN), revents: 0) }
        var data = [Data(), Data()]
        var buffer = [UInt8](repeating: 0, count: 16384)
        while polls.contains(where: { $0.fd >= 0 }) {
            let left = deadline - .now
            if left <= .zero { return nil }
            guard poll(&polls, nfds_t(polls.count), Int32(clamping: Int64(left / .milliseconds(1)) + 1)) > 0 else {
                continue
            }
            for index in polls.indices where polls[index].fd >= 0 && polls[index].revents != 0 {
                let count = read(polls[index].fd, &buffer, buffer.count)
                if count > 0 {
                    // Read and drop output beyond the limit, so that the helper can exit.
                    if data[index].count + count <= Self.limit { data[index].append(contentsOf: buffer[..<count]) }
                } else if !(count < 0 && errno == EINTR) {
                    polls[index].fd = -1
                }
            }
        }
        return (data[0], data[1])
    }
}
