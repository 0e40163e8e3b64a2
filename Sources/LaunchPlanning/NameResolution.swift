internal import LinuxKernel

/// What `--dns` and its like change in /etc/resolv.conf: resolv.conf(5).
package struct ResolverSettings: Equatable, Sendable {
    package var nameServers: [String] = []
    package var searchDomains: [String] = []
    package var resolverOptions: [String] = []

    package init() {}

    package var isEmpty: Bool { nameServers.isEmpty && searchDomains.isEmpty && resolverOptions.isEmpty }

    /// The host's file with each kind of line replaced for which there is something to put in its place, as with Docker.
    package func applied(to file: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for line in file.split(separator: UInt8(ascii: "\n")) {
            let word = line.drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
                .prefix { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
            switch String(decoding: word, as: UTF8.self) {
            case "nameserver" where !nameServers.isEmpty: continue
            case "search" where !searchDomains.isEmpty, "domain" where !searchDomains.isEmpty: continue
            case "options" where !resolverOptions.isEmpty: continue
            default:
                result += line
                result.append(UInt8(ascii: "\n"))
            }
        }
        for server in nameServers { result += Array("nameserver \(server)\n".utf8) }
        // A dot alone is Docker's word for none.
        if !searchDomains.isEmpty, searchDomains != ["."] {
            result += Array("search \(searchDomains.joined(separator: " "))\n".utf8)
        }
        if !resolverOptions.isEmpty { result += Array("options \(resolverOptions.joined(separator: " "))\n".utf8) }
        return result
    }

    mutating func read(_ name: String, _ value: String) throws(OptionError) {
        switch name {
        case "dns":
            guard IPAddress.isOne(value) else {
                throw .badValue(option: "--dns", value: value, expected: "an IPv4 or IPv6 address")
            }
            nameServers.append(value)
        case "dns-search":
            guard HostLine.isWord(value) else {
                throw .badValue(option: "--dns-search", value: value, expected: "a domain, or a dot for none")
            }
            searchDomains.append(value)
        default:
            guard HostLine.isWord(value) else {
                throw .badValue(
                    option: "--dns-option", value: value, expected: "an option of resolv.conf(5), such as ndots:2")
            }
            resolverOptions.append(value)
        }
    }
}

/// A line of /etc/hosts, from Docker's `--add-host NAME:ADDRESS` or `NAME=ADDRESS`.
enum HostLine {
    static func parse(_ text: String) throws(OptionError) -> String {
        let bad = OptionError.badValue(
            option: "--add-host", value: text, expected: "NAME:ADDRESS, the address of IPv4 or IPv6, or host-gateway")
        guard let end = text.utf8.firstIndex(where: { $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "=") }) else {
            throw bad
        }
        let name = String(text[..<end])
        var address = String(text.utf8[end...].dropFirst()) ?? ""
        if address.hasPrefix("["), address.hasSuffix("]") { address = String(address.dropFirst().dropLast()) }
        // The host itself, whose network it is.
        if address == "host-gateway" { address = "127.0.0.1" }
        guard isWord(name), IPAddress.isOne(address) else { throw bad }
        return "\(address) \(name)\n"
    }

    /// Something that is one word of a line, and no comment.
    static func isWord(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "#") && $0 != UInt8(ascii: ";") }
    }
}

enum IPAddress {
    static func isOne(_ text: String) -> Bool { isVersion4(text[...]) || isVersion6(text) }

    private static func isVersion4(_ text: Substring) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { $0.utf8.count <= 3 && $0.first != "+" && UInt8(String($0)) != nil }
    }

    private static func isVersion6(_ text: String) -> Bool {
        // Of a link-local one the interface.
        let zone = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        if zone.count == 2, zone[1].isEmpty || !HostLine.isWord(String(zone[1])) { return false }
        var groups = zone[0].split(separator: ":", omittingEmptySubsequences: false)
        guard groups.count >= 3 else { return false }
        if let last = groups.last, last.contains(".") {
            guard isVersion4(last) else { return false }
            groups.removeLast()
            groups += ["0", "0"]
        }
        var (count, gaps) = (0, 0)
        for (index, group) in groups.enumerated() {
            if group.isEmpty {
                // "::" at an end is two empty groups, of which one is the gap.
                if index == 0 {
                    guard groups[1].isEmpty else { return false }
                } else if index == groups.count - 1 {
                    guard groups[index - 1].isEmpty else { return false }
                } else {
                    gaps += 1
                }
                continue
            }
            guard group.utf8.count <= 4, group.first != "+", UInt16(group, radix: 16) != nil else { return false }
            count += 1
        }
        return gaps == 1 ? count < 8 : gaps == 0 && count == 8
    }
}
