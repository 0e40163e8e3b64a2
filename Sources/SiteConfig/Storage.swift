internal import LinuxKernel

/// A store that is only read: `PATH [owner=UID]`.
package struct SharedStore: Equatable, Sendable {
    package let path: String
    /// A user who may own it in addition to root and the reader. A number, because a launch does not query name
    /// services.
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

/// A limit for unpacking a layer: `NAME=NUMBER`.
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
    /// The shared stores in search order.
    package var sharedStores: [SharedStore] { (systemStore.map { [$0] } ?? []) + otherSharedStores }

    /// Parses digits with an optional k, m, g or t for powers of 1024 and an optional b, as Docker does; otherwise
    /// `nil`.
    package static func bytes(_ text: String) -> Int64? {
        let units: [String: Int64] = ["": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40]
        let isWithB = text.utf8.last == UInt8(ascii: "b") || text.utf8.last == UInt8(ascii: "B")
        return number(isWithB ? String(text.utf8.dropLast()) ?? "" : text, units)
    }

    /// Parses digits with s, m, h, d or w. The first three are Go's duration units, as in Docker.
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
    /// A mirror of a registry, which is tried first: `docker.io mirror.example.com:5000/hub`.
    package struct Mirror: Equatable, Sendable {
        package let registry: String
        /// `HOST[:PORT]`.
        package let host: String
        /// The prefix of the repository at the mirror; may be empty.
        package let path: String
        /// Whether the site configured it. `registries` limits other mirrors.
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
