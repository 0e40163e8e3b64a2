internal import LinuxKernel

/// A mapping of the document. Fields are removed as they are read; those left at the end are unknown.
///
/// JSON is read as YAML, of which it is a subset, as the reference implementation does. Each node has its line.
struct Fields {
    let line: Int
    private var left: [(name: String, line: Int, value: YAMLNode)] = []

    init(_ node: YAMLNode, _ field: String) throws(SpecificationError) {
        guard let mapping = node.mapping else {
            throw SpecificationError(node.line, .wrongType(field: field, expected: "an object"))
        }
        line = node.line
        var names: Set<String> = []
        for (key, value) in mapping {
            guard let name = key.string else {
                throw SpecificationError(key.line, .wrongType(field: field, expected: "an object"))
            }
            guard names.insert(name).inserted else {
                throw SpecificationError(key.line, .twice(field: name))
            }
            left.append((name, key.line, value))
        }
    }

    private mutating func take(_ name: String) -> (line: Int, value: YAMLNode)? {
        guard let place = left.firstIndex(where: { $0.name == name }) else { return nil }
        let field = left.remove(at: place)
        // Like Go's decoder, treat null as absent.
        if field.value.isNull { return nil }
        return (field.line, field.value)
    }

    func finish() throws(SpecificationError) {
        if let field = left.first { throw SpecificationError(field.line, .unknownField(field.name)) }
    }

    // MARK: Values

    mutating func string(_ name: String) throws(SpecificationError) -> String? {
        guard let (line, value) = take(name) else { return nil }
        return try Self.string(value, line, name)
    }

    private static func string(_ node: YAMLNode, _ line: Int, _ name: String) throws(SpecificationError) -> String {
        guard let text = node.string else {
            throw SpecificationError(line, .wrongType(field: name, expected: "a string"))
        }
        guard !text.utf8.contains(where: { $0 == 0 || $0 == 0x1F }) else {
            throw SpecificationError(line, .controlCharacter(field: name))
        }
        return text
    }

    mutating func required(_ name: String) throws(SpecificationError) -> String {
        guard let text = try string(name), !text.isEmpty else {
            throw SpecificationError(line, .missing(field: name))
        }
        return text
    }

    mutating func path(_ name: String) throws(SpecificationError) -> String {
        let text = try required(name)
        guard text.hasPrefix("/") else { throw SpecificationError(line, .notAbsolute(field: name, text)) }
        return text
    }

    mutating func integer<Number: FixedWidthInteger>(
        _ name: String, as type: Number.Type
    ) throws(SpecificationError) -> Number? {
        guard let (line, value) = take(name) else { return nil }
        return try Self.integer(value, line, name, as: type)
    }

    private static func integer<Number: FixedWidthInteger>(
        _ node: YAMLNode, _ line: Int, _ name: String, as type: Number.Type
    ) throws(SpecificationError) -> Number {
        guard let whole = node.integer, let number = Number(exactly: whole) else {
            throw SpecificationError(line, .wrongType(field: name, expected: "a whole number"))
        }
        return number
    }

    mutating func flag(_ name: String) throws(SpecificationError) -> Bool? {
        guard let (line, value) = take(name) else { return nil }
        guard let flag = value.bool else {
            throw SpecificationError(line, .wrongType(field: name, expected: "true or false"))
        }
        return flag
    }

    private mutating func list(_ name: String) throws(SpecificationError) -> [YAMLNode]? {
        guard let (line, value) = take(name) else { return nil }
        guard let sequence = value.sequence else {
            throw SpecificationError(line, .wrongType(field: name, expected: "a list"))
        }
        return sequence
    }

    mutating func strings(_ name: String) throws(SpecificationError) -> [(line: Int, text: String)]? {
        guard let nodes = try list(name) else { return nil }
        var result: [(line: Int, text: String)] = []
        for node in nodes { result.append((node.line, try Self.string(node, node.line, name))) }
        return result
    }

    mutating func integers(_ name: String) throws(SpecificationError) -> [UInt32] {
        var result: [UInt32] = []
        for node in try list(name) ?? [] {
            result.append(try Self.integer(node, node.line, name, as: UInt32.self))
        }
        return result
    }

    mutating func object(_ name: String) throws(SpecificationError) -> Fields? {
        guard let (_, value) = take(name) else { return nil }
        return try Fields(value, name)
    }

    mutating func objects(_ name: String) throws(SpecificationError) -> [Fields] {
        var result: [Fields] = []
        for node in try list(name) ?? [] { result.append(try Fields(node, name)) }
        return result
    }

    /// Checks annotations by the rules of Kubernetes. A launch ignores them.
    mutating func annotations() throws(SpecificationError) -> Int {
        guard var fields = try object("annotations") else { return 0 }
        let names = fields.left.map(\.name)
        var size = 0
        for name in names {
            guard let (line, value) = fields.take(name), value.isText, let text = value.string, Self.isAnnotation(name)
            else { throw SpecificationError(fields.line, .badAnnotation(name)) }
            size += name.utf8.count + text.utf8.count
            guard size <= 256 << 10 else { throw SpecificationError(line, .badAnnotation(name)) }
        }
        return names.count
    }

    /// `[DNS-SUBDOMAIN/]NAME`. The name has at most 63 letters, digits, `-`, `_` and `.`, and alphanumeric ends.
    private static func isAnnotation(_ key: String) -> Bool {
        let parts = key.lowercased().split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let name = parts.last, isName(name, 63, "-_.") else { return false }
        guard parts.count == 2 else { return true }
        return parts[0].utf8.count <= 253
            && parts[0].split(separator: ".", omittingEmptySubsequences: false).allSatisfy { isName($0, 253, "-") }
    }

    private static func isName(_ text: Substring, _ limit: Int, _ between: String) -> Bool {
        func isAlphanumeric(_ character: Character) -> Bool {
            character.isASCII && (character.isLetter || character.isNumber)
        }
        guard let first = text.first, let last = text.last, text.utf8.count <= limit else { return false }
        return isAlphanumeric(first) && isAlphanumeric(last)
            && text.allSatisfy { isAlphanumeric($0) || between.contains($0) }
    }
}
