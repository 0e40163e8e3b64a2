/// The keys of one object that have been read.
struct DocumentKeys {
    private var seen: Set<[UInt8]> = []
    /// Maps folded keys to their spellings; `nil` if case matters.
    private var folded: [[UInt8]: [UInt8]]?

    init(_ shape: DocumentShape) {
        guard case .object(let known) = shape else { return }
        // Reject a single differently spelled key, too: Go would read it as the specification's key, but Berth would
        // ignore it.
        var spellings: [[UInt8]: [UInt8]] = [:]
        for name in known.keys { spellings[Self.fold(Array(name.utf8))] = Array(name.utf8) }
        folded = spellings
    }

    /// - Returns: Why the key is rejected, or `nil`.
    mutating func add(_ key: [UInt8]) -> DocumentFault.Reason? {
        guard seen.insert(key).inserted else { return .repeatedKey(Self.text(key)) }
        guard folded != nil else { return nil }
        let plain = Self.fold(key)
        if let other = folded?[plain], other != key { return .keysDifferInCase(Self.text(key), Self.text(other)) }
        folded?[plain] = key
        return nil
    }

    private static func text(_ key: [UInt8]) -> String { String(decoding: key.prefix(100), as: UTF8.self) }

    /// Folds case as Go's encoding/json does when it matches keys to fields. Besides ASCII letters, Unicode's simple
    /// folding maps the long s and the kelvin sign to ASCII.
    private static func fold(_ key: [UInt8]) -> [UInt8] {
        var plain: [UInt8] = []
        plain.reserveCapacity(key.count)
        var index = 0
        while index < key.count {
            let rest = key[index...]
            if rest.starts(with: [0xC5, 0xBF]) {
                plain.append(UInt8(ascii: "s"))
                index += 2
            } else if rest.starts(with: [0xE2, 0x84, 0xAA]) {
                plain.append(UInt8(ascii: "k"))
                index += 3
            } else {
                plain.append(key[index].isUppercaseLetter ? key[index] | 0x20 : key[index])
                index += 1
            }
        }
        return plain
    }
}
