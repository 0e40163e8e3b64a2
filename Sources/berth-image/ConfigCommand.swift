internal import ArgumentParser
internal import Diagnostics
internal import Doctor
internal import FoundationEssentials
internal import LinuxKernel
internal import SiteConfig

/// `berth config`
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Show the settings of berth.conf that apply here, and check files.",
        usage: "berth config show [KEY]\nberth config check [FILE]",
        discussion: """
            Examples:
              berth config show
              berth config show store
              berth config check /etc/berth/berth.conf
            """,
        subcommands: [ConfigShowCommand.self, ConfigCheckCommand.self],
        defaultSubcommand: ConfigShowCommand.self)
}

/// `berth config show [KEY]`
struct ConfigShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Print each setting that applies to you here, with its file and line.",
        usage: "berth config show [OPTIONS] [KEY]",
        discussion: """
            Examples:
              berth config show
              berth config show --quiet store
            """)

    @Argument(help: "Print this setting only.", completion: .list(SiteConfiguration.names))
    var key: String?

    @Flag(name: .shortAndLong, help: "Print values only.")
    var quiet = false

    @Flag(help: "Print JSON.")
    var json = false

    private struct Row: Encodable {
        let name: String
        let value: String
        /// File and line, a variable, or `default`.
        let place: String
    }

    func run() throws {
        let chosen = try key.map { (name) throws(Failure) in try Self.named(name) } ?? ConfigurationKey.all
        let settings = try Settings()
        let rows = try chosen.flatMap { try Self.rows($0, settings) }
        if json {
            Printed.text(try JSONText.of(rows))
        } else if quiet {
            for row in rows { Printed.line(row.value) }
        } else {
            let lines = TextTable.lines(rows.map { [$0.name, $0.value, $0.place] }, widest: 40)
            for line in lines { Printed.line(line) }
        }
    }

    private static func named(_ name: String) throws(Failure) -> [ConfigurationKey] {
        if let key = ConfigurationKey.all.first(where: { $0.name == name }) { return [key] }
        throw Failure(
            Report(
                "there is no setting \"\(name)\"",
                hint: Report.nearest(to: name, among: SiteConfiguration.names).map { "did you mean \($0)?" }
                    ?? "`berth config show` lists all settings"))
    }

    private static func rows(_ key: ConfigurationKey, _ settings: Settings) throws(Failure) -> [Row] {
        if key.name == "store" {
            let place =
                settings.environment["BERTH_STORE"].flatMap { $0.isEmpty ? nil : "BERTH_STORE" }
                ?? settings.configuration.effective(key).last?.place ?? "default"
            return [Row(name: key.name, value: try settings.storePath(nil), place: place)]
        }
        if key.name == "record-directory" {
            let path = settings.configuration.runRecords(
                environment: { settings.environment[$0] }, accountHome: settings.accountHome)
            let hasOwn = settings.environment["XDG_STATE_HOME"]?.hasPrefix("/") == true
            let place = settings.configuration.effective(key).last?.place ?? (hasOwn ? "XDG_STATE_HOME" : "default")
            return [Row(name: key.name, value: path ?? key.standard, place: place)]
        }
        let unresolved = settings.configuration.unresolved.compactMap { error -> Row? in
            guard case .unsetVariable(key.name, let variable) = error.reason else { return nil }
            return Row(name: key.name, value: "(\(variable) has no value here)", place: "\(error.file):\(error.line)")
        }
        let lines = settings.configuration.effective(key).map { Row(name: $0.name, value: $0.value, place: $0.place) }
        let all = key.repetition == .replaces && !unresolved.isEmpty ? unresolved : lines + unresolved
        return all.isEmpty ? [Row(name: key.name, value: key.standard, place: "default")] : all
    }
}

/// `berth config check [FILE]`
struct ConfigCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check every line of a file; without one, the files that apply to you here.",
        usage: "berth config check [FILE]",
        discussion: """
            Examples:
              berth config check ./berth.conf
              berth config check
            """)

    @Argument(help: "The file to check.", completion: .file(extensions: ["conf"]))
    var file: String?

    func run() throws {
        let reports: [Report]
        if let file {
            let (configuration, errors) = SiteConfiguration.check(file: file)
            reports = (errors + configuration.faults).sorted { $0.line < $1.line }.map { error in
                var report = Report(error)
                // The file of the command line, and not one that a variable names.
                if case .unreadable(let cause) = error.reason {
                    report.hint = cause.isAbsence ? "check the path" : Report.hint(for: cause)
                }
                return report
            }
        } else {
            reports = try Settings().configuration.faults.map { Report($0) }
        }
        guard reports.isEmpty else {
            for report in reports { Output.note(report.text) }
            throw StatusOnly()
        }
    }
}
