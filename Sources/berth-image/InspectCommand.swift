internal import ArgumentParser
internal import Diagnostics
internal import Distribution
internal import FoundationEssentials
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// `berth inspect`
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Print what the store knows about an image, as JSON.",
        usage: "berth inspect [OPTIONS] IMAGE",
        discussion: """
            Examples:
              berth inspect debian:12
            """)

    @Argument(help: "The image, as it was pulled.", completion: .shellCommand(BashCompletion.images))
    var image: String

    @Option(help: ArgumentHelp("Inspect the image for another platform.", valueName: "os/arch[/variant]"))
    var platform: String?

    @OptionGroup var storeOptions: StoreOptions

    private struct Answer: Encodable {
        let names: [String]
        let digest: String
        let platform: String
        let size: UInt64
        let entries: UInt64
        let created: Int64
        let trees: [String]
        let overlay: Bool
        let compositionReason: String?
        let manifest: Manifest
        let config: ImageConfig
    }

    func run() throws {
        let settings = try Settings()
        let path = try settings.storePath(storeOptions.store)
        let source = try settings.source(image)
        let platform = try settings.platform(platform)
        let stores = try settings.existingStores(storeOptions.store)
        let answer = try reporting({ Report($0) }) { () throws(StoreError) in
            try Self.find(source, platform, stores)
        }
        guard let (store, image, documents) = answer else { throw Failure(.notInStore(self.image, path)) }
        let record = image.record
        let (manifest, config): (Manifest, ImageConfig)
        do throws(DocumentFault) {
            manifest = try Documents.decode(Manifest.self, from: documents.manifest, as: .manifest)
            config = try Documents.decode(ImageConfig.self, from: documents.config, as: .config)
        } catch {
            throw Failure(Report(StoreError.damaged(path: path, reason: "cannot read the image's documents: \(error)")))
        }
        Printed.text(
            try JSONText.of(
                Answer(
                    names: image.names, digest: record.digest.description, platform: record.platform.description,
                    size: record.size, entries: record.entries, created: record.created,
                    trees: record.trees.map { $0.hasPrefix("/") ? $0 : "\(store.path)/\($0)" }, overlay: record.overlay,
                    compositionReason: record.compositionReason.isEmpty ? nil : record.compositionReason,
                    manifest: manifest, config: config)))
    }

    private static func find(
        _ source: ImageSource, _ platform: Platform, _ stores: [ImageStore]
    ) throws(StoreError) -> (ImageStore, StoredImage, (manifest: [UInt8], config: [UInt8]))? {
        let key = try ImageKey(source, platform: platform)
        for naming in stores {
            guard let digest = try naming.digest(of: key) else { continue }
            for store in [naming] + stores.filter({ $0.path != naming.path }) {
                if let image = try store.image(digest), let documents = try store.documents(of: digest) {
                    return (store, image, documents)
                }
            }
        }
        return nil
    }
}

extension Report {
    static func notInStore(_ name: String, _ path: String) -> Report {
        Report(
            "the image \(name) is not in the store \(path)",
            hint: "`berth images` lists what is there; `berth pull \(name)` brings it")
    }

    /// Nothing to remove.
    static func notInStore(toRemove name: String, _ path: String, isUnpacked: Bool = false) -> Report {
        Report(
            "the image \(name) is not in the store \(path)",
            hint: isUnpacked
                ? "`berth prune --all` removes unpacked squashfs files" : "`berth images` lists the images in this store")
    }
}
