internal import CTOMLPlusPlus
internal import FoundationEssentials
internal import Glibc

/// A value of a TOML document: https://toml.io/en/v1.0.0. Dates and times are strings.
package enum TOMLValue: Equatable, Sendable {
    case string(String)
    case integer(Int)
    case float(Double)
    case boolean(Bool)
    case array([TOMLValue])
    case table([String: TOMLValue])

    package struct SyntaxError: Error, Equatable, Sendable {
        /// From 1.
        package let line: Int
        package let reason: String
    }

    /// - Throws: `SyntaxError`, for text that is not UTF-8 as well.
    package static func document(_ bytes: [UInt8]) throws(SyntaxError) -> [String: TOMLValue] {
        var line: UInt32 = 0
        let result = bytes.withUnsafeBytes { buffer in
            berth_toml_as_json(buffer.baseAddress?.assumingMemoryBound(to: CChar.self), buffer.count, &line)
        }
        guard let result else { throw SyntaxError(line: 1, reason: "out of memory") }
        defer { free(result) }
        let text = String(cString: result)
        guard line == 0 else { throw SyntaxError(line: Int(line), reason: text) }
        do { return try JSONDecoder().decode([String: TOMLValue].self, from: Data(text.utf8)) } catch {
            throw SyntaxError(line: 1, reason: "a value has no form in JSON")
        }
    }
}

extension TOMLValue: Decodable {
    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        // In an order in which no value passes for another: JSON has one kind of number.
        if let found = try? value.decode(Bool.self) {  // another kind of value
            self = .boolean(found)
        } else if let found = try? value.decode(Int.self) {  // another kind of value
            self = .integer(found)
        } else if let found = try? value.decode(Double.self) {  // another kind of value
            self = .float(found)
        } else if let found = try? value.decode(String.self) {  // another kind of value
            self = .string(found)
        } else if let found = try? value.decode([TOMLValue].self) {  // another kind of value
            self = .array(found)
        } else {
            self = .table(try value.decode([String: TOMLValue].self))
        }
    }
}

extension TOMLValue {
    /// A document with these keys in this order, tables last. Other keys follow by name.
    package static func text(_ document: [String: TOMLValue], order: [String]) -> String {
        let names = order.filter { document[$0] != nil } + document.keys.filter { !order.contains($0) }.sorted()
        var (values, tables) = ("", "")
        for name in names {
            guard let value = document[name] else { continue }
            if case .table(let entries) = value {
                tables += "\n[\(key(name))]\n"
                for (name, value) in entries.sorted(by: { $0.key < $1.key }) { tables += "\(key(name)) = \(value.text)\n" }
            } else {
                values += "\(key(name)) = \(value.text)\n"
            }
        }
        return values + tables
    }

    private var text: String {
        switch self {
        case .string(let text): Self.quoted(text)
        case .integer(let number): "\(number)"
        case .float(let number): "\(number)"
        case .boolean(let flag): flag ? "true" : "false"
        case .array(let values): "[" + values.map(\.text).joined(separator: ", ") + "]"
        case .table(let entries):
            "{ "
                + entries.sorted { $0.key < $1.key }.map { "\(Self.key($0.key)) = \($0.value.text)" }.joined(separator: ", ")
                + " }"
        }
    }

    private static func key(_ name: String) -> String {
        let isBare =
            !name.isEmpty
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
        return isBare ? name : quoted(name)
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 || scalar.value == 0x7F {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
