internal import ArgumentParser
internal import Diagnostics
internal import Glibc
internal import LaunchPlanning
internal import LinuxKernel

/// A failure with its text; what commands throw.
struct Failure: Error {
    let report: Report

    init(_ report: Report) { self.report = report }
}

/// From arguments to an exit status: ArgumentParser's own errors get the house's form, and 125 like any of Berth's.
enum CommandLineRun {
    static func main(_ arguments: [String]) -> Never {
        do {
            // ArgumentParser shows all commands where one is asked for that is none.
            if arguments.first == "help", let name = arguments.dropFirst().first, !name.hasPrefix("-"), named([name]) == nil {
                fail(unknown(name))
            }
            var command = try Berth.parseAsRoot(arguments)
            if let waiting = command as? any AsyncParsableCommand {
                // While this thread still is the only one: the kernel forgets the wish with the thread that had it.
                try (command as? PullCommand)?.endWithCaller()
                try reporting({ Report($0) }) { () throws(SystemError) in try ThreadSupply.check() }
                nonisolated(unsafe) let task = waiting  // the task's from here on
                Task { await finish(task, arguments) }
                while true { _ = pause() }
            }
            try command.run()
            Processes.exit(0)
        } catch {
            end(error, arguments)
        }
    }

    private static func finish(_ command: any AsyncParsableCommand, _ arguments: [String]) async -> Never {
        var command = command
        do { try await command.run() } catch { end(error, arguments) }
        Processes.exit(0)
    }

