internal import ArgumentParser
internal import Diagnostics
internal import FoundationEssentials
internal import LinuxKernel
internal import Store

/// `berth images`
struct ImagesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "List the images in the store.",
        usage: "berth images [OPTIONS]",
        discussion: """
            With --json, sizes are in bytes and times in seconds since 1970.

            Examples:
              berth images
              berth images --json
            """)

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print names only.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let stores = try settings.existingStores(storeOptions.store)
        let listings = try reporting({ Report($0) }) { () throws(StoreError) in
            var listings: [(path: String, images: [StoredImage])] = []
            for store in stores { listings.append((store.path, try store.images())) }
            return listings
        }
        let files = try reporting({ Report($0) }) { () throws(StoreError) in
            var files: [UnpackedFileInfo] = []
            for store in stores { files += try store.unpackedFiles() }
            return files
        }
        let images = listings.flatMap(\.images)
        let text =
            if json { try ImagesText.json(listings) } else if quiet { ImagesText.names(images) } else {
                ImagesText.table(images, now: Clock.now.seconds)
            }
        Array(text.utf8).withUnsafeBytes(Printed.bytes)
        // By their paths, as they are run; JSON and names are about images alone.
        if !json, !quiet, !files.isEmpty {
            for line in Self.table(files, now: Clock.now.seconds) { Printed.line(line) }
        }
    }
}

extension ImagesCommand {
    /// Squashfs files that are unpacked in the store.
    static func table(_ files: [UnpackedFileInfo], now: Int64) -> [String] {
        let total = files.reduce(0) { $0 + $1.bytes }
        var lines = ["", "\(files.count) unpacked squashfs files, \(Quantity.bytes(Int64(clamping: total)))"]
        for file in files.sorted(by: { $0.lastUse > $1.lastUse }) {
            let name = file.source.isEmpty ? file.place : file.source
            let days = max(0, now - file.lastUse) / 86_400
            lines.append(
                "\(name)  \(Quantity.bytes(Int64(clamping: file.bytes)))  used \(days)d ago"
                    + (file.isCurrent ? "" : "  (the file is gone or has changed)"))
        }
        return lines
    }
}

enum JSONText {
    static func of(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Outside of its strings JSON is ASCII. The escapes mean the same to a machine and nothing to a terminal.
        var text = ""
        for scalar in String(decoding: try encoder.encode(value), as: UTF8.self).unicodeScalars {
            if scalar.value > 0x7E, TerminalText.steers(scalar) {
                text += TerminalText.jsonEscape(scalar)
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text + "\n"
    }
}
