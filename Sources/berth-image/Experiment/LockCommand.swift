internal import ArgumentParser
internal import Diagnostics
internal import ExperimentFiles
internal import ImageDiagnostics
internal import ImageSpec
internal import LinuxKernel

/// `berth lock`
struct LockCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock",
        abstract: "Write an experiment file whose image is named by its digest.",
        usage: "berth lock [OPTIONS] FILE",
        discussion: """
            Pulls the image, and writes FILE with all bases merged to FILE.lock.toml. A run with the lock uses exactly this \
            image, wherever the tag points by then.

            Examples:
              berth lock train.toml
              srun berth run --file train.lock.toml
            """)

    @Argument(
        help: ArgumentHelp("The experiment file.", valueName: "file"), completion: .file(extensions: ["toml"]))
    var file: String

    @Option(
        name: .shortAndLong, help: ArgumentHelp("Write the lock there.", valueName: "path"),
        completion: .file(extensions: ["toml"]))
    var output: String?

    @Flag(name: .shortAndLong, help: "Suppress progress output.")
    var quiet = false

    func run() throws {
        let context = ExperimentContext()
        let (locked, image) = try reporting({ Report($0) }) { () throws(ExperimentFileError) in
            let read = try ExperimentFile(
                [file], environment: context.variable, workingDirectory: context.workingDirectory)
            let words = try read.words(environment: context.variable, workingDirectory: context.workingDirectory)
            return (read, words.image)
        }
        guard let image else {
            throw Failure(Report("\(file) names no image to lock", hint: "add image = \"REGISTRY/NAME:TAG\" to it"))
        }
        var source: ImageSource?
        if !image.hasPrefix("/"), !image.hasPrefix(".") {
            source = try reporting({ Report($0) }) { () throws(ImageSourceError) in try ImageSource(parsing: image) }
        }
        guard case .docker(let reference)? = source else {
            throw Failure(
                Report(
                    "the image of \(file) cannot be locked: \(image) is a file or directory, which has no digest",
                    hint: "push it to a registry with `berth export`, and name it there"))
        }
        let pinned = try pull(image)
        let digest = String(pinned.drop { $0 != "@" }.dropFirst())
        var lock = locked
        lock.set("image", .string(pinned))
        lock.set("lock", .table(["image": .string(reference.description), "digest": .string(digest)]))
        let path = output ?? Self.lockName(of: locked.files.last ?? file)
        let text = TOMLValue.text(lock.values, order: ExperimentKey.all.map(\.name))
        try reporting({ (error: SystemError) in
            Report("cannot write the lock \(path): \(error.sentence)", hint: "write it elsewhere with --output PATH")
        }) { () throws(SystemError) in try write(text, to: path) }
        if !quiet { Output.note(line: "\(path): \(pinned)") }
    }

    /// `berth-image pull`: its progress and its errors are on standard error.
    private func pull(_ image: String) throws(Failure) -> String {
        let ended = try reporting({ Report($0) }) { () throws(SystemError) in
            try Processes.run(
                try Processes.ownPath(), arguments: ["berth", "pull"] + (quiet ? ["--quiet"] : []) + ["--", image],
                environment: Processes.environment(), output: .capture(limit: 65536))
        }
        guard ended.status == 0 else {
            throw Failure(Report("\(file) is not locked: its image was not pulled", hint: "see the error above"))
        }
        return String(decoding: ended.output.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// By rename: a lock is whole or absent.
    private func write(_ text: String, to path: String) throws(SystemError) {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let directory = try OwnedFileDescriptor(
            opening: path.contains("/") ? String(path.dropLast(name.utf8.count)) : ".", .readOnly | .directory)
        let draft = ".\(name).\(Processes.ownID)"
        do throws(SystemError) {
            try directory.open(draft, .writeOnly | .create | .exclusive, mode: 0o666).writeAll(Array(text.utf8))
            try directory.move(draft, to: name, in: directory)
        } catch {
            try? directory.removeFile(draft)  // the error counts
            throw error
        }
    }

    private static func lockName(of path: String) -> String {
        (path.hasSuffix(".toml") ? String(path.dropLast(5)) : path) + ".lock.toml"
    }
}
