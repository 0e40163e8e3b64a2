internal import ArgumentParser
internal import Diagnostics
internal import Distribution
internal import FoundationEssentials
internal import ImageDiagnostics
internal import ImageExport
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// `berth export`: writes images, as `--container-save` does too.
struct ExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write an image of the store to a layout, an archive or a registry.",
        usage: "berth export [OPTIONS] IMAGE DESTINATION",
        discussion: """
            Prints the name of exactly this content. Existing images and files are not replaced or removed: a layout \
            gets one more image, and an archive must not exist. A failed or interrupted export leaves nothing behind.

            Credentials are those of docker login, podman login and Enroot's .credentials.

            Examples:
              berth export debian:12 oci-archive:debian.tar
              berth export train:7 docker://registry.example.com/me/train:7
            """)

    @Argument(
        help: "The image, as it was pulled, or dir:PATH for a root file system.",
        completion: .shellCommand(BashCompletion.images))
    var image: String

    @Argument(help: "oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker://REGISTRY/REPOSITORY[:TAG].")
    var destination: String

    @Option(
        help: ArgumentHelp("Add this overlayfs upper directory as the topmost layer.", valueName: "directory"),
        completion: .directory)
    var upper: String?

    @Option(
        help: ArgumentHelp(
            "Replace the image's files by this root file system, in one layer.",
            valueName: "directory"),
        completion: .directory)
    var root: String?

    @Option(
        help: ArgumentHelp("Compression of layers: gzip, zstd or none.", valueName: "how"),
        completion: .list(ExportCompression.allCases.map(\.rawValue)))
    var compression = "gzip"

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("With --upper: a comment for the image's history.", valueName: "text"))
    var message: String?

    // Of `berth commit`.
    @Option(help: ArgumentHelp("The root directory of a running container of the image.", visibility: .hidden))
    var merged: String?

    @Option(help: ArgumentHelp("The image's digest, whatever its name stands for.", visibility: .hidden))
    var digest: String?

    @Option(help: ArgumentHelp("Export the image for another platform.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Flag(name: .shortAndLong, help: "Print the name only.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func validate() throws {
        if ExportCompression(rawValue: compression) == nil {
            throw ValidationError("--compression takes gzip, zstd or none, not '\(compression)'")
        }
        if message != nil, upper == nil, merged == nil {
            throw ValidationError("--message is for the layer of --upper")
        }
        if upper != nil, root != nil { throw ValidationError("--upper and --root exclude each other") }
    }

    func run() async throws {
        let settings = try Settings()
        let place = try Self.place(destination, settings)
        let exporter = ImageExporter(
            image: try found(settings),
            changes: try merged.map { .merged($0) } ?? upper.map { .upper(try settings.absolute($0)) },
            comment: message ?? "changes", compression: ExportCompression(rawValue: compression) ?? .gzip,
            preservingOwners: Identity.isRoot)
        let client = settings.registryClient()
        let staging = settings.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/var/tmp"
        let (name, began) = (destination, Clock.monotonicNanoseconds)
        let outcome = await Interruption.guarding { () -> Result<ImageExporter.Exported, ExportError> in
            let outcome: Result<ImageExporter.Exported, ExportError>
            do throws(ExportError) {
                outcome = .success(try await exporter.export(to: place, client: client, staging: staging))
            } catch {
                outcome = .failure(error)
            }
            if Task.isCancelled, case .failure = outcome {
                Output.note(line: "interrupted: \(name) was not written")
            }
            return outcome
        }
        let warnings = client.warnings
        await client.shutdown()
        switch outcome {
        case .failure(let error): throw Failure(Report(error, image: image, destination: destination))
        case .success(let exported):
            let seconds = Double(Clock.monotonicNanoseconds - began) / 1e9
            if !quiet {
                for warning in warnings { Output.note(line: "the registry says: \(warning)") }
                Output.note(line: summary(exported, seconds))
                for line in Self.left(exported.skipped) { Output.note(line: line) }
            }
            Printed.line(Self.pinnedName(place, exported.digest))
        }
    }

    /// Whether the destination says itself what it is.
    static func hasScheme(_ destination: String) -> Bool {
        destination.hasPrefix("docker://")
            || ImageSource.Scheme.allCases.contains { $0 != .docker && destination.hasPrefix($0.rawValue + ":") }
            // Those of other tools get an error of their own.
            || destination.utf8.indices.contains { destination.utf8[$0...].starts(with: "://".utf8) }
    }

    static func place(_ destination: String, _ settings: Settings) throws -> ExportDestination {
        // A mistyped path must not become a push to Docker Hub.
        guard hasScheme(destination) else { throw Failure(.destinationWithoutScheme(destination)) }
        guard let place = ExportDestination(try settings.source(destination)) else {
            throw Failure(.notADestination(destination))
        }
        return place
    }

    private func found(_ settings: Settings) throws -> ImageExporter.Image {
        if let digest {
            return try .ofContainer(image, digest: digest, settings, storeOptions.store)
        }
        let source = try settings.source(image)
        let platform = try settings.platform(platform)
        if case .directory(let path) = source {
            return ImageExporter.Image(directory: try root.map { try settings.absolute($0) } ?? path, platform: platform)
        }
        let missing = Failure(.notInStore(image, try settings.storePath(storeOptions.store)))
        let stores = try settings.existingStores(storeOptions.store)
        let held = try reporting({ Report($0) }) { () throws(StoreError) in
            try Self.find(ImageKey(source, platform: platform), stores)
        }
        guard let held else { throw missing }
        let origin: Reference? = if case .docker(let reference) = source { reference } else { nil }
        return ImageExporter.Image(held, origin: origin, root: try root.map { try settings.absolute($0) })
    }

    /// A name of one store may stand for an image of another.
    private static func find(
        _ key: ImageKey, _ stores: [ImageStore]
    ) throws(StoreError) -> ImageExporter.Held? {
        for naming in stores {
            guard let digest = try naming.digest(of: key) else { continue }
            for store in [naming] + stores.filter({ $0.path != naming.path }) {
                if let held = try ImageExporter.Held(digest, in: store) { return held }
            }
        }
        return nil
    }

    static func pinnedName(_ place: ExportDestination, _ digest: Digest) -> String {
        switch place {
        case .layout(let path, let tag): "oci:\(path):\(tag)@\(digest)"
        case .archive(let path, let tag): "oci-archive:\(path):\(tag)@\(digest)"
        case .registry(let reference): "\(reference.name)@\(digest)"
        }
    }

    private func summary(_ exported: ImageExporter.Exported, _ seconds: Double) -> String {
        var parts = ["\(exported.layers) layer\(exported.layers == 1 ? "" : "s")"]
        if exported.reusedLayers > 0 { parts.append("\(exported.reusedLayers) of them there already") }
        parts.append("\(Quantity.bytes(exported.writtenBytes)) written in \(Quantity.seconds(seconds))")
        return "\(destination): " + parts.joined(separator: ", ")
    }

    /// What is not in the image though it was in the directory.
    private static func left(_ skipped: Skipped) -> [String] {
        [
            (skipped.sockets, "sockets were left out"),
            (skipped.devices, "device nodes were left out"),
            (skipped.mounts, "things mounted over the image's own were left out"),
            (skipped.attributes, "extended attributes whose names no layer can hold were left out"),
        ].filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
    }
}

extension ImageExporter.Image {
    /// The very image that a container was made from.
    static func ofContainer(
        _ name: String, digest text: String, _ settings: Settings, _ store: String?
    ) throws -> ImageExporter.Image {
        let stores = try settings.existingStores(store)
        let held = try reporting({ Report($0) }) { () throws(StoreError) in
            guard let digest = try? Digest(parsing: text) else { return ImageExporter.Held?.none }  // of no image
            for store in stores { if let held = try ImageExporter.Held(digest, in: store) { return held } }
            return nil
        }
        guard let held else {
            throw Failure(
                Report(
                    "the image of this container, \(name), is no longer in the store", details: ["made from \(text)"],
                    hint: "pull it by this digest with `berth pull`"))
        }
        // Only a name that can be read as one.
        let origin: Reference? = if case .docker(let reference)? = try? settings.source(name) { reference } else { nil }
        return ImageExporter.Image(held, origin: origin, root: nil)
    }
}

extension Report {
    static func destinationWithoutScheme(_ name: String) -> Report {
        let isPath = name.hasPrefix("/") || name.hasPrefix("./") || name.hasPrefix("../") || name.hasSuffix(".tar")
        return Report(
            "cannot export to \"\(name)\": it does not name a kind of destination",
            hint: isPath
                ? "write oci-archive:\(name) for an archive, oci:\(name) for a layout in a directory"
                : "write docker://\(name) to push to a registry, oci:\(name) for a layout, oci-archive:\(name) for an archive"
        )
    }

    static func notADestination(_ name: String) -> Report {
        Report(
            "images are not written to \(name)",
            hint:
                "oci:DIR[:TAG] is a layout, oci-archive:FILE[:TAG] a tar of one, docker://REGISTRY/REPOSITORY:TAG a registry; "
                + "a digest cannot be chosen")
    }
}
