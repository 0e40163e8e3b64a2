internal import Diagnostics
internal import LinuxKernel
internal import SiteConfig

/// `berth-image`, beside which this program is installed: `PREFIX/bin/berth` and `PREFIX/libexec/berth/berth-image`.
enum ImageTool {
    static func path() throws(SystemError) -> String { try directory() + "berth-image" }

    /// `PREFIX/libexec/berth/`.
    static func directory() throws(SystemError) -> String {
        let own = try Processes.ownPath()
        let components = own.split(separator: "/").dropLast(2)
        return "/" + components.joined(separator: "/") + (components.isEmpty ? "" : "/") + "libexec/berth/"
    }

    /// What `berth-image` needs to start, in the units of setrlimit(2). With less the kernel or the loader ends it by a signal
    /// or without a message.
    private static let least: [(limit: ResourceLimit, value: UInt64, option: String)] = [
        (.addressSpace, 64 << 20, "-v"), (.data, 16 << 20, "-d"), (.stack, 256 << 10, "-s"), (.openFiles, 8, "-n"),
    ]

    /// The caller's limit that is too small for `berth-image`.
    private static var shortage: Report? {
        for (limit, value, option) in least {
            guard let now = try? StartingState.callersValue(of: limit), now.soft < value else { continue }  // unknown: enough
            return Report(
                "the limit \(limit.rawValue) is \(now.soft), which is too small for berth-image: it needs \(value)",
                hint: "raise it: ulimit \(option) unlimited")
        }
        return nil
    }

    static func become(_ arguments: [String]) -> Never {
        if let shortage { Terminal.fail(shortage) }
        do throws(SystemError) {
            let path = try path()
            throw Processes.execute(path, arguments: ["berth"] + arguments, environment: Processes.environment())
        } catch {
            Terminal.fail(missing(error))
        }
    }

    static func missing(_ error: SystemError) -> Report {
        let hint: String? =
            switch error.errno {
            // The program, or the loader that it names.
            case Errno.ENOENT, Errno.ENOTDIR:
                (try? FileStatus(of: error.subject)) == nil  // absent, as the error says
                    ? "Berth is installed as PREFIX/bin/berth and PREFIX/libexec/berth/berth-image: install both "
                        + "(Scripts/install PREFIX)"
                    : "the program is there, but not the dynamic loader that it names: `readelf -l \(error.subject)` shows it; "
                        + "install the C library of this architecture"
            case Errno.ENOEXEC: "the program is damaged or for another processor: install Berth again"
            case Errno.EACCES:
                "check its mode and those of the directories above, and that its file system is not mounted noexec"
            case Errno.E2BIG: "the arguments and the environment are too large together: unset large variables"
            default: Report.shortage(error)
            }
        return Report("cannot start \(error.subject): \(error.sentence)", hint: hint)
    }

    /// The dynamic loader ends with 127 when a library is missing, and has named the library.
    static let notLoaded = 127 as Int32

    /// What is to be said of a program that ended so; nothing where it has reported the reason itself.
    static func failure(_ status: Int32, of path: String) -> Failure {
        guard status == notLoaded else { return .reportedAlready }
        return .report(
            Report(
                "cannot start \(path): a shared library is missing or damaged",
                hint:
                    "the loader's message above names it; `ldd \(path)` lists all: install the packages that have them"
            ))
    }

    /// The environment for a run of `berth-image` that is to read the same configuration: what a descriptor of the caller's
    /// named, such as the pipe of a shell's `<(…)`, can be read once, and this program has.
    static func handing<Value>(
        _ configuration: SiteConfiguration, _ environment: [String],
        _ body: ([String]) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        guard let text = configuration.textByDescriptor else { return try body(environment) }
        let copy = try mapError(to: Failure.system) { () throws(SystemError) in
            let file = try OwnedFileDescriptor(inMemory: "berth.conf")
            try file.writeAll(text)
            return try file.inheritableCopy()
        }
        defer { withExtendedLifetime(copy.box) {} }
        return try body(
            environment.filter { !$0.hasPrefix("BERTH_CONFIG=") } + ["BERTH_CONFIG=/proc/self/fd/\(copy.number)"])
    }

    /// Runs a verb of `berth-image` that reads JSON or YAML for us and prints a record.
    static func compile(_ words: [String], environment: [String]) throws(Failure) -> [UInt8] {
        if let shortage { throw .report(shortage) }
        let (ended, path): (Processes.Ended, String)
        do throws(SystemError) {
            path = try self.path()
            ended = try Processes.run(
                path, arguments: ["berth"] + words, environment: environment, output: .capture(limit: 64 << 20))
        } catch {
            throw .report(missing(error))
        }
        guard ended.status == 0 else { throw failure(ended.status, of: path) }
        return ended.output
    }

    /// Runs `berth-image export`; returns the name of what it wrote.
    static func export(_ words: [String], environment: [String]) throws(Failure) -> String {
        if let shortage { throw .report(shortage) }
        let (ended, path): (Processes.Ended, String)
        do throws(SystemError) {
            path = try self.path()
            ended = try Processes.run(
                path, arguments: ["berth"] + words, environment: environment, output: .capture(limit: 65536))
        } catch {
            throw .report(missing(error))
        }
        guard ended.status == 0 else { throw failure(ended.status, of: path) }
        return String(decoding: ended.output.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// Runs `berth-image pull`, its progress on standard error; it reports its own failures.
    static func pull(
        _ options: [String], environment: [String], deadline: UInt64?, image: String
    ) throws(Failure) {
        if let shortage { throw .report(shortage) }
        let (ended, path): (Processes.Ended, String)
        do throws(SystemError) {
            path = try self.path()
            ended = try Processes.run(
                path, arguments: ["berth", "pull"] + options, environment: environment, output: .capture(limit: 65536),
                deadline: deadline)
        } catch {
            if error.errno == Errno.ETIMEDOUT {
                throw .report(
                    Report(
                        "\(image) was still being pulled at the end of the start time-out",
                        hint: "pull it before the job with `berth pull \(image)`; " + PrepareCommand.timeoutHint))
            }
            throw .report(missing(error))
        }
        if ended.status > 128 {
            throw .report(
                Report(
                    "the pull was ended by signal \(ended.status - 128)",
                    hint: ended.status == 137 ? "the job may have run out of memory: see the scheduler's log" : nil))
        }
        guard ended.status == 0 else { throw failure(ended.status, of: path) }
    }
}
