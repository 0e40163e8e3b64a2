internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

/// What experiment files ask for, as `berth-image file words` reads them: TOML is not the launcher's to read.
struct ExperimentFile {
    /// Of `berth run`.
    private var options: [String] = []
    private var mounts: [MountRequest] = []
    private(set) var image: String?
    private var command: [String] = []
    /// `entrypoint`: whether the image's runs, where the file says so.
    private(set) var usesEntrypoint: Bool?

    /// - Parameter environment: In which the file's references to variables are resolved.
    init(_ names: [String], workingDirectory: String, environment: [String]) throws(Failure) {
        let words = try ImageTool.compile(["file", "words", "--"] + names, environment: environment)
        for word in words.split(separator: 0) {
            let value = RawText.string(word.dropFirst())
            switch word[word.startIndex] {
            case UInt8(ascii: "O"): options.append(value)
            case UInt8(ascii: "M"):
                mounts += try mapError(to: Failure.options) { () throws(OptionError) in
                    try MountRequest.list(pyxis: value, workingDirectory: workingDirectory)
                }
            case UInt8(ascii: "I"): image = value
            case UInt8(ascii: "C"): command.append(value)
            case UInt8(ascii: "E"): usesEntrypoint = value == "yes"
            default: throw .report(Report("berth and berth-image are of different versions", hint: "install both from one build"))
            }
        }
    }

    /// The options of the files, then those of a command line, which win. `words` are all of them for the record.
    ///
    /// - Parameters:
    ///   - written: The command line as it was parsed.
    ///   - arguments: The same, as it was written.
    ///   - hasCommand: Whether what stands behind the options is the command, if the file has an image.
    func merged(
        with written: LaunchOptions, _ arguments: [String], workingDirectory: String, hasCommand: Bool
    ) throws(OptionError) -> (options: LaunchOptions, words: [String]) {
        let own = written.ownWords(of: arguments)
        var fromFile = options.filter { word in !own.contains { Self.opposites[word] == $0 } }
        if hasCommand, usesEntrypoint == false, written.entrypoint == nil { fromFile += ["--entrypoint", ""] }
        let isCommand = hasCommand && image != nil
        let chosen = isCommand || written.image.isEmpty ? image ?? "" : written.image
        var rest = isCommand ? written.operands : written.command
        if rest.isEmpty { rest = command }
        let words = fromFile + own
        var merged = try LaunchOptions(
            parsing: words + (chosen.isEmpty ? [] : ["--", chosen, "--"] + rest), workingDirectory: workingDirectory,
            needsImage: hasCommand)
        merged.mounts.insert(contentsOf: mounts, at: 0)
        return (merged, mounts.flatMap(\.words) + words)
    }

    /// An option of the command line that takes one of the file's back.
    private static let opposites = [
        "--root": "--no-root", "--no-root": "--root", "--home": "--no-home", "--no-home": "--home",
    ]
}
