/// `PATH [owner=UID]`: a store that is read and never written to.
package struct SharedStore: Equatable, Sendable {
    package let path: String
    /// Who may own it besides root and the reader. A number: names are the business of services that a launch does
    /// not ask.
    package let owner: UInt32?

    init?(_ text: String) {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
        guard let path = words.first, path.hasPrefix("/"), words.count <= 2 else { return nil }
        self.path = String(path)
        guard words.count == 2 else {
            owner = nil
            return
        }
        guard words[1].hasPrefix("owner="), let number = UInt32(words[1].dropFirst(6)) else { return nil }
        owner = number
    }
}

/// `NAME=NUMBER`: how much a layer may ask of whoever unpacks it.
package struct LayerLimit: Equatable, Sendable {
    package let name: String
    package let value: Int64

    package static let names = [
        "bytes", "entries", "path-depth", "path-bytes", "header-bytes", "xattr-bytes", "sparse-extents", "marks",
        "ratio", "ratio-from", "zstd-window",
    ]

    init?(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, Self.names.contains(String(parts[0])),
            let value = SiteConfiguration.bytes(String(parts[1])), value > 0
        else { return nil }
        name = String(parts[0])
        self.value = value
    }
}

extension SiteConfiguration {
    /// In the order in which they are looked into.
    package var sharedStores: [SharedStore] { (systemStore.map { [$0] } ?? []) + otherSharedStores }

    /// Digits with k, m, g or t behind them for powers of 1024; nil for anything else.
    package static func bytes(_ text: String) -> Int64? {
        number(text, ["": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40])
    }

    /// Digits with s, m, h, d or w behind them: Go's words for spans of time, as Docker takes them, and two longer.
    package static func seconds(_ text: String) -> Int64? {
        number(text, ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800])
    }

    private static func number(_ text: String, _ units: [String: Int64]) -> Int64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty, let value = Int64(digits), let unit = units[text.dropFirst(digits.count).lowercased()]
        else {
            return nil
        }
        let (product, overflow) = value.multipliedReportingOverflow(by: unit)
        return overflow ? nil : product
    }
}

extension SiteConfiguration {
    /// Where the images of a registry are asked for first: `docker.io mirror.example.com:5000/hub`.
    package struct Mirror: Equatable, Sendable {
        package let registry: String
        /// `HOST[:PORT]`.
        package let host: String
        /// What stands before the repository there; empty where it has the same name.
        package let path: String

        init?(_ value: String) {
            let words = value.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count == 2, !value.contains("://"), !words[0].contains("/") else { return nil }
            let place = words[1].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard let host = place.first, !host.isEmpty else { return nil }
            registry = words[0].lowercased()
            self.host = String(host)
            path = place.count == 2 ? String(place[1]) : ""
        }
    }
}
