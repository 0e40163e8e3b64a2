/// Selects the proxy for a URL from the environment: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`.
package struct ProxyRules: Sendable, Equatable {
    package struct Proxy: Hashable, Sendable {
        package let host: String
        package let port: Int
        /// `USER:PASSWORD` from the URL, percent-decoded.
        let userinfo: String?

        var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    package enum Choice: Hashable, Sendable {
        case direct
        case through(Proxy)
        /// The variable's value is not a usable proxy.
        case invalid(variable: String)
    }

    private var http = Choice.direct
    private var https = Choice.direct
    private var exceptions: [String] = []

    package init() {}

    package init(environment: [String: String]) {
        func value(_ names: String...) -> (String, String)? {
            for name in names {
                if let text = environment[name], !text.isEmpty { return (name, text) }
            }
            return nil
        }
        // Under CGI, a client's `Proxy:` header becomes HTTP_PROXY (CVE-2016-5385), so curl never reads the upper-case
        // form.
        let plain = environment["REQUEST_METHOD"] == nil ? value("http_proxy", "HTTP_PROXY") : value("http_proxy")
        let all = value("all_proxy", "ALL_PROXY")
        http = (plain ?? all).map(Self.choice) ?? .direct
        https = (value("https_proxy", "HTTPS_PROXY") ?? all).map(Self.choice) ?? .direct
        exceptions =
            value("no_proxy", "NO_PROXY")?.1
            .split { $0 == "," || $0 == " " }.map { $0.lowercased() } ?? []
    }

    private static func choice(_ variable: (name: String, text: String)) -> Choice {
        var text = variable.text
        if !text.contains("://") { text = "http://" + text }
        guard text.lowercased().hasPrefix("http://") else { return .invalid(variable: variable.name) }
        var rest = text.dropFirst(7).prefix { $0 != "/" }
        var userinfo: String?
        if let at = rest.lastIndex(of: "@") {
            userinfo = percentDecoded(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        guard let origin = Origin(scheme: .http, authority: String(rest)) else {
            return .invalid(variable: variable.name)
        }
        return .through(Proxy(host: origin.host, port: origin.port, userinfo: userinfo))
    }

    package func choice(for origin: Origin) -> Choice {
        // Never use a proxy for this host.
        if origin.isLoopback || isExcepted(origin) { return .direct }
        return origin.scheme == .http ? http : https
    }

    private func isExcepted(_ origin: Origin) -> Bool {
        let host = origin.host
        let address = IPAddress(literal: host)
        return exceptions.contains { entry in
            if entry == "*" { return true }
            if let slash = entry.firstIndex(of: "/") {
                guard let address, let network = IPAddress(literal: String(entry[..<slash])),
                    let length = Int(entry[entry.index(after: slash)...])
                else { return false }
                return address.isIn(network, prefix: length)
            }
            if let address, let other = IPAddress(literal: entry) { return address == other }
            var name = entry
            if let parsed = Origin(scheme: origin.scheme, authority: entry.hasPrefix(".") ? "x" + entry : entry),
                entry.last != "]", entry.contains(":")
            {
                guard parsed.port == origin.port else { return false }
                name = entry.hasPrefix(".") ? String(parsed.host.dropFirst()) : parsed.host
            }
            if name.hasPrefix("*.") { name.removeFirst() }
            if name.hasPrefix(".") { return host.hasSuffix(name) || host == name.dropFirst() }
            return host == name || host.hasSuffix("." + name)
        }
    }

    private static func percentDecoded(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest.removeFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
