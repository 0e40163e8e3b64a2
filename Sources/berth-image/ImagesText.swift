internal import ImageSpec
internal import LinuxKernel
internal import Store

/// What `berth images` prints.
enum ImagesText {
    /// A line for each name. Two blanks between columns; the last is not padded.
    ///
    /// - Parameter now: Seconds since 1970.
    static func table(_ images: [StoredImage], now: Int64) -> String {
        var rows = [["IMAGE", "DIGEST", "PLATFORM", "FILES", "SIZE", "PULLED"]]
        for image in images {
            let record = image.record
            let columns = [
                String(record.digest.hex.prefix(12)), TerminalText.line(record.platform.description),
                "\(record.entries)",
                Quantity.bytes(Int64(clamping: record.size)),
                Quantity.age(seconds: max(0, now - record.created)) + " ago",
            ]
            // An image of which only the digest was ever asked for is shown by the name it was pulled under.
            for name in image.names.isEmpty ? [record.name] : image.names {
                rows.append([TerminalText.line(name)] + columns)
            }
        }
        var widths = [0, 12, 0, 0, 0]
        for row in rows {
            for column in widths.indices { widths[column] = max(widths[column], row[column].count) }
        }
        var text = ""
        for row in rows {
            for column in widths.indices {
                text += row[column] + String(repeating: " ", count: widths[column] + 2 - row[column].count)
            }
            text += row[5] + "\n"
        }
        return text
    }

    /// One for each image, or its digest.
    static func names(_ images: [StoredImage]) -> String {
        images.map { TerminalText.line($0.names.first ?? $0.record.digest.description) + "\n" }.joined()
    }

    static func json(_ stores: [(path: String, images: [StoredImage])]) throws -> String {
        try JSONText.of(stores.flatMap { store in store.images.map { Entry($0, store: store.path) } })
    }

    private struct Entry: Encodable {
        let names: [String]
        let digest: String
        let platform: String
        let size: UInt64
        let entries: UInt64
        let created: Int64
        let layers: Int
        let store: String

        init(_ image: StoredImage, store: String) {
            let record = image.record
            (names, digest, platform) = (image.names, record.digest.description, record.platform.description)
            (size, entries, created) = (record.size, record.entries, record.created)
            (layers, self.store) = (record.trees.count, store)
        }
    }
}
