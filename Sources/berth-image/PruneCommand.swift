internal import ArgumentParser
internal import Diagnostics
internal import Layers
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// `berth prune`
struct PruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Remove what no image in the store needs.",
        usage: "berth prune [OPTIONS]",
        discussion: """
            Removes images without a name, layers of no image, and unpacked squashfs files whose file is gone or has \
            changed. Images in use are kept.

            Examples:
              berth prune --dry-run
              berth prune --all --filter until=720h
              berth prune --keep-storage 200g
            """)

    @Flag(name: .shortAndLong, help: "Also remove images with a name that are not in use.")
    var all = false

    @Option(
        help: ArgumentHelp("Remove only images that were not used for this long: until=720h.", valueName: "until=time"))
    var filter: [String] = []

    @Option(
        help: ArgumentHelp(
            "Remove the least recently used images until the rest is no larger: 200g.", valueName: "bytes"))
    var keepStorage: String?

    @Flag(name: .shortAndLong, help: "Also remove images in use; their containers lose their files.")
    var force = false

    @Flag(help: "Print everything that would be removed, and remove nothing.")
    var dryRun = false

    @Flag(help: "Prune the site's store instead of your own.")
    var system = false

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let rules = try rules(settings.configuration)
        var path = storeOptions.store
        if system {
            guard let place = settings.configuration.systemStore else {
                throw Failure(Report("no system store is named", hint: "write system-store = … into berth.conf"))
            }
            path = place.path
            try Settings.checkOwner(ofSystemStore: place.path)
        }
        guard let store = try settings.existingStore(path) else {
            Printed.line("nothing to remove")
            return
        }
        var items: [CollectedItem] = []
        let collected = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
            try store.collect(rules, removing: TreeRemoval.remove, item: dryRun ? { items.append($0) } : nil)
        }
        for item in items { Printed.line("would remove " + Self.text(item)) }
        let files = collected.files > 0 ? ", \(collected.files) unpacked squashfs files" : ""
        Printed.line(
            "\(dryRun ? "would remove" : "removed") \(collected.images) images\(files) and "
                + "\(collected.layers + collected.rootfs) layers, \(Quantity.bytes(Int64(clamping: collected.bytes)))")
        if collected.inUse > 0 {
            Printed.line("\(collected.inUse) images are in use and stay until they are not")
            try sayWhoUses(store)
        }
    }

    static func text(_ item: CollectedItem) -> String {
        let place = String(item.place.drop { $0 != "/" }.dropFirst())
        let size = Quantity.bytes(Int64(clamping: item.bytes))
        switch item.kind {
        case .image:
            let digest = place.replacing("-", with: ":", maxReplacements: 1)
            return "image " + (item.names.isEmpty ? digest : "\(item.names.joined(separator: ", ")) (\(digest))")
        case .layer: return "layer \(place.replacing("-", with: ":", maxReplacements: 1)), \(size)"
        case .file: return "unpacked file \(item.names.first ?? place), \(size)"
        case .draft: return "unfinished \(place)"
        }
    }

    /// As far as it can be seen: other users' processes by root only, those of other nodes not at all.
    private func sayWhoUses(_ store: ImageStore) throws {
        let inUse = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in try store.inUse() }
        for (name, lease) in inUse.prefix(10) {
            for holder in FileHolder.all(of: lease.descriptor).prefix(3) {
                let job = holder.job.map { ", job \($0)" } ?? ""
                Printed.line(
                    "  \(name): process \(holder.processID) of uid \(holder.userID) (\(holder.command))\(job)")
            }
        }
    }

    /// The configuration's rules hold where the command line says nothing of the kind.
    func rules(_ configuration: SiteConfiguration) throws(Failure) -> CollectionRules {
        var rules = CollectionRules()
        rules.includesNamed = all
        rules.dryRun = dryRun
        rules.ignoresLeases = force
        rules.keepBytes = configuration.keepStorage
        var age = configuration.pruneUntil
        // What the site lets grow old goes by itself; on the command line, as in Docker, only with --all.
        if age != nil, filter.isEmpty, keepStorage == nil { rules.includesNamed = true }
        if let keepStorage {
            guard let bytes = SiteConfiguration.bytes(keepStorage) else {
                throw Failure(
                    Report(
                        "--keep-storage \(keepStorage) is no size", hint: "a number of bytes, with k, m, g or t: 200g"))
            }
            rules.keepBytes = UInt64(bytes)
            age = nil
        }
        for text in filter {
            guard text.hasPrefix("until="), let seconds = SiteConfiguration.seconds(String(text.dropFirst(6))) else {
                throw Failure(
                    Report(
                        "--filter \(text) is not known", hint: "until=TIME, with s, m, h, d or w: --filter until=720h"))
            }
            age = seconds
        }
        if let age { rules.unusedSince = Clock.now.seconds - age }
        return rules
    }
}
