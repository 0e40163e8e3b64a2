internal import Glibc

/// An IPv4 or IPv6 address literal.
package struct IPAddress: Hashable, Sendable {
    package enum Kind: Sendable { case loopback, linkLocal, privateUse, unspecified, other }

    /// 4 or 16 bytes in network order. An IPv4-mapped IPv6 address is stored as IPv4, because it reaches the same host.
    package let bytes: [UInt8]

    /// Accepts the notations of the C library's resolver, such as `127.1` and `0x7f000001`.
    package init?(literal text: String) {
        var host = text
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        var four = in_addr()
        if inet_aton(host, &four) == 1 {
            bytes = withUnsafeBytes(of: four.s_addr) { Array($0) }
            return
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, host, &six) == 1 else { return nil }
        let raw = withUnsafeBytes(of: six) { Array($0) }
        // `::ffff:127.0.0.1` and the older `::127.0.0.1` are mapped. `::` and `::1` are not.
        let isMapped = raw[..<10].allSatisfy { $0 == 0 } && raw[10] == 0xff && raw[11] == 0xff
        let isCompatible = raw[..<12].allSatisfy { $0 == 0 } && !raw[12..<15].allSatisfy { $0 == 0 }
        bytes = isMapped || isCompatible ? Array(raw[12...]) : raw
    }

    /// Metadata services of clouds besides 169.254.169.254: Alibaba, Azure, Oracle, AWS, Google.
    private static let cloudServices = Set(
        ["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"].compactMap {
            IPAddress(literal: $0)
        })

    package var kind: Kind {
        if Self.cloudServices.contains(self) { return .linkLocal }
        if bytes.allSatisfy({ $0 == 0 }) { return .unspecified }
        if bytes.count == 4 {
            switch (bytes[0], bytes[1]) {
            case (127, _): return .loopback
            case (0, _): return .unspecified
            case (169, 254): return .linkLocal
            case (10, _), (192, 168), (172, 16...31), (100, 64...127): return .privateUse
            default: return .other
            }
        }
        if bytes[..<15].allSatisfy({ $0 == 0 }), bytes[15] == 1 { return .loopback }
        if bytes[0] == 0xfe, bytes[1] & 0xc0 == 0x80 { return .linkLocal }
        return bytes[0] & 0xfe == 0xfc ? .privateUse : .other
    }

    /// Whether the first `length` bits equal those of `network`.
    func isIn(_ network: IPAddress, prefix length: Int) -> Bool {
        guard bytes.count == network.bytes.count, 0...(bytes.count * 8) ~= length else { return false }
        for index in bytes.indices {
            let bits = min(max(length - index * 8, 0), 8)
            let mask = UInt8(truncatingIfNeeded: 0xff00 >> bits)
            if (bytes[index] ^ network.bytes[index]) & mask != 0 { return false }
        }
        return true
    }
}
