internal import ArgumentParser
internal import Diagnostics
internal import FoundationEssentials
internal import LinuxKernel

/// `berth history`
struct HistoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "List, show and compare recorded runs.",
        discussion: """
            Runs are recorded with `record = yes` in berth.conf. RUN is an ID or the \
            beginning of one, JOB or JOB.STEP, or `last`. Without a subcommand, lists the runs.

            Examples:
              berth history --image pytorch --since 7d
              berth history show last
              berth history diff 4711.0 last
            """,
        subcommands: [List.self, Show.self, Diff.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List recorded runs, the newest first.", usage: "berth history [ls] [OPTIONS]",
            aliases: ["list"])

        @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Show at most this many runs.", valueName: "count"))
        var limit = 20

        @Option(help: ArgumentHelp("Only runs of images whose name contains this text.", valueName: "text"))
        var image: String?

        @Option(help: ArgumentHelp("Only runs of this job, or step.", valueName: "job[.step]"))
        var job: String?

        @Option(help: ArgumentHelp("Only runs whose command contains this text.", valueName: "text"))
        var command: String?

        @Option(help: ArgumentHelp("Only runs since then: 2026-11-30, or an age such as 12h or 7d.", valueName: "time"))
        var since: String?

        @Flag(help: "Print JSON: the records as they are.")
        var json = false

        @Flag(name: .shortAndLong, help: "Print IDs only.")
        var quiet = false

        func run() throws {
            let history = try RunHistory(try Settings())
            let start = try since.map(Self.start)
            var runs: [StoredRun] = []
            let ids = try history.ids()
            if ids.isEmpty, !json, !quiet {
                Output.note(RunHistory.nothing.text)
                return
            }
            for id in ids {
                if runs.count >= limit { break }
                if let start, id < start { break }
                let run: StoredRun
                do throws(Failure) { run = try history.run(id) } catch {
                    Output.note(error.report.text)
                    continue
                }
                if matches(run) { runs.append(run) }
            }
            if json {
                let texts = try runs.map { run in String(decoding: try history.text(of: run.id), as: UTF8.self).trimmingSuffix() }
                Printed.text("[" + texts.joined(separator: ",\n") + "]\n")
            } else if quiet {
                for run in runs { Printed.line(run.id) }
            } else {
                for line in Self.table(runs) { Printed.line(line) }
            }
        }

        private func matches(_ run: StoredRun) -> Bool {
            if let image, !run.image.name.contains(image) { return false }
            if let job, run.job?["id"] != job, run.step != job { return false }
            if let command, !run.command.joined(separator: " ").contains(command) { return false }
            return true
        }

        /// The ID with which runs of a moment begin.
        static func start(_ text: String) throws -> String {
            let digits = text.filter(\.isNumber)
            if text.count == 10, digits.count == 8, text.filter({ $0 == "-" }).count == 2 { return digits }
            let units: [Character: Int64] = ["m": 60, "h": 3600, "d": 86_400, "w": 604_800]
            guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()), (0...100_000).contains(count)
            else {
                throw Failure(
                    Report("--since does not take \"\(text)\"", hint: "write a date such as 2026-11-30, or an age such as 12h or 7d"))
            }
            let time = Clock.text(Clock.now.seconds - count * unit).filter(\.isNumber)
            return time.prefix(8) + "-" + time.suffix(6)
        }

        static func table(_ runs: [StoredRun]) -> [String] {
            var rows = [["ID", "TIME", "JOB", "GPUS", "IMAGE", "COMMAND"]]
            for run in runs {
                rows.append([
                    run.id, String(run.time.dropLast(4)).replacing("T", with: " "), run.step ?? "-",
                    run.devices?.gpus.map { "\($0.count)" } ?? "-", run.image.name, RunText.quoted(run.command),
                ])
            }
            return TextTable.lines(rows)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show a recorded run, and how it ended.",
            usage: "berth history show [OPTIONS] RUN",
            discussion: "How a step ended comes from Slurm's accounting, if sacct(1) is there.")

        @Argument(help: ArgumentHelp("The run.", valueName: "run"))
        var name: String

        @Flag(help: "Print the record as it is, in JSON.")
        var json = false

        func run() throws {
            let settings = try Settings()
            let history = try RunHistory(settings)
            let run = try history.find(name)
            if json {
                Printed.text(String(decoding: try history.text(of: run.id), as: UTF8.self))
                return
            }
            for part in RunText.parts(of: run) {
                for (index, line) in part.lines.enumerated() {
                    Printed.line((index == 0 ? part.name : "").padded(to: 12) + line)
                }
            }
            if let end = Accounting(settings.environment).end(of: run) { Printed.line("ended".padded(to: 12) + end) }
        }
    }

    struct Diff: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "diff", abstract: "Show what differs between two runs, the most telling first.",
            usage: "berth history diff RUN RUN", discussion: "Exits with 0 if nothing differs and with 1 otherwise, as diff(1) does.")

        @Argument(help: ArgumentHelp("The earlier run.", valueName: "run"))
        var first: String

        @Argument(help: ArgumentHelp("The later run.", valueName: "run"))
        var second: String

        func run() throws {
            let history = try RunHistory(try Settings())
            let (one, other) = (try history.find(first), try history.find(second))
            let differences = RunText.differences(one, other)
            for difference in differences {
                Printed.line(difference.name)
                for line in difference.lines { Printed.line("  " + line) }
            }
            if !differences.isEmpty { Processes.exit(1) }
        }
    }
}

extension String {
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }

    fileprivate func trimmingSuffix() -> String { last == "\n" ? String(dropLast()) : self }
}

/// How steps ended: sacct(1).
struct Accounting {
    private let environment: [String: String]

    init(_ environment: [String: String]) { self.environment = environment }

    func end(of run: StoredRun) -> String? {
        guard let step = run.step, let program = Replay.find("sacct", environment["PATH"]) else { return nil }
        let words = ["sacct", "-n", "-P", "-j", step, "-o", "JobID,State,ExitCode,Elapsed,MaxRSS,End"]
        guard
            let ended = try? Processes.run(  // no accounting here: nothing is said of the end
                program, arguments: words, environment: environment.map { "\($0)=\($1)" }, output: .captureBoth(limit: 65_536),
                deadline: Clock.monotonicNanoseconds + 10_000_000_000)
        else { return nil }
        let text = String(decoding: ended.output, as: UTF8.self)
        if text.lowercased().contains("accounting storage is disabled") { return "unknown: Slurm accounting is disabled" }
        guard ended.status == 0 else { return nil }
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 6, fields[0] == step else { continue }
            return "\(fields[1]), exit status \(fields[2]), after \(fields[3])"
                + (fields[4].isEmpty ? "" : ", \(fields[4]) of memory") + ", at \(fields[5])"
        }
        return nil
    }
}
