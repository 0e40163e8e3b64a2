internal import LinuxKernel

/// A JSON document to be written: a launcher that never reads one needs no library for it. Objects keep their order.
/// https://www.rfc-editor.org/rfc/rfc8259
package indirect enum JSON: Equatable, Sendable {
    case string(String)
    case number(UInt64)
    case bool(Bool)
    case null
    case array([JSON])
    case object([Member])
    /// A document as another program has written it.
    case raw(String)

    package struct Member: Equatable, Sendable {
        package let name: String
        package let value: JSON
        package init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }

    /// Members in order; those without a value are left out.
    package static func members(_ members: (String, JSON?)...) -> JSON {
        .object(members.compactMap { name, value in value.map { Member(name, $0) } })
    }

    package static func strings(_ strings: some Sequence<String>) -> JSON { .array(strings.map { .string($0) }) }

    /// With a line for each value, as people read it.
    package var text: String {
        var bytes: [UInt8] = []
        write(to: &bytes, indent: 0)
        bytes.append(UInt8(ascii: "\n"))
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A string in it that is no UTF-8, which JSON cannot hold.
    package var unwritable: String? {
        switch self {
        case .string(let text), .raw(let text): RawText.holdsBytes(text) ? text : nil
        case .array(let values): values.lazy.compactMap(\.unwritable).first
        case .object(let members): members.lazy.compactMap(\.value.unwritable).first
        case .number, .bool, .null: nil
        }
    }

    private func write(to bytes: inout [UInt8], indent: Int) {
        switch self {
        case .string(let string): Self.write(string, to: &bytes)
        case .number(let number): bytes += Array(String(number).utf8)
        case .bool(let value): bytes += Array((value ? "true" : "false").utf8)
        case .null: bytes += Array("null".utf8)
        case .raw(let text): bytes += Array(text.utf8)
        case .array(let values):
            Self.write(values, between: "[", "]", to: &bytes, indent) { value, bytes in
                value.write(to: &bytes, indent: indent + 2)
            }
        case .object(let members):
            Self.write(members, between: "{", "}", to: &bytes, indent) { member, bytes in
                Self.write(member.name, to: &bytes)
                bytes += Array(": ".utf8)
                member.value.write(to: &bytes, indent: indent + 2)
            }
        }
    }

    private static func write<Value>(
        _ values: [Value], between open: String, _ close: String, to bytes: inout [UInt8], _ indent: Int,
        _ each: (Value, inout [UInt8]) -> Void
    ) {
        bytes += Array(open.utf8)
        for (index, value) in values.enumerated() {
            bytes += Array((index == 0 ? "\n" : ",\n").utf8)
            bytes += [UInt8](repeating: UInt8(ascii: " "), count: indent + 2)
            each(value, &bytes)
        }
        if !values.isEmpty {
            bytes.append(UInt8(ascii: "\n"))
            bytes += [UInt8](repeating: UInt8(ascii: " "), count: indent)
        }
        bytes += Array(close.utf8)
    }

    private static func write(_ string: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"", "\\": bytes += [UInt8(ascii: "\\"), UInt8(truncatingIfNeeded: scalar.value)]
            // The same to a machine, and harmless to a terminal.
            case _ where TerminalText.steers(scalar): bytes += Array(TerminalText.jsonEscape(scalar).utf8)
            default: bytes += Array(String(scalar).utf8)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
