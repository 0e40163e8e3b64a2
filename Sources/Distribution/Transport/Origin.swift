/// Scheme, host and port: the boundary that credentials never cross (RFC 6454).
package struct Origin: Hashable, Sendable {
    package enum Scheme: String, Sendable {
        case http, https

        var defaultPort: Int { self == .http ? 80 : 443 }
    }

    package let scheme: Scheme
    /// Lowercase; an IPv6 address is in brackets.
    package let host: String
    /// Never nil: a spelled-out default port is the same origin as an implied one.
    package let port: Int

    package init(scheme: Scheme, host: String, port: Int? = nil) {
        self.scheme = scheme
        self.host = host.lowercased()
        self.port = port ?? scheme.defaultPort
    }

    /// From `HOST[:PORT]`, as a `Reference` has it.
    package init?(scheme: Scheme, authority: String) {
        let bytes = Array(authority.utf8)
        var host = bytes[...]
        var port: Int?
        let afterAddress = bytes.first == UInt8(ascii: "[") ? bytes.firstIndex(of: UInt8(ascii: "]")) : bytes.startIndex
        guard let afterAddress else { return nil }
        if let colon = bytes[afterAddress...].firstIndex(of: UInt8(ascii: ":")) {
            host = bytes[..<colon]
            let digits = bytes[(colon + 1)...]
            if !digits.isEmpty {
                guard let number = Int(String(decoding: digits, as: UTF8.self)), 1...65535 ~= number else { return nil }
                port = number
            }
        }
        let isAddress = host.first == UInt8(ascii: "[")
        let allowed: (UInt8) -> Bool = { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."):
                true
            case UInt8(ascii: "-"), UInt8(ascii: "_"): !isAddress
            case UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"): isAddress
            default: false
            }
        }
        guard !host.isEmpty, host.allSatisfy(allowed), !isAddress || host.last == UInt8(ascii: "]") else { return nil }
        self.init(scheme: scheme, host: String(decoding: host, as: UTF8.self), port: port)
    }

    /// `HOST[:PORT]`, the port only where the scheme does not imply it.
    package var authority: String { port == scheme.defaultPort ? host : "\(host):\(port)" }

    /// What the host's text says about where it is; nil for a name, for its address is not known yet.
    package var addressKind: IPAddress.Kind? {
        if host == "localhost" || host.hasSuffix(".localhost") { return .loopback }
        return IPAddress(literal: host)?.kind
    }

    package var isLoopback: Bool { addressKind == .loopback }
}

extension Origin: CustomStringConvertible {
    package var description: String { "\(scheme.rawValue)://\(authority)" }
}

/// An http or https URL, taken apart and put together by one parser only: what decides about the origin and what
/// connects must not read a text differently.
struct WebURL: Hashable, Sendable {
    let origin: Origin
    /// From the first `/`, with the query; never with a fragment.
    let target: String

    init(origin: Origin, target: String) {
        self.origin = origin
        self.target = target
    }

    /// Parses an absolute URL. User information, backslashes, blanks and other bytes outside RFC 3986 are refused.
    init?(parsing text: String) {
        let bytes = text.utf8
        guard bytes.allSatisfy({ Self.isURLByte($0) }) else { return nil }
        let lower = text.prefix(8).lowercased()
        let scheme: Origin.Scheme
        if lower.hasPrefix("https://") {
            scheme = .https
        } else if lower.hasPrefix("http://") {
            scheme = .http
        } else {
            return nil
        }
        let rest = text.dropFirst(scheme.rawValue.count + 3)
        let end = rest.utf8.firstIndex { "/?#".utf8.contains($0) } ?? rest.endIndex
        guard let origin = Origin(scheme: scheme, authority: String(rest[..<end])) else { return nil }
        var target = String(rest[end...].prefix { $0 != "#" })
        if !target.hasPrefix("/") { target = "/" + target }
        self.init(origin: origin, target: target)
    }

    /// Where a `Location` leads from here (RFC 3986 section 5.2, without dot segments, which servers resolve).
    func resolving(_ location: String) -> WebURL? {
        guard location.utf8.allSatisfy({ Self.isURLByte($0) }) else { return nil }
        if location.hasPrefix("//") { return WebURL(parsing: "\(origin.scheme.rawValue):\(location)") }
        if location.hasPrefix("/") {
            return WebURL(origin: origin, target: String(location.prefix { $0 != "#" }))
        }
        if let colon = location.utf8.firstIndex(where: { ":/?#".utf8.contains($0) }), location[colon] == ":" {
            return WebURL(parsing: location)
        }
        let path = target.prefix { $0 != "?" }
        guard let slash = path.lastIndex(of: "/") else { return nil }
        return WebURL(origin: origin, target: String(path[...slash]) + String(location.prefix { $0 != "#" }))
    }

    var text: String { "\(origin)\(target)" }

    private static func isURLByte(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7f && !#"\"<>^`{|}"#.utf8.contains(byte)
    }
}
