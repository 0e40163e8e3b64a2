internal import ArgumentParser
internal import Diagnostics
internal import LinuxKernel

/// A failure with its text; what commands throw.
struct Failure: Error {
    let report: Report

    init(_ report: Report) { self.report = report }
}

/// From arguments to an exit status: ArgumentParser's own errors get the house's form, and 125 like any of Berth's.
enum CommandLineRun {
    static func main(_ arguments: [String]) async -> Never {
        do {
            var command = try Berth.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            Processes.exit(0)
        } catch let failure as Failure {
            fail(failure.report)
        } catch {
            // Help, a version or a completion script comes as an error too.
            if Berth.exitCode(for: error) == .success {
                Printed.text(Berth.fullMessage(for: error) + "\n")
                Processes.exit(0)
            }
            fail(report(for: error, arguments))
        }
    }

    static func report(for error: any Error, _ arguments: [String]) -> Report {
        let verb = arguments.first.flatMap { name in
            Berth.configuration.subcommands.first { $0.configuration.commandName == name }?.configuration.commandName
        }
        if let name = arguments.first, !name.hasPrefix("-"), verb == nil { return unknown(name) }
        let text = Berth.message(for: error)
        let first = text.prefix(1).lowercased() + text.dropFirst()
        return Report(
            first.hasSuffix(".") ? String(first.dropLast()) : first,
            hint: "`berth \(verb.map { "\($0) " } ?? "")--help` shows what can be given")
    }

    private static func unknown(_ name: String) -> Report {
        let hint =
            switch name {
            case "login": "use `docker login` or `podman login`, whose files are read"
            case "build": "build it elsewhere; `berth export` makes an image of a directory or of a container's changes"
            case "push", "save", "commit": "`berth export IMAGE DESTINATION` writes an image out, changed ones too"
            case "load", "import": "`berth run docker-archive:FILE` and oci-archive:FILE need no loading"
            case "exec", "attach", "shell":
                "`nsenter --user --mount --preserve-credentials --target PID COMMAND` starts one in the container of a "
                    + "process of yours (as root without --user); with the Slurm plugin: srun --container-name"
            case "version": "`berth --version` shows it"
            case "ps", "stop", "kill", "rm", "logs":
                "a container is the processes in it: look for them with ps(1), end them with kill(1) or scancel(1)"
            default:
                nearest(to: name).map { "did you mean `berth \($0)`? `berth --help` lists the commands" }
                    ?? "`berth --help` lists the commands; an image is started with `berth run \(name)`"
            }
        return Report("there is no command \"\(name)\"", hint: hint)
    }

    /// A verb that is a slip away, or two where it is long.
    private static func nearest(to name: String) -> String? {
        guard name.utf8.count > 2, name.utf8.count < 32 else { return nil }
        let verbs = Berth.configuration.subcommands.compactMap { $0.configuration.commandName }
        return verbs.first { Report.slips(Array(name.utf8), Array($0.utf8)) <= ($0.utf8.count > 4 ? 2 : 1) }
    }

    static func fail(_ report: Report) -> Never {
        Output.note(report.text)
        Processes.exit(report.status.rawValue)
    }
}

/// Standard output; a command whose output cannot be written has failed.
enum Printed {
    /// Berth's own text, or JSON, or text whose lines went through `TerminalText`.
    static func text(_ text: String) {
        if let report = Output.write(text) { CommandLineRun.fail(report) }
    }

    static func line(_ line: String) {
        if let report = Output.write(line: line) { CommandLineRun.fail(report) }
    }

    static func bytes(_ bytes: UnsafeRawBufferPointer) {
        if let report = Output.write(bytes) { CommandLineRun.fail(report) }
    }
}

/// Calls something with an error type of its own, and makes its error a report.
func reporting<Value: ~Copyable, Cause: Error>(
    _ report: (Cause) -> Report, _ body: () throws(Cause) -> Value
) throws(Failure) -> Value {
    do throws(Cause) { return try body() } catch { throw Failure(report(error)) }
}
