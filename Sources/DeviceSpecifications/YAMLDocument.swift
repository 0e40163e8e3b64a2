internal import CYAML

/// A YAML document, parsed by libyaml. JSON is a subset of YAML and is read in the same way. Each node has its line.
///
/// https://yaml.org/spec/1.1/
final class YAMLDocument {
    private let document = UnsafeMutablePointer<yaml_document_t>.allocate(capacity: 1)

    /// - Throws: `SpecificationError` with the line and libyaml's description of the problem.
    init(_ text: [UInt8]) throws(SpecificationError) {
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        // `deinit` runs after a throw, too, and deleting an empty document does nothing.
        document.initialize(to: yaml_document_t())
        guard yaml_parser_initialize(parser) == 1 else { preconditionFailure("out of memory") }
        defer { yaml_parser_delete(parser) }
        // Disable detection: UTF-16 is not JSON, and other readers reject it.
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        let isLoaded = text.withUnsafeBufferPointer {
            yaml_parser_set_input_string(parser, $0.baseAddress, $0.count)
            return yaml_parser_load(parser, document) == 1
        }
        guard isLoaded else { throw Self.problem(parser) }
        try Self.requireEnd(parser)
    }

    private static func problem(_ parser: UnsafeMutablePointer<yaml_parser_t>) -> SpecificationError {
        let problem = parser.pointee.problem.map { String(cString: $0) } ?? "unreadable"
        return SpecificationError(Int(parser.pointee.problem_mark.line) + 1, .notYAML(problem))
    }

    /// A second document, or anything else after the first, would be ignored otherwise.
    private static func requireEnd(_ parser: UnsafeMutablePointer<yaml_parser_t>) throws(SpecificationError) {
        var next = yaml_document_t()
        guard yaml_parser_load(parser, &next) == 1 else { throw problem(parser) }
        defer { yaml_document_delete(&next) }
        if let root = yaml_document_get_root_node(&next) {
            throw SpecificationError(Int(root.pointee.start_mark.line) + 1, .notYAML("expected a single document"))
        }
    }

    deinit {
        yaml_document_delete(document)
        document.deallocate()
    }

    /// `nil` for an empty document.
    var root: YAMLNode? { yaml_document_get_root_node(document).map { YAMLNode(self, $0) } }

    fileprivate func node(_ index: CInt) -> YAMLNode {
        guard let node = yaml_document_get_node(document, index) else {
            preconditionFailure("libyaml's nodes refer to nodes of their document")
        }
        return YAMLNode(self, node)
    }
}

/// A node of a document. An alias is replaced by its target.
struct YAMLNode {
    private let document: YAMLDocument
    private let node: UnsafeMutablePointer<yaml_node_t>

    fileprivate init(_ document: YAMLDocument, _ node: UnsafeMutablePointer<yaml_node_t>) {
        self.document = document
        self.node = node
    }

    /// Counted from 1.
    var line: Int { Int(node.pointee.start_mark.line) + 1 }

    /// Keys and values in the document's order; `nil` for another kind of node.
    var mapping: [(key: YAMLNode, value: YAMLNode)]? {
        guard node.pointee.type == YAML_MAPPING_NODE else { return nil }
        let pairs = node.pointee.data.mapping.pairs
        return UnsafeBufferPointer(start: pairs.start, count: pairs.top - pairs.start)
            .map { (document.node($0.key), document.node($0.value)) }
    }

    /// The items of a list; `nil` for another kind of node.
    var sequence: [YAMLNode]? {
        guard node.pointee.type == YAML_SEQUENCE_NODE else { return nil }
        let items = node.pointee.data.sequence.items
        return UnsafeBufferPointer(start: items.start, count: items.top - items.start).map { document.node($0) }
    }

    /// The text of a scalar, quoted or plain; `nil` for another kind of node.
    var string: String? {
        guard node.pointee.type == YAML_SCALAR_NODE else { return nil }
        let scalar = node.pointee.data.scalar
        return String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
    }

    /// The text of an unquoted scalar, which may be a number, a boolean or null.
    private var plain: String? {
        node.pointee.type == YAML_SCALAR_NODE && node.pointee.data.scalar.style == YAML_PLAIN_SCALAR_STYLE
            ? string : nil
    }

    /// https://yaml.org/type/null.html
    var isNull: Bool { plain.map { ["", "~", "null", "Null", "NULL"].contains($0) } ?? false }

    /// https://yaml.org/type/bool.html without `y` and `n`, which readers of CDI specifications do not treat as
    /// booleans.
    var bool: Bool? {
        switch plain {
        case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON": true
        case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF": false
        default: nil
        }
    }

    /// https://yaml.org/type/int.html without base 60: `0660` is octal.
    var integer: Int? {
        guard var digits = plain?.utf8[...] else { return nil }
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative || digits.first == UInt8(ascii: "+") { digits = digits.dropFirst() }
        guard let first = digits.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return nil }
        var radix = 10
        if first == UInt8(ascii: "0"), digits.count > 1 {
            digits = digits.dropFirst()
            switch digits.first {
            case UInt8(ascii: "x"): radix = 16
            case UInt8(ascii: "b"): radix = 2
            case UInt8(ascii: "o"): radix = 8
            default: radix = 8
            }
            if !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digits.first ?? 0) { digits = digits.dropFirst() }
        }
        let text = (isNegative ? "-" : "") + String(decoding: digits.filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
        return Int(text, radix: radix)
    }

    /// Whether the scalar is a string rather than a number, a boolean, null or a date.
    var isText: Bool {
        guard string != nil else { return false }
        guard let plain else { return true }
        return !isNull && bool == nil && integer == nil && !Self.isNumberOrDate(plain) && plain != "<<" && plain != "="
    }

    /// https://yaml.org/type/float.html and https://yaml.org/type/timestamp.html
    private static func isNumberOrDate(_ text: String) -> Bool {
        let unsigned = text.utf8.drop { $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "+") }
        guard let first = unsigned.first, "0123456789.".utf8.contains(first) else { return false }
        if [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(String(unsigned) ?? "") { return true }
        let digits = String(decoding: unsigned.filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
        if Double(digits) != nil { return true }
        let parts = unsigned.prefix(10).split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].count == 4
            && parts.allSatisfy { $0.first.map { "0123456789".utf8.contains($0) } ?? false }
    }
}
