internal import Allocation
internal import ArgumentParser
internal import Diagnostics
internal import Distribution
internal import ImageDiagnostics
internal import ImagePull
internal import ImageSpec
internal import Layers
internal import LinuxKernel
internal import Store

/// `berth pull`: the one way by which images come into a store; the launcher spawns it, too.
struct PullCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull",
        abstract: "Bring an image into the store.",
        usage: "berth pull [OPTIONS] IMAGE",
        discussion: """
            Prints a name for `berth run`: REGISTRY/REPOSITORY@DIGEST, the name of exactly this content, or the layout or \
            archive. An image becomes visible after it is verified. Stored layers are not fetched again.

            Credentials are those of docker login, podman login and Enroot's .credentials.

            Examples:
              berth pull debian:12
              image=$(berth pull -q registry.example.com/team/train:7)
            """)

    @Argument(help: "The image: a name in a registry, or oci:, oci-archive: or docker-archive: with a path.")
    var image: String

    @Option(
        help: ArgumentHelp("Pull the image for another platform, such as linux/arm64.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Flag(name: .shortAndLong, help: "Suppress progress output.")
    var quiet = false

    @Flag(help: "Do nothing if the store has the image under this name.")
    var ifMissing = false

    @Flag(help: "Pull into the site's store, for all users; see system-store in berth.conf.")
    var system = false

    @Option(help: ArgumentHelp("The blob cache, instead of the site's.", visibility: .hidden))
    var blobCache: String?

    @Option(help: ArgumentHelp("End when the calling process with this PID ends.", visibility: .hidden))
    var endsWith: Int32?

    @OptionGroup var storeOptions: StoreOptions

    func endWithCaller() throws(Failure) {
        guard let endsWith else { return }
        try reporting({ Report($0) }) { () throws(SystemError) in try Processes.end(with: endsWith) }
    }

    func run() async throws {
        let settings = try Settings()
        let source = try settings.source(image)
        if case .directory = source {
            throw Failure(Report("\(image) needs no pull", hint: "run it: berth run \(image) -- COMMAND"))
        }
        let platform = try settings.platform(platform)
        let stores = try settings.stores(storeOptions.store, system: system)

        let client = settings.registryClient()
        let cache = settings.blobCache(blobCache) { Output.note($0.text) }
        let name = Self.node(settings.environment) + Self.displayName(source)
        let display = ProgressDisplay(
            name: name, style: ProgressDisplay.style(quiet: quiet, environment: settings.environment))
        let mirrors = try settings.mirrors(of: source)
        let origin = try reporting({ Report($0, source: source) }) { () throws(PullError) in
            try Self.origin(source, mirrors, client, cache) { error in display.note(Settings.passedOver(error)) }
        }
        display.start()
        var configured = ImagePuller(stores: stores, origin: origin, report: display.report)
        configured.unpacker.limits = settings.unpackLimits
        configured.unpacker.isReadableByAll = system
        configured.memoryLimit = CgroupMemory.limit
        let puller = configured
        let refresh = !ifMissing
        // All of it under the guard: an interrupted pull has drafts to remove and a display to clear.
        let outcome = await Interruption.guarding { () -> Result<PulledImage, PullError> in
            let outcome: Result<PulledImage, PullError>
            do throws(PullError) {
                outcome = .success(try await puller.pull(source, platform: platform, refresh: refresh))
            } catch {
                outcome = .failure(error)
            }
            display.stop()
            if Task.isCancelled { Output.note(line: "interrupted: \(name) was not pulled") }
            return outcome
        }
        let warnings = client.warnings
        let faults = await client.credentialFaults
        await origin.close()
        await client.shutdown()
        switch outcome {
        case .failure(let error): throw Failure(Report(error, source: source, store: stores.own.path))
        case .success(let pulled):
            if !quiet {
                for warning in warnings { Output.note(line: "the registry says: \(warning)") }
                for fault in faults { Output.note(line: Self.warning(of: fault)) }
                Output.note(line: Self.summary(pulled, name, display.seconds, refreshed: refresh))
            }
            Printed.line(Self.pinnedName(source, pulled))
        }
    }

    private static func origin(
        _ source: ImageSource, _ mirrors: [Reference], _ client: RegistryClient, _ cache: BlobCache?,
        _ passedOver: @escaping @Sendable (RegistryError) -> Void
    ) throws(PullError) -> any ImageOrigin {
        switch source {
        case .docker(let reference):
            RegistryOrigin(
                reference, mirrors: mirrors, client: client, cache: cache, passedOver: passedOver)
        case .ociLayout(let path, let tag): try LayoutOrigin(directory: path, tag: tag)
        case .ociArchive(let path, let tag): try LayoutOrigin(archive: path, tag: tag)
        case .dockerArchive(let path, let tag): try DockerArchiveOrigin(path, tag: tag)
        // Run as it is: there is nothing to bring anywhere.
        case .directory(let path): throw .local(.notAnImage("it is run as it is, and needs no pull"), path: path)
        }
    }

    /// One line: the image was pulled.
    static func warning(of fault: CredentialError) -> String {
        "warning: pulled without credentials: \(Report(fault).summary)"
    }

    /// `node3: ` in a step of several nodes, whose lines come together.
    static func node(_ environment: [String: String]) -> String {
        guard let count = environment["SLURM_STEP_NUM_NODES"].flatMap({ Int($0) }), count > 1,
            let node = environment["SLURMD_NODENAME"]
        else { return "" }
        return node + ": "
    }

    static func displayName(_ source: ImageSource) -> String {
        if case .docker(let reference) = source { reference.description } else { source.description }
    }

    /// What names this content and no other, or a layout or an archive as every command takes it.
    static func pinnedName(_ source: ImageSource, _ pulled: PulledImage) -> String {
        if case .docker(let reference) = source { return "\(reference.name)@\(pulled.digest)" }
        return source.description
    }

    private static func summary(_ pulled: PulledImage, _ name: String, _ seconds: Double, refreshed: Bool) -> String {
        if pulled.wasPresent { return name + (refreshed ? " is up to date" : " is in the store") }
        let unpacked = "\(Quantity.bytes(pulled.unpackedBytes)) unpacked"
        guard pulled.downloadedBytes > 0 else { return "\(name): all layers are in the store, \(unpacked)" }
        return "\(name): \(Quantity.bytes(pulled.downloadedBytes)) pulled, \(unpacked), in \(Quantity.seconds(seconds))"
    }
}
