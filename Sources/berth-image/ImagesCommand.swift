internal import ArgumentParser
internal import Diagnostics
internal import Foundation
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// `berth images`
struct ImagesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "List the images in the store.",
        discussion: "With --json, sizes are in bytes and times in seconds since 1970.")

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print names only.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let stores = try settings.existingStores(storeOptions.store)
        let found = try reporting({ Report($0) }) { () throws(StoreError) in
            var found: [(ImageStore, StoredImage)] = []
            for store in stores { for image in try store.images() { found.append((store, image)) } }
            return found
        }
        let images = found.map(\.1)
        if json {
            Output.print(try JSONText.of(found.map { ImageEntry($1, store: $0.path) }))
        } else if quiet {
            for image in images { Output.print((image.names.first ?? "\(image.record.digest)") + "\n") }
        } else {
            Output.print(Self.table(images, now: Clock.now.seconds))
        }
    }

    static func table(_ images: [StoredImage], now: Int64) -> String {
        var rows = [["IMAGE", "DIGEST", "PLATFORM", "FILES", "SIZE", "PULLED"]]
        for image in images {
            let record = image.record
            // An image of which only the digest was ever asked for is shown by the name it was pulled under.
            for name in image.names.isEmpty ? [record.name] : image.names {
                rows.append([
                    name, String(record.digest.hex.prefix(12)), record.platform.description, "\(record.entries)",
                    Quantity.bytes(Int64(clamping: record.size)), Quantity.age(max(0, now - record.created)) + " ago",
                ])
            }
        }
        return Columns.text(rows)
    }
}

/// An image as JSON shows it.
struct ImageEntry: Encodable {
    let names: [String]
    let digest: String
    let platform: String
    let size: UInt64
    let entries: UInt64
    let created: Int64
    let layers: Int
    let store: String

    init(_ image: StoredImage, store: String) {
        self.store = store
        names = image.names
        digest = image.record.digest.description
        platform = image.record.platform.description
        size = image.record.size
        entries = image.record.entries
        created = image.record.created
        layers = image.record.trees.count
    }
}

enum Columns {
    /// Two blanks between columns; the last is not padded.
    static func text(_ rows: [[String]]) -> String {
        guard let first = rows.first else { return "" }
        let widths = first.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            row.enumerated().map { column, cell in
                column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count + 2)
            }.joined() + "\n"
        }.joined()
    }
}

enum JSONText {
    static func of(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }
}
