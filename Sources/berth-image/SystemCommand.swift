internal import ArgumentParser
internal import Diagnostics
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// `berth system`
struct SystemCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "system",
        abstract: "Show what the store takes on disk.",
        discussion: """
            Examples:
              berth system df
              berth system df --format json
            """,
        subcommands: [DiskUseCommand.self])
}

/// `berth system df`
struct DiskUseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df",
        abstract: "Show what images, containers and caches take on disk.",
        usage: "berth system df [OPTIONS]",
        discussion: """
            RECLAIMABLE is what `berth prune --all` and `berth containers prune --all` would free.

            FORMAT is table, json, or a template. Fields: \(DiskUseRow.fields.map(\.name).joined(separator: ", ")), \
            and json for all.
            """)

    @Option(help: ArgumentHelp("Print a table, JSON, or each row by a template.", valueName: "format"))
    var format: String?

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let template = try ListFormat<DiskUseRow>(
            format == "json" ? nil : format, columns: DiskUseRow.fields.map(\.name))
        var use = StoreUse()
        if let store = try settings.existingStore(storeOptions.store) {
            use = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in try store.use() }
        }
        var rows = [
            DiskUseRow(type: "Images", use.images), DiskUseRow(type: "Layers of no image", use.layers),
            DiskUseRow(type: "Containers", use.containers), DiskUseRow(type: "Squashfs files", use.files),
        ]
        if let cache = settings.configuration.blobCache {
            rows.append(DiskUseRow(type: "Blob cache", DiskUseRow.blobs(in: cache)))
        }
        Printed.text(format == "json" ? try JSONText.of(rows.map(DiskUseRow.Entry.init)) : try template.text(rows))
    }
}

struct DiskUseRow: ListRow {
    static let fields: [(name: String, heading: String)] = [
        ("Type", "TYPE"), ("Total", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE"), ("Reclaimable", "RECLAIMABLE"),
    ]

    let type: String
    /// `nil` where this user may not look.
    let use: DiskUse?

    init(type: String, _ use: DiskUse?) { (self.type, self.use) = (type, use) }

    subscript(name: String) -> String {
        guard name != "Type" else { return type }
        guard let use else { return "-" }
        switch name {
        case "Total": return "\(use.total)"
        case "Active": return "\(use.active)"
        case "Size": return Quantity.bytes(Int64(clamping: use.bytes))
        default:
            let text = Quantity.bytes(Int64(clamping: use.reclaimable))
            return use.bytes == 0 ? text : text + " (\(Int(Double(use.reclaimable) / Double(use.bytes) * 100))%)"
        }
    }

    /// Users who know a blob's digest may open it; its owner alone may list all. Everything in it can be downloaded again.
    static func blobs(in cache: String) -> DiskUse? {
        var use = DiskUse()
        for part in ["blobs", "partial"] {
            guard let directory = try? OwnedFileDescriptor(opening: cache + "/" + part, .readOnly | .directory),  // closed
                let names = try? directory.entries()
            else { return nil }
            for name in names {
                guard let status = try? directory.status(of: name) else { continue }  // removed meanwhile
                use.total += 1
                use.bytes += UInt64(max(0, status.allocatedBytes))
            }
        }
        use.reclaimable = use.bytes
        return use
    }

    /// What `--format json` prints.
    struct Entry: Encodable {
        let type: String
        let total, active: Int?
        let size, reclaimable: UInt64?

        init(_ row: DiskUseRow) {
            type = row.type
            (total, active) = (row.use?.total, row.use?.active)
            (size, reclaimable) = (row.use?.bytes, row.use?.reclaimable)
        }
    }
}
