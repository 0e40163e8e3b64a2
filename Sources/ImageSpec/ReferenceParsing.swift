extension Reference {
    /// The longest `<name>` that registries and other clients accept.
    static let maximumRepositoryLength = 255
    static let maximumTagLength = 128

    /// Parses `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` or Enroot's `[USER@]REGISTRY#REPOSITORY[:TAG][@DIGEST]`.
    package init(parsing text: String) throws(ReferenceError) {
        let parser = ReferenceParser(text: text)
        let bytes = parser.bytes
        var rest = 0..<bytes.count
        var user: String?
        var registry: String?

        if let hash = bytes.firstIndex(of: UInt8(ascii: "#")) {
            // Enroot's separator marks the registry explicitly, even without a dot.
            var host = 0..<hash
            if let at = bytes[host].firstIndex(of: UInt8(ascii: "@")) {
                user = try parser.user(0..<at)
                host = (at + 1)..<hash
            }
            registry = try parser.registry(host)
            rest = (hash + 1)..<bytes.count
        }

        var digest: Digest?
        if let at = bytes[rest].firstIndex(of: UInt8(ascii: "@")) {
            digest = try parser.digest((at + 1)..<rest.upperBound)
            rest = rest.lowerBound..<at
        }
        if registry == nil, let slash = bytes[rest].firstIndex(of: UInt8(ascii: "/")),
            Self.looksLikeRegistry(bytes[rest.lowerBound..<slash])
        {
            registry = try parser.registry(rest.lowerBound..<slash)
            rest = (slash + 1)..<rest.upperBound
        }
        var tag: String?
        if let colon = bytes[rest].lastIndex(of: UInt8(ascii: ":")) {
            tag = try parser.tag((colon + 1)..<rest.upperBound)
            rest = rest.lowerBound..<colon
        }
        var repository = try parser.repository(rest)

        let canonical = registry.map { Self.dockerHubAliases.contains($0) ? Self.dockerHub : $0 } ?? Self.dockerHub
        if canonical == Self.dockerHub, !repository.utf8.contains(UInt8(ascii: "/")) {
            if repository.utf8.count == 64, repository.utf8.allSatisfy({ $0.isLowercaseHexDigit }) {
                throw ReferenceError(text: text, part: .repository, reason: .imageID, position: rest.lowerBound)
            }
            // The full name must be valid, too, so that the displayed name can be parsed.
            let maximum = Self.maximumRepositoryLength - 8
            if repository.utf8.count > maximum {
                throw ReferenceError(
                    text: text, part: .repository, reason: .tooLong(maximum: maximum),
                    position: rest.lowerBound + maximum)
            }
            repository = "library/\(repository)"
        }
        self.init(
            registry: canonical, repository: repository, tag: digest == nil ? tag ?? "latest" : tag, digest: digest,
            user: user)
    }

    /// Docker's rule for the first of several components: a dot, a colon, `localhost` or upper case makes it a host.
    static func looksLikeRegistry(_ bytes: ArraySlice<UInt8>) -> Bool {
        bytes.elementsEqual("localhost".utf8)
            || bytes.contains { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: ":") || $0.isUppercaseLetter }
    }
}

/// Parses the parts of a reference. Ranges are byte offsets in the whole text, so that errors can refer to it.
private struct ReferenceParser {
    let text: String
    let bytes: [UInt8]

    init(text: String) {
        self.text = text
        self.bytes = Array(text.utf8)
    }

