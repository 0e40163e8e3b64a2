internal import LinuxKernel

/// `PATH [owner=UID]`: a store that is read and never written to.
package struct SharedStore: Equatable, Sendable {
    package let path: String
    /// Who may own it besides root and the reader. A number: names are the business of services that a launch does
    /// not ask.
    package let owner: UInt32?

    init?(_ text: String) {
        let words = SiteConfiguration.words(text)
        guard let word = words.first, let path = SiteConfiguration.path(word), words.count <= 2 else { return nil }
        self.path = path
        guard words.count == 2 else {
            owner = nil
            return
        }
        guard words[1].hasPrefix("owner="), let number = UInt32(String(words[1].utf8.dropFirst(6)) ?? "") else {
            return nil
        }
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

    /// Digits, followed by k, m, g or t for powers of 1024, and by a b as Docker takes it; nil for anything else.
    package static func bytes(_ text: String) -> Int64? {
        let units: [String: Int64] = ["": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40]
        let isWithB = text.utf8.last == UInt8(ascii: "b") || text.utf8.last == UInt8(ascii: "B")
        return number(isWithB ? String(text.utf8.dropLast()) ?? "" : text, units)
    }

    /// Digits with s, m, h, d or w behind them: Go's words for spans of time, as Docker takes them, and two longer.
    package static func seconds(_ text: String) -> Int64? {
        number(text, ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800])
    }

    private static func number(_ text: String, _ units: [String: Int64]) -> Int64? {
        let digits = text.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard !digits.isEmpty, let value = Int64(String(digits) ?? ""),
            let name = String(text.utf8[digits.endIndex...]),
            let unit = units[name.lowercased()]
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
        /// Named by the site; `registries` limits any other mirror.
        package let isSites: Bool

        init?(_ value: String, isSites: Bool) {
            self.isSites = isSites
            let words = SiteConfiguration.words(value)
            guard words.count == 2, SiteConfiguration.isRegistry(words[0]) else { return nil }
            let place = words[1].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard let host = place.first, SiteConfiguration.isRegistry(String(host)) else { return nil }
            registry = words[0].lowercased()
            self.host = String(host)
            path = place.count == 2 ? String(place[1]) : ""
        }
    }
}
