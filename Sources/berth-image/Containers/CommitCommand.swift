internal import ArgumentParser
internal import Diagnostics
internal import FoundationEssentials
internal import ImageDiagnostics
internal import ImageExport
internal import ImageSpec
internal import LinuxKernel

/// `berth commit`: the launcher finds the container and opens its files, then `berth export` writes the image.
struct CommitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit",
        abstract: "Write a container's changes and its image as a new image.",
        usage: "berth commit [OPTIONS] CONTAINER DESTINATION",
        discussion: """
            CONTAINER is JOB, JOB.STEP, a name, a process ID, or a named container that does not run. The new image has \
            the layers of the container's image, and one with the changes. What is mounted inside is left out.

            Examples:
              berth commit tools oci:images:tools
              berth commit 4711 docker://registry.example.com/me/train:8
            """)

    @Argument(
        help: "The container.", completion: .shellCommand("berth ps --format '{{.Container}}' 2>/dev/null"))
    var container: String

    @Argument(help: "oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker://REGISTRY/REPOSITORY[:TAG].")
    var destination: String

    @Option(name: .shortAndLong, help: ArgumentHelp("A comment for the image's history.", valueName: "text"))
    var message: String?

    @Option(
        help: ArgumentHelp("Compression of layers: gzip (the default), zstd or none.", valueName: "how"),
        completion: .list(ExportCompression.allCases.map(\.rawValue)))
    var compression = "gzip"

    @Flag(name: .shortAndLong, help: "Print the name only.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func validate() throws {
        if ExportCompression(rawValue: compression) == nil {
            throw ValidationError("--compression takes gzip, zstd or none, not '\(compression)'")
        }
    }

    func run() throws {
        // Before the container is looked for.
        _ = try ExportCommand.place(destination, try Settings())
        var words = ["export", "--compression", compression, "--message", message ?? "berth commit"]
        if quiet { words.append("--quiet") }
        try Self.open(container, storeOptions.store, words, destination: destination)
    }

    /// Becomes the launcher, which becomes this program again with the words and what it has found. In this program's user
    /// namespace, in which it reads the user's files of mode 000, the kernel would not open a container's root directory.
    static func open(
        _ container: String, _ store: String?, _ words: [String], destination: String? = nil
    ) throws -> Never {
        let program = try reporting({ Report($0) }) { () throws(SystemError) in try Launcher.path() }
        var all = ["berth", "container-changes", "--container=" + container]
        if let store { all.append("--store=" + store) }
        if let destination { all.append("--to=" + destination) }
        let error = Processes.execute(program, arguments: all + ["--"] + words, environment: Processes.environment())
        throw Failure(
            Report("cannot start \(program): \(error.sentence)", hint: "install all of Berth below one PREFIX"))
    }
}

/// `berth diff`
struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "List what a container has changed in its image's files.",
        usage: "berth diff [OPTIONS] CONTAINER",
        discussion: """
            CONTAINER is as for `berth commit`. A line for each file and directory: A is added, C changed, D deleted. \
            What is mounted inside is left out. `berth history diff` compares two runs.

            Examples:
              berth diff tools
              berth diff 4711.0
            """)

    @Argument(
        help: "The container.", completion: .shellCommand("berth ps --format '{{.Container}}' 2>/dev/null"))
    var container: String

    // From the launcher; then the argument is the image's name.
    @Option(help: ArgumentHelp("The container's upper directory.", visibility: .hidden))
    var upper: String?

    @Option(help: ArgumentHelp("The container's root directory.", visibility: .hidden))
    var merged: String?

    @Option(help: ArgumentHelp("The image's digest.", visibility: .hidden))
    var digest: String?

    @OptionGroup var storeOptions: StoreOptions

    /// Whether the words are the launcher's.
    static func isPrepared(_ arguments: [String]) -> Bool {
        arguments.contains("--upper") || arguments.contains("--merged")
    }

    func run() throws {
        guard let changes = merged.map({ ContainerChanges.merged($0) }) ?? upper.map({ .upper($0) }) else {
            try CommitCommand.open(container, storeOptions.store, ["diff"])
        }
        let settings = try Settings()
        let image: ImageExporter.Image
        if let digest {
            image = try .ofContainer(container, digest: digest, settings, storeOptions.store)
        } else {
            guard case .directory(let path) = try settings.source(container) else {
                throw Failure(.notInStore(container, try settings.storePath(storeOptions.store)))
            }
            image = ImageExporter.Image(directory: path, platform: .host)
        }
        let found = try reporting({ Report($0, image: container, destination: "") }) { () throws(ExportError) in
            try changes.list(over: image)
        }
        for change in found {
            Printed.line(change.kind.rawValue + " /" + TerminalText.escaped(RawText.string(change.path[...])))
        }
    }
}