    func string(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    func error(_ part: ReferenceError.Part, _ reason: ReferenceError.Reason, at position: Int) -> ReferenceError {
        ReferenceError(text: text, part: part, reason: reason, position: position)
    }

    func user(_ range: Range<Int>) throws(ReferenceError) -> String {
        if range.isEmpty { throw error(.user, .empty, at: range.lowerBound) }
        // Accept printable characters, such as NGC's `$oauthtoken`. Reject those that could end up unescaped in a
        // header.
        for index in range where bytes[index] <= 0x20 || bytes[index] >= 0x7f || bytes[index] == UInt8(ascii: ":") {
            throw error(.user, .unexpected, at: index)
        }
        return string(range)
    }

    func registry(_ range: Range<Int>) throws(ReferenceError) -> String {
        if range.isEmpty { throw error(.registry, .empty, at: range.lowerBound) }
        var host = range
        var port: Range<Int>?
        if bytes[range.lowerBound] == UInt8(ascii: "[") {
            guard let close = bytes[range].firstIndex(of: UInt8(ascii: "]")) else {
                throw error(.registry, .unexpected, at: range.lowerBound)
            }
            host = range.lowerBound..<(close + 1)
            if close + 1 < range.upperBound {
                guard bytes[close + 1] == UInt8(ascii: ":") else { throw error(.registry, .unexpected, at: close + 1) }
                port = (close + 2)..<range.upperBound
            }
            let address = (range.lowerBound + 1)..<close
            for index in address where !bytes[index].isHexDigit && bytes[index] != UInt8(ascii: ":") {
                throw error(.registry, .unexpected, at: index)
            }
            guard bytes[address].count(where: { $0 == UInt8(ascii: ":") }) >= 2 else {
                throw error(.registry, .unexpected, at: range.lowerBound)
            }
        } else {
            if let colon = bytes[range].firstIndex(of: UInt8(ascii: ":")) {
                host = range.lowerBound..<colon
                port = (colon + 1)..<range.upperBound
            }
            try hostName(host)
        }
        var canonical = String(decoding: bytes[host].map { $0.isUppercaseLetter ? $0 | 0x20 : $0 }, as: UTF8.self)
        if let port {
            canonical += ":\(try self.port(port))"
        }
        return canonical
    }

    private func hostName(_ range: Range<Int>) throws(ReferenceError) {
        if range.isEmpty { throw error(.registry, .empty, at: range.lowerBound) }
        if range.count > 253 { throw error(.registry, .tooLong(maximum: 253), at: range.lowerBound + 253) }
        for index in range {
            let byte = bytes[index]
            if byte.isAlphanumeric { continue }
            let isInside = index > range.lowerBound && index < range.upperBound - 1
            let before = isInside ? bytes[index - 1] : 0
            let after = isInside ? bytes[index + 1] : 0
            switch byte {
            case UInt8(ascii: ".") where before.isAlphanumeric && after.isAlphanumeric: continue
            case UInt8(ascii: "-") where isInside && before != UInt8(ascii: ".") && after != UInt8(ascii: "."): continue
            default: throw error(.registry, .unexpected, at: index)
            }
        }
    }

    private func port(_ range: Range<Int>) throws(ReferenceError) -> Int {
        if range.isEmpty { throw error(.port, .empty, at: range.lowerBound) }
        for index in range where !bytes[index].isDigit { throw error(.port, .unexpected, at: index) }
        guard let number = Int(string(range)), 1...65535 ~= number else {
            throw error(.port, .portOutOfRange, at: range.lowerBound)
        }
        return number
    }

    /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/…)*`
    func repository(_ range: Range<Int>) throws(ReferenceError) -> String {
        if range.isEmpty { throw error(.repository, .empty, at: range.lowerBound) }
        if range.count > Reference.maximumRepositoryLength {
            let maximum = Reference.maximumRepositoryLength
            throw error(.repository, .tooLong(maximum: maximum), at: range.lowerBound + maximum)
        }
        // The separators since the last letter or digit. At the start of a component, none is allowed.
        var separators: [UInt8] = [UInt8(ascii: "/")]
        for index in range {
            let byte = bytes[index]
            if byte.isLowercaseAlphanumeric {
                separators = []
                continue
            }
            if byte.isUppercaseLetter { throw error(.repository, .uppercase, at: index) }
            separators.append(byte)
            guard Self.mayFollowAlphanumeric(separators) else { throw error(.repository, .unexpected, at: index) }
        }
        if !separators.isEmpty { throw error(.repository, .unexpected, at: range.upperBound - 1) }
        return string(range)
    }

    private static func mayFollowAlphanumeric(_ separators: [UInt8]) -> Bool {
        switch separators.first {
        case UInt8(ascii: "/"), UInt8(ascii: "."): separators.count == 1
        case UInt8(ascii: "_"): separators.count <= 2 && separators.allSatisfy { $0 == UInt8(ascii: "_") }
        case UInt8(ascii: "-"): separators.allSatisfy { $0 == UInt8(ascii: "-") }
        default: false
        }
    }

    func tag(_ range: Range<Int>) throws(ReferenceError) -> String {
        if range.isEmpty { throw error(.tag, .empty, at: range.lowerBound) }
        for index in range {
            let byte = bytes[index]
            let isPunctuation = index > range.lowerBound && ".-".utf8.contains(byte)
            if !byte.isAlphanumeric, byte != UInt8(ascii: "_"), !isPunctuation {
                throw error(.tag, .unexpected, at: index)
            }
        }
        if range.count > Reference.maximumTagLength {
            let maximum = Reference.maximumTagLength
            throw error(.tag, .tooLong(maximum: maximum), at: range.lowerBound + maximum)
        }
        return string(range)
    }

    func digest(_ range: Range<Int>) throws(ReferenceError) -> Digest {
        if range.isEmpty { throw error(.digest, .empty, at: range.lowerBound) }
        do throws(DigestError) {
            return try Digest(parsing: string(range))
        } catch let cause {
            throw self.error(.digest, .notADigest(cause), at: range.lowerBound)
        }
    }
}
