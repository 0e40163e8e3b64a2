internal import ArgumentParser
internal import CLinux
internal import Diagnostics
internal import LinuxKernel

/// The rich program's verbs, and the help of all of them. Called by `berth`, under its name.
struct Berth: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth",
        abstract: "Run container images on GPU clusters.",
        discussion: """
            The command replaces the launcher: its exit status, signals and output are its own.

            Examples:
              berth run debian:12 -- cat /etc/os-release
              srun -n8 berth run registry.example.com/team/train:7 -- python3 train.py
            """,
        version: "berth \(Version.text)" + (Version.commit.map { " (\($0))" } ?? ""),
        subcommands: [
            RunCommand.self, ExecHelp.self, ShellHelp.self, PsCommand.self, DiffCommand.self, CommitCommand.self,
            PullCommand.self, ImagesCommand.self, InspectCommand.self, ExportCommand.self, RemoveCommand.self,
            PruneCommand.self, SystemCommand.self, ContainersCommand.self, HistoryCommand.self, ReplayCommand.self,
            FileCommand.self, LockCommand.self, PrefetchCommand.self, CDICommand.self, ConfigCommand.self,
            SeccompCommand.self, DoctorCommand.self, ConfineHelp.self,
        ])
}

/// Synchronous: some things can only be done before there is a second thread, and most verbs need none.
@main enum Entry {
    static func main() {
        Streams.complete()
        StartingState.establish()
        if let files = StartingState.openFilesBelow(64) {
            CommandLineRun.fail(
                Report(
                    "the limit on open files is \(files), which is too small to start with",
                    hint: "raise it: ulimit -n 1024"))
        }
        Memory.giveBackWhatIsLarge()
        let arguments = Array(CommandLine.arguments.dropFirst())
        OwnFiles.prepare(arguments)
        CommandLineRun.main(arguments)
    }
}

extension Version {
    /// `nil` unless Scripts/build has written it into the program.
    static var commit: String? {
        let text = String(cString: berth_commit())
        return text.isEmpty ? nil : text
    }
}
