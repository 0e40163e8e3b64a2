internal import ArgumentParser
internal import Diagnostics
internal import ExperimentFiles
internal import FoundationEssentials
internal import ImageDiagnostics
internal import LinuxKernel

/// `berth file`
struct FileCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "file",
        abstract: "Check experiment files, and print what they come to.",
        usage: "berth file validate FILE...\nberth file render FILE...",
        discussion: """
            An experiment file is TOML: image, mounts, variables, devices and the command. CSCS' environment definition \
            files (EDF) are read as they are.

            Examples:
              berth file validate train.toml
              berth file render train.toml
              berth run --file train.toml -- python train.py --lr 0.1
            """,
        subcommands: [FileValidateCommand.self, FileRenderCommand.self, FileWordsCommand.self])
}

/// Names of files, and what to read them with.
struct ExperimentFileArguments: ParsableArguments {
    @Argument(
        help: ArgumentHelp("A path, or the name of a file in EDF_PATH or ~/.edf.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var files: [String]

    /// - Throws: `Failure`
    func read() throws -> (file: ExperimentFile, context: ExperimentContext) {
        let context = ExperimentContext()
        let file = try reporting({ Report($0) }) { () throws(ExperimentFileError) in
            try ExperimentFile(files, environment: context.variable, workingDirectory: context.workingDirectory)
        }
        return (file, context)
    }

    /// Prints a line for what has no effect.
    ///
    /// - Throws: `Failure`
    func words() throws -> ExperimentWords {
        let (file, context) = try read()
        let words = try reporting({ Report($0) }) { () throws(ExperimentFileError) in
            try file.words(environment: context.variable, workingDirectory: context.workingDirectory)
        }
        for note in words.notes { Output.note(line: note) }
        return words
    }
}

/// The caller's variables and directory, by which a file's references and relative paths are resolved.
struct ExperimentContext: Sendable {
    private let environment = ProcessInfo.processInfo.environment
    let workingDirectory = Processes.workingDirectory ?? ""

    func variable(_ name: String) -> String? { environment[name] }
}

/// `berth file validate FILE...`
struct FileValidateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Check experiment files with all their bases.",
        usage: "berth file validate FILE...",
        discussion: "Example: berth file validate train.toml")

    @OptionGroup var arguments: ExperimentFileArguments

    func run() throws {
        _ = try arguments.words()
    }
}

/// `berth file render FILE...`
struct FileRenderCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "render",
        abstract: "Print one file with all bases merged and references resolved.",
        usage: "berth file render FILE...",
        discussion: """
            References in [env] stay: the image's variables count there, too.

            Example: berth file render train.toml
            """)

    @OptionGroup var arguments: ExperimentFileArguments

    func run() throws {
        let (file, context) = try arguments.read()
        let values = try reporting({ Report($0) }) { () throws(ExperimentFileError) in
            try file.resolved(context.variable)
        }
        for line in TOMLValue.text(values, order: ExperimentKey.all.map(\.name)).split(
            separator: "\n", omittingEmptySubsequences: false
        ).dropLast() {
            Printed.line(String(line))
        }
    }
}

/// `berth file words -- FILE...`, for the launcher: NUL-terminated words, whose first letter says what they are.
struct FileWordsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "words", abstract: "Print options for the launcher.", shouldDisplay: false)

    @OptionGroup var arguments: ExperimentFileArguments

    func run() throws {
        let words = try arguments.words()
        var bytes: [UInt8] = []
        func add(_ letter: Character, _ word: String) { bytes += "\(letter)\(word)\0".utf8 }
        for word in words.options { add("O", word) }
        for mount in words.mounts { add("M", mount) }
        if let image = words.image { add("I", image) }
        for word in words.command { add("C", word) }
        if let usesEntrypoint = words.usesEntrypoint { add("E", usesEntrypoint ? "yes" : "no") }
        bytes.withUnsafeBytes { Printed.bytes($0) }
    }
}