    private static func end(_ error: any Error, _ arguments: [String]) -> Never {
        switch error {
        case let failure as Failure:
            fail(failure.report)
        case is StatusOnly: Processes.exit(ExitStatus.ownFailure.rawValue)
        default:
            // Help, a version or a completion script comes as an error too.
            if Berth.exitCode(for: error) == .success {
                // What a flag stands for is in its help, too.
                let text = Berth.fullMessage(for: error).replacing(#/\s+\(default\s+as\s+flag:\s+\w+\)/#, with: "")
                Printed.text(BashCompletion.extended(text) + "\n")
                Processes.exit(0)
            }
            fail(report(for: error, arguments))
        }
    }

    static func report(for error: any Error, _ arguments: [String]) -> Report {
        let found = named(arguments)
        if let name = arguments.first, !name.hasPrefix("-"), found == nil { return unknown(name) }
        let command = found?.name ?? "berth"
        let known = found.map { options(of: $0.command) } ?? ["--help", "--version"]
        let text = Berth.message(for: error)
        if let name = text.wholeMatch(of: #/Unknown option '(-[^']*)'.*/#.dotMatchesNewlines())?.1 {
            return unknownOption(String(name), command, known)
        }
        if let missing = text.firstMatch(of: #/Missing expected argument '<([^>]*)>/#)?.1 {
            // ArgumentParser looks for arguments first; a mistyped option is the likelier reason.
            let options = arguments.prefix { $0 != "--" }.filter { $0.hasPrefix("--") || ($0.count == 2 && $0.hasPrefix("-")) }
            if let option = options.first(where: { option in !known.contains(String(option.prefix { $0 != "=" })) }) {
                return unknownOption(option, command, known)
            }
            let usage = found?.command.configuration.usage?.split(separator: "\n").first.map(String.init)
            return Report("no \(missing) given", hint: usage ?? "`\(command) --help` shows what can be given")
        }
        let lines = text.split(separator: "\n").map(String.init)
        let first = (lines.first?.prefix(1).lowercased() ?? "") + (lines.first?.dropFirst() ?? "")
        return Report(
            first.hasSuffix(".") ? String(first.dropLast()) : first, details: Array(lines.dropFirst()),
            hint: "`\(command) --help` shows what can be given")
    }

    /// The command that the arguments begin with, and how it is written: `berth containers rm`.
    private static func named(_ arguments: [String]) -> (name: String, command: any ParsableCommand.Type)? {
        var name = "berth"
        var command: any ParsableCommand.Type = Berth.self
        for word in arguments {
            let next = command.configuration.subcommands.first {
                $0.configuration.commandName == word || $0.configuration.aliases.contains(word)
            }
            guard let next else { break }
            command = next
            name += " " + (next.configuration.commandName ?? word)
        }
        return command == Berth.self ? nil : (name, command)
    }

    private static func unknownOption(_ text: String, _ command: String, _ known: [String]) -> Report {
        let option = String(text.prefix { $0 != "=" })
        let help = "`\(command) --help` lists the options"
        var hint = help
        if let near = nearest(to: option, among: known) {
            hint = "did you mean \(near)? " + help
        } else if command != "berth", command != "berth run", RunOption.all.contains(where: { "--\($0.name)" == option }) {
            hint = "\(option) is an option of `berth run`. " + help
        }
        return Report("unknown option \"\(option)\" of `\(command)`", hint: hint)
    }

    /// The options of a command, as its help lists them, and those of the one that it stands for.
    private static func options(of command: any ParsableCommand.Type) -> [String] {
        let standard = command.configuration.defaultSubcommand.map { Berth.helpMessage(for: $0) } ?? ""
        let help = Berth.helpMessage(for: command) + standard
        return help.matches(of: #/(?:^|[\s,\[\/])(--?[A-Za-z][A-Za-z0-9-]*)/#).map { String($0.1) }
    }

    /// A long option that is a slip away; of one letter, the same in the other case.
    private static func nearest(to option: String, among known: [String]) -> String? {
        if option.hasPrefix("--") {
            let long = known.filter { $0.hasPrefix("--") }
            if let longer = long.first(where: { option.utf8.count > 3 && $0.hasPrefix(option) }) { return longer }
            return long.first {
                Report.editDistance(Array(option.utf8), Array($0.utf8)) <= (option.utf8.count > 6 ? 2 : 1)
            }
        }
        // `-quiet` for `--quiet`; `-Q` for `-q`.
        return known.first { $0 == "-" + option } ?? known.first { $0.lowercased() == option.lowercased() }
            ?? known.first { option.utf8.count == 2 && $0.hasPrefix("-" + option) }
    }

    private static func unknown(_ name: String) -> Report {
        let hint =
            switch name {
            case "login": "use `docker login` or `podman login`, whose files are read"
            case "build": "build it elsewhere; `berth commit` makes an image of a container's changes, `berth export` of a directory"
            case "push", "save": "`berth export IMAGE DESTINATION` writes an image out, changed ones too"
            case "tag": "`berth export IMAGE docker://REGISTRY/REPOSITORY:TAG` writes the image under another name"
            case "create", "start":
                "`berth run IMAGE` creates and starts a container; a container that does not run does not exist"
            case "top", "stats": "`berth ps` lists the containers with their processes, CPU and memory"
            case "info": "`berth doctor` checks this node, `berth config show` prints the settings"
            case "list", "ls": "`berth images` lists images, `berth ps` running containers"
            case "cp": "mount a directory instead: berth run -v SRC:DST IMAGE"
            case "search": "search on the registry's web site; `berth images` lists the images that are in the store"
            case "completion": "`berth --generate-completion-script bash` prints it, also for zsh and fish"
            case "load", "import": "`berth run docker-archive:FILE` and oci-archive:FILE need no loading"
            case "attach":
                "`berth exec CONTAINER COMMAND` starts a command in a running container, `berth shell CONTAINER` a shell"
            case "version": "`berth --version` shows it"
            case "stop", "kill", "rm", "logs":
                "a container is the processes in it: `berth ps` lists the containers, kill(1) or scancel(1) ends them"
            default:
                nearest(to: name).map { "did you mean `berth \($0)`? `berth --help` lists the commands" }
                    ?? "`berth --help` lists the commands; an image is started with `berth run \(name)`"
            }
        return Report("there is no command \"\(name)\"", hint: hint)
    }

    /// A verb that begins so, is a slip away, or two where it is long.
    private static func nearest(to name: String) -> String? {
        guard name.utf8.count > 1, name.utf8.count < 32 else { return nil }
        let verbs = Berth.configuration.subcommands.compactMap { $0.configuration.commandName }
        let plain = Array(name.lowercased().utf8)
        if plain.count > 2, let longer = verbs.first(where: { $0.utf8.starts(with: plain) }) { return longer }
        let slips = verbs.map { (verb: $0, count: Report.editDistance(plain, Array($0.utf8))) }
        return slips.filter { $0.count <= ($0.verb.utf8.count > 4 ? 2 : 1) }.min { $0.count < $1.count }?.verb
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

/// Work on several things, of which some may fail: each failure is reported at once, the others are done all the same.
struct Failures {
    private(set) var count = 0

    /// - Returns: `nil` where it failed.
    @discardableResult
    mutating func reporting<Value>(_ body: () throws -> Value) rethrows -> Value? {
        do { return try body() } catch let failure as Failure {
            Output.note(failure.report.text)
            count += 1
            return nil
        }
    }

    /// - Throws: `StatusOnly` where something failed.
    func end() throws { if count > 0 { throw StatusOnly() } }
}

/// The command failed, and its errors are reported already.
struct StatusOnly: Error {}

/// Calls something with an error type of its own, and makes its error a report.
func reporting<Value: ~Copyable, Cause: Error>(
    _ report: (Cause) -> Report, _ body: () throws(Cause) -> Value
) throws(Failure) -> Value {
    do throws(Cause) { return try body() } catch { throw Failure(report(error)) }
}
