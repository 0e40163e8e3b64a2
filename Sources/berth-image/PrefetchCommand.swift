internal import ArgumentParser
internal import Diagnostics
internal import Distribution
internal import FoundationEssentials
internal import ImageDiagnostics
internal import ImagePull
internal import ImageSpec
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// `berth prefetch`: an image on every node of an allocation, for one download.
struct PrefetchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prefetch",
        abstract: "Bring an image into the store of every node of the allocation.",
        usage: "berth prefetch [OPTIONS] IMAGE",
        discussion: """
            Run it inside salloc or sbatch. The registry serves each layer once: through the site's blob cache, or \
            through this node, from which Slurm's sbcast distributes the layers.

            Prints REGISTRY/REPOSITORY@DIGEST when all nodes have the same image.

            Examples:
              salloc -N64 berth prefetch nvcr.io/nvidia/pytorch:25.09-py3
            """)

    @Argument(help: "The image, as for `berth pull`; all nodes must see a file or directory.")
    var image: String

    @Option(
        help: ArgumentHelp("Fetch the image for another platform, such as linux/arm64.", valueName: "os/arch[/variant]")
    )
    var platform: String?

    @Option(
        help: ArgumentHelp(
            "A directory on each node's own disk for layers in transit (TMPDIR, or /tmp).", valueName: "directory"),
        completion: .directory)
    var via: String?

    @Flag(name: .shortAndLong, help: "Suppress progress output.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func run() async throws {
        let settings = try Settings()
        let source = try settings.source(image)
        let platform = try settings.platform(platform)
        let allocation = try SlurmAllocation(settings.environment)
        // Of the nodes' own: what it names is looked for there.
        let pull =
            ["pull", "--quiet"] + (self.platform.map { ["--platform", $0] } ?? [])
            + (storeOptions.store.map { ["--store", $0] } ?? [])
        guard case .docker(let reference) = source, settings.configuration.blobCache == nil, allocation.nodes > 1 else {
            return try finish(
                try await guarded { () throws(Failure) in try allocation.pull(pull + [source.description]) })
        }
        let directory = via ?? settings.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp"
        guard directory.hasPrefix("/") else {
            throw Failure(Report("--via can not be \"\(directory)\"", hint: "it takes an absolute path"))
        }
        let mirrors = try settings.mirrors(of: source)
        let client = settings.registryClient()
        let name = image
        let told = !quiet
        let outcome = try await guarded { () throws(Failure) in
            let transfer = try BlobTransfer(allocation, below: directory)
            defer { transfer.remove() }
            let clock = ContinuousClock()
            var mark = clock.now
            func tell(_ text: String) {
                if told { Output.note(line: "\(text) in \(Quantity.seconds((clock.now - mark) / .seconds(1)))") }
                mark = clock.now
            }
            let layers: [Descriptor]
            do throws(PullError) {
                layers = try await transfer.fetch(reference, mirrors, client, platform) { error in
                    if told { Output.note(line: Settings.passedOver(error)) }
                }
            } catch {
                throw Failure(Report(error, source: source))
            }
            let bytes = layers.reduce(0) { $0 + $1.size }
            tell("\(name): \(layers.count) layers, \(Quantity.bytes(bytes)) downloaded")
            try transfer.send(layers)
            tell("distributed to \(allocation.nodes) nodes")
            let pulled = try allocation.pull(
                pull + ["--blob-cache", transfer.target, name], thenRemoving: transfer.target)
            tell("unpacked on \(allocation.nodes) nodes")
            return pulled
        }
        await client.shutdown()
        try finish(outcome)
    }

    /// An interrupted transfer has files on every node to remove.
    private func guarded(
        _ body: @escaping @Sendable () async throws(Failure) -> [String]
    ) async throws -> [String] {
        let outcome = await Interruption.guarding { () -> Result<[String], Failure> in
            do throws(Failure) { return .success(try await body()) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    private func finish(_ names: [String]) throws {
        guard let name = names.first else { return }
        guard Set(names).count == 1 else {
            throw Failure(
                Report(
                    "the nodes have different images of the name \(image)", details: Array(Set(names)).sorted(),
                    hint: "the tag moved meanwhile, or nodes of two architectures are in the allocation: name a digest")
            )
        }
        Printed.line(name)
    }
}
