internal import ArgumentParser
internal import Diagnostics
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// `berth images`
struct ImagesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "List the images in the store.",
        usage: "berth images [OPTIONS]",
        discussion: """
            FORMAT is table, json, or a template such as '{{.Image}} {{.Size}}', with \\t and \\n, \
            optionally behind `table `. Fields: \(ImageRow.fields.map(\.name).joined(separator: ", ")), and json for all.

            FILTER is reference=PATTERN, dangling=true or false, before=IMAGE or since=IMAGE.

            With --json, sizes are in bytes and times in seconds since 1970.

            Examples:
              berth images
              berth images --wide --sort unique
              berth images --filter 'reference=*/pytorch' --format '{{.Image}}\\t{{.Used}}'
            """)

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print names only.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Show shared and unique sizes and the last use as well.")
    var wide = false

    @Option(help: ArgumentHelp("Print a table, JSON, or each name by a template.", valueName: "format"))
    var format: String?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Show only these images: reference=*/pytorch, dangling=true.", valueName: "filter"))
    var filter: [String] = []

    @Option(help: ArgumentHelp("Sort by name, pulled, used, size, shared or unique.", valueName: "key"))
    var sort = ImageRow.Order.pulled

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let format = json ? "json" : format
        var columns = ["Image", "ID", "Platform", "Files", "Size"]
        if wide { columns += ["SharedSize", "UniqueSize", "Used"] }
        let template = try ListFormat<ImageRow>(format == "json" ? nil : format, columns: columns + ["Pulled"])
        let isSized = format == "json" || sort.isOfSizes || template.uses(["SharedSize", "UniqueSize"])
        let stores = try settings.existingStores(storeOptions.store)
        var images = try reporting({ Report($0) }) { () throws(StoreError) in
            var found: [ImageRow] = []
            for store in stores {
                let images = try store.images()
                let sizes = isSized ? try store.sizes(of: images) : [:]
                found += images.map { ImageRow($0, sizes[$0.record.digest], store: store.path, now: Clock.now.seconds) }
            }
            return found
        }
        images = try ImageFilter(filter, among: images).apply(to: images)
        sort.apply(to: &images)
        if quiet {
            for image in images { Printed.line(image.names.first ?? image.image.record.digest.description) }
        } else if format == "json" {
            Printed.text(try JSONText.of(images.map(ImageRow.Entry.init)))
        } else {
            var rows = images.flatMap(\.ofEachName)
            sort.apply(to: &rows)
            Printed.text(try template.text(rows))
            // By their paths, as they are run; everything else is about images alone.
            if format == nil, filter.isEmpty { try list(filesOf: stores) }
        }
    }

    /// Squashfs files that are unpacked in the store.
    private func list(filesOf stores: [ImageStore]) throws {
        let files = try reporting({ Report($0) }) { () throws(StoreError) in
            var files: [UnpackedFileInfo] = []
            for store in stores { files += try store.unpackedFiles() }
            return files
        }
        if files.isEmpty { return }
        for line in Self.table(files, now: Clock.now.seconds) { Printed.line(line) }
    }
}

extension ImagesCommand {
    static func table(_ files: [UnpackedFileInfo], now: Int64) -> [String] {
        let total = files.reduce(0) { $0 + $1.bytes }
        let rows = files.sorted { $0.lastUse > $1.lastUse }.map { file in
            [
                file.source.isEmpty ? file.place : file.source, Quantity.bytes(Int64(clamping: file.bytes)),
                "used \(Quantity.age(seconds: max(0, now - file.lastUse))) ago"
                    + (file.isCurrent ? "" : "  (the file is gone or has changed)"),
            ]
        }
        return ["", "\(files.count) unpacked squashfs files, \(Quantity.bytes(Int64(clamping: total)))"]
            + TextTable.lines(rows)
    }
}
