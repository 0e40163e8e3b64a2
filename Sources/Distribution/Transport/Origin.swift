/// Scheme, host and port: the boundary that credentials never cross (RFC 6454).
package struct Origin: Hashable, Sendable {
    package enum Scheme: String, Sendable {
        case http, https

        var defaultPort: Int { self == .http ? 80 : 443 }
    }

    package let scheme: Scheme
    /// Lowercase; an IPv6 address is in brackets.
    package let host: String
    /// Always set, so that an explicit default port and an implied one are equal.
    package let port: Int

    package init(scheme: Scheme, host: String, port: Int? = nil) {
        self.scheme = scheme
        self.host = host.lowercased()
        self.port = port ?? scheme.defaultPort
    }

    /// Parses `HOST[:PORT]` of a `Reference`.
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

    /// `HOST[:PORT]`; omits the scheme's default port.
    package var authority: String { port == scheme.defaultPort ? host : "\(host):\(port)" }

    /// The kind of an address literal; `nil` for a name, whose address is not known yet.
    package var addressKind: IPAddress.Kind? {
        // A trailing dot makes a name absolute but does not change it.
        let name = host.utf8.last == UInt8(ascii: ".") ? String(host.dropLast()) : host
        if name == "localhost" || name.hasSuffix(".localhost") { return .loopback }
        return IPAddress(literal: name)?.kind
    }

    package var isLoopback: Bool { addressKind == .loopback }
}

extension Origin: CustomStringConvertible {
    package var description: String { "\(scheme.rawValue)://\(authority)" }
}
