internal import ArgumentParser
internal import ImageSpec
internal import LinuxKernel
internal import Store

/// An image of a store, under one of its names or all of them, for `berth images`.
struct ImageRow: ListRow {
    static let fields: [(name: String, heading: String)] = [
        ("Image", "IMAGE"), ("Repository", "REPOSITORY"), ("Tag", "TAG"), ("ID", "DIGEST"), ("Digest", "DIGEST"),
        ("Platform", "PLATFORM"), ("Files", "FILES"), ("Layers", "LAYERS"), ("Size", "SIZE"), ("SharedSize", "SHARED"),
        ("UniqueSize", "UNIQUE"), ("Used", "USED"), ("Pulled", "PULLED"), ("Store", "STORE"),
    ]

    let image: StoredImage
    /// Those that the filter lets through; empty for an image of which only the digest was ever asked for, or whose tag moved.
    var names: [String]
    /// What it takes on disk; `nil` where no field wants to know.
    let size: ImageSize?
    let store: String
    /// Seconds since 1970.
    private let now: Int64

    init(_ image: StoredImage, _ size: ImageSize?, store: String, now: Int64) {
        (self.image, names, self.size, self.store, self.now) = (image, image.names, size, store, now)
    }

    /// A row for each name. An image without one is shown by the name it was pulled under.
    var ofEachName: [ImageRow] {
        (names.isEmpty ? [image.record.name] : names).map { name in
            var row = self
            row.names = [name]
            return row
        }
    }

    subscript(name: String) -> String {
        let record = image.record
        return switch name {
        case "Image": TerminalText.line(self.name)
        case "Repository": TerminalText.line(Self.parts(of: self.name).repository)
        case "Tag": TerminalText.line(Self.parts(of: self.name).tag ?? "<none>")
        case "ID": String(record.digest.hex.prefix(12))
        case "Digest": record.digest.description
        case "Platform": TerminalText.line(record.platform.description)
        case "Files": "\(record.entries)"
        case "Layers": "\(record.trees.count)"
        case "Size": Quantity.bytes(Int64(clamping: record.size))
        case "SharedSize": size.map { Quantity.bytes(Int64(clamping: $0.shared)) } ?? "-"
        case "UniqueSize": size.map { Quantity.bytes(Int64(clamping: $0.unique)) } ?? "-"
        case "Used": age(image.lastUse)
        case "Pulled": age(record.created)
        case "Store": TerminalText.line(store)
        default: ""
        }
    }

    private var name: String { names.first ?? image.record.name }

    private func age(_ time: Int64) -> String { Quantity.age(seconds: max(0, now - time)) + " ago" }

    /// The tag is what is behind the last colon, unless that is one of a port or a digest.
    static func parts(of name: String) -> (repository: String, tag: String?) {
        if let at = name.firstIndex(of: "@") { return (String(name[..<at]), nil) }
        guard let colon = name.lastIndex(of: ":"), !name[colon...].contains("/") else { return (name, nil) }
        return (String(name[..<colon]), String(name[name.index(after: colon)...]))
    }
}

extension ImageRow {
    enum Order: String, CaseIterable, ExpressibleByArgument {
        case name, pulled, used, size, shared, unique

        var isOfSizes: Bool { self == .shared || self == .unique }

        /// Names from A to Z; what is newest or largest comes first. Equal ones stay as they are.
        func apply(to rows: inout [ImageRow]) {
            let keys = rows.enumerated().map { (index: $0, row: $1) }
            rows =
                (self == .name
                ? keys.sorted { ($0.row.name, $0.index) < ($1.row.name, $1.index) }
                : keys.sorted { (number($1.row), $0.index) < (number($0.row), $1.index) }).map(\.row)
        }

        private func number(_ row: ImageRow) -> UInt64 {
            switch self {
            case .name: 0
            case .pulled: UInt64(max(0, row.image.record.created))
            case .used: UInt64(max(0, row.image.lastUse))
            case .size: row.image.record.size
            case .shared: row.size?.shared ?? 0
            case .unique: row.size?.unique ?? 0
            }
        }
    }

    /// What `--json` prints.
    struct Entry: Encodable {
        let names: [String]
        let digest, platform, store: String
        let size, entries: UInt64
        let sharedSize, uniqueSize: UInt64?
        let created, lastUse: Int64
        let layers: Int

        init(_ row: ImageRow) {
            let record = row.image.record
            (names, digest, platform) = (row.names, record.digest.description, record.platform.description)
            (size, entries, created, lastUse) = (record.size, record.entries, record.created, row.image.lastUse)
            (sharedSize, uniqueSize) = (row.size?.shared, row.size?.unique)
            (layers, store) = (record.trees.count, row.store)
        }
    }
}
