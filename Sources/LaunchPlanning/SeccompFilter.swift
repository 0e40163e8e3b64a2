internal import LinuxKernel

/// A compiled seccomp(2) filter, as libseccomp has written it: bytes that the launcher loads and does not understand.
package struct SeccompFilter: Equatable, Sendable {
    /// `fakeroot`, `default`, or the path of a profile.
    package var name: String
    /// `SECCOMP_FILTER_FLAG_*`.
    package var flags: UInt32
    /// An array of the kernel's `struct sock_filter`.
    package var instructions: [UInt8]
    /// The same as `linux.seccomp` of the OCI runtime-spec: a JSON object.
    package var configuration: String
    package var origin = Origin.berth

    package init(name: String, flags: UInt32, instructions: [UInt8], configuration: String) {
        self.name = name
        self.flags = flags
        self.instructions = instructions
        self.configuration = configuration
    }
}

extension SeccompFilter {
    /// Several as one `linux.seccomp`: the rules of the first are added to the last one's where that allows what it does not
    /// name; else the kernel's way of asking both has no equal there.
    static func configuration(of filters: [SeccompFilter]) -> String? {
        guard let last = filters.last else { return nil }
        // The compiler writes the keys in their order: the rules are the last.
        let (mark, end) = (Array("\"syscalls\":[".utf8), "]}")
        let first = Array(filters[0].configuration.utf8)
        guard filters.count == 2, last.allowsByDefault, last.configuration.hasSuffix("}" + end),
            let rules = first.indices.first(where: { first[$0...].starts(with: mark) })
        else { return last.configuration }
        return last.configuration.dropLast(end.utf8.count) + ","
            + String(decoding: first[(rules + mark.count)...], as: UTF8.self)
    }

    private var allowsByDefault: Bool {
        configuration.split(separator: ",").contains { $0.hasSuffix("\"defaultAction\":\"SCMP_ACT_ALLOW\"") }
    }
}

// MARK: Record

extension SeccompFilter {
    /// What the kernel takes: `BPF_MAXINSNS` instructions of eight bytes.
    package static let largest = 4096 * 8
    /// Of a record's first line. Another form has another number.
    private static let version = "berth-seccomp 1"

    /// A line with four numbers, then the key, the instructions and the configuration.
    ///
    /// - Parameter key: Stands for the profile, its state and what it was compiled for.
    package func encoded(key: String) -> [UInt8] {
        let (key, text) = (key.kernelBytes, configuration.kernelBytes)
        return Array("\(Self.version) \(flags) \(key.count) \(instructions.count) \(text.count)\n".utf8) + key
            + instructions + text
    }

    /// `nil` where the record is damaged, or of another key.
    package init?(decoding bytes: [UInt8], key: String, name: String) {
        guard let end = bytes.prefix(128).firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        let words = bytes[..<end].split(separator: UInt8(ascii: " ")).map { RawText.string($0) }
        guard words.count == 6, words[0] + " " + words[1] == Self.version, let flags = UInt32(words[2]) else {
            return nil
        }
        let lengths = words[3...].compactMap { UInt32($0).map { Int($0) } }
        guard lengths.count == 3, bytes.count == end + 1 + lengths[0] + lengths[1] + lengths[2],
            lengths[1] > 0, lengths[1] <= Self.largest, lengths[1] % 8 == 0
        else { return nil }
        let filter = end + 1 + lengths[0]
        guard Array(bytes[(end + 1)..<filter]) == key.kernelBytes else { return nil }
        self.init(
            name: name, flags: flags, instructions: Array(bytes[filter..<filter + lengths[1]]),
            configuration: RawText.string(bytes[(filter + lengths[1])...]))
    }
}
