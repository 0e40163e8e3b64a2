/// Why a JSON document is rejected before it is decoded.
package struct DocumentFault: Error, Equatable, Sendable {
    /// The keys that lead to the fault, such as `config.Labels`; empty at the top level.
    package let path: String
    package let reason: Reason

    package init(path: String = "", _ reason: Reason) {
        self.path = path
        self.reason = reason
    }

    package enum Reason: Equatable, Sendable {
        case byteOrderMark
        /// UTF-16 or UTF-32; JSON is UTF-8 (RFC 8259, section 8.1).
        case otherEncoding
        case repeatedKey(String)
        /// Go's JSON decoder treats these keys as equal.
        case keysDifferInCase(String, String)
        case tooDeep(limit: Int)
        case tooManyValues(limit: Int)
        /// Invalid JSON at this byte offset.
        case notJSON(offset: Int)
        /// The decoder's message.
        case wrongContent(String)
    }
}

extension DocumentFault: CustomStringConvertible {
    package var description: String {
        let sentence =
            switch reason {
            case .byteOrderMark: "it begins with a byte order mark, which JSON must not have"
            case .otherEncoding: "it is encoded in UTF-16 or UTF-32, and JSON must be UTF-8"
            case .repeatedKey(let key): "the key \"\(key)\" occurs twice, so its meaning depends on the reader"
            case .keysDifferInCase(let key, let other):
                "the key \"\(key)\" differs from \"\(other)\" only in case, so its meaning depends on the reader"
            case .tooDeep(let limit): "it is nested more than \(limit) levels deep"
            case .tooManyValues(let limit): "it has more than \(limit) values"
            case .notJSON(let offset): "it is not valid JSON at byte \(offset)"
            case .wrongContent(let text): text
            }
        return path.isEmpty ? sentence : "\(path): \(sentence)"
    }
}
