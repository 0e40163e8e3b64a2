import CLinux
import Foundation

/// Runs a program for a test with a time limit, and captures all its output.
package struct Command: Sendable {
    package var arguments: [String]
    /// The complete environment; the tests' own variables are not inherited.
    package var environment: [String: String]
    package var directory: String?
    package var input: String?
    package var secondsAllowed: Double

    package init(
        _ arguments: [String], environment: [String: String] = ["PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"],
        directory: String? = nil, input: String? = nil, secondsAllowed: Double = 120
    ) {
        self.arguments = arguments
        self.environment = environment
        self.directory = directory
        self.input = input
        self.secondsAllowed = secondsAllowed
    }

    package func run() throws -> Ended { try start().wait() }

    package func start() throws -> Running {
        // Files rather than pipes, so that large output need not be read while it runs.
        let output = try Self.scratchFile()
        let errors = try Self.scratchFile()
        let inputFile = try Self.scratchFile()
        defer { close(inputFile) }
        if let input {
            let bytes = Array(input.utf8)
            guard write(inputFile, bytes, bytes.count) == bytes.count, lseek(inputFile, 0, SEEK_SET) == 0 else {
                throw TestSupportError("cannot write the input")
            }
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, inputFile, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        // The program must not inherit the test runner's descriptors.
        posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        if let directory { posix_spawn_file_actions_addchdir_np(&actions, directory) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Reset signals that the runner ignores or blocks.
        var all = sigset_t()
        sigfillset(&all)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        let argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        let envp: [UnsafeMutablePointer<CChar>?] =
            environment.sorted { $0.key < $1.key }.map { strdup($0.key + "=" + $0.value) } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var child: pid_t = 0
        let code = posix_spawnp(&child, arguments[0], &actions, &attributes, argv, envp)
        guard code == 0 else {
            close(output)
            close(errors)
            throw TestSupportError("cannot start \(arguments[0]): \(String(cString: strerror(code)))")
        }
        return Running(processID: child, output: output, errors: errors, secondsAllowed: secondsAllowed)
    }

    private static func scratchFile() throws -> Int32 {
        var template = Array("/var/tmp/berth-test-io.XXXXXX".utf8CString)
        let raw = mkostemp(&template, O_CLOEXEC)
        guard raw >= 0 else { throw TestSupportError("mkostemp: \(String(cString: strerror(errno)))") }
        unlink(template)
        return raw
    }
}

/// A running program. Call `wait` once.
package struct Running: Sendable {
    package let processID: Int32
    fileprivate let output: Int32
    fileprivate let errors: Int32
    fileprivate let secondsAllowed: Double

    package func signal(_ number: Int32) { kill(processID, number) }

    /// The output so far.
    package var printed: String { Self.contents(output) }
    package var complained: String { Self.contents(errors) }

    /// Waits up to a minute for a condition, because the machine may be busy.
    package func until(_ what: String, _ holds: (Running) -> Bool) throws {
        for _ in 0..<6000 {
            if holds(self) { return }
            usleep(10_000)
        }
        throw TestSupportError("\(what) did not come about; printed: \(printed)\(complained)")
    }

    package func wait() throws -> Ended {
        let end = Date().addingTimeInterval(secondsAllowed)
        var status: Int32 = 0
        var timedOut = false
        while true {
            let found = waitpid(processID, &status, WNOHANG)
            if found == processID { break }
            if found < 0 { throw TestSupportError("waitpid: \(String(cString: strerror(errno)))") }
            if !timedOut, Date() > end {
                timedOut = true
                kill(processID, SIGKILL)
            }
            usleep(1000)
        }
        defer {
            close(output)
            close(errors)
        }
        return Ended(
            status: berth_wifexited(status) != 0 ? berth_wexitstatus(status) : nil,
            signal: berth_wifexited(status) != 0 ? nil : berth_wtermsig(status), output: printed, errors: complained,
            timedOut: timedOut)
    }

    private static func contents(_ file: Int32) -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = pread(file, &chunk, chunk.count, off_t(bytes.count))
            if count <= 0 { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The exit status and the output of a program.
package struct Ended: Sendable {
    /// `nil` if a signal killed it.
    package let status: Int32?
    package let signal: Int32?
    package let output: String
    package let errors: String
    package let timedOut: Bool

    package var lines: [String] {
        output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    }

    /// Whether a call of libdispatch failed, which then executes an illegal instruction.
    package var isRefusedByDispatch: Bool {
        signal == SIGILL && errors.contains("_dispatch_") && errors.contains("in libdispatch.so")
    }
}

extension Ended: CustomStringConvertible {
    package var description: String {
        let end = timedOut ? "ran out of time" : status.map { "status \($0)" } ?? "signal \(signal ?? 0)"
        return end + (output.isEmpty ? "" : "\nstdout: \(output)") + (errors.isEmpty ? "" : "\nstderr: \(errors)")
    }
}
