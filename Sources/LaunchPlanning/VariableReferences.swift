/// `${NAME}` and `${NAME:-DEFAULT}` in a text, as in EDF files. `$$` is one dollar sign; any other `$` stands for itself.
package enum VariableReferences {
    package enum Fault: Error, Equatable, Sendable {
        /// A variable without a value, and no default.
        case unset(String)
        /// What follows `${` is no name, or `}` is missing.
        case malformed(String)
    }

    /// - Parameter value: Of a variable, by its name; an empty value counts for a reference without a default only.
    package static func resolve(
        _ text: String, _ value: (String) -> String?
    ) throws(Fault) -> String {
        var result: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "$"), let next = rest.first else {
                result.append(byte)
                continue
            }
            switch next {
            case UInt8(ascii: "$"):
                rest.removeFirst()
                result.append(byte)
            case UInt8(ascii: "{"):
                guard let end = rest.firstIndex(of: UInt8(ascii: "}")) else { throw .malformed(text) }
                let reference = rest[(rest.startIndex + 1)..<end]
                rest = rest[(end + 1)...]
                result += try resolve(reference, value).utf8
            default: result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func resolve(
        _ reference: ArraySlice<UInt8>, _ value: (String) -> String?
    ) throws(Fault) -> String {
        let name = reference.prefix(while: isOfName)
        let operand = reference[name.endIndex...]
        let text = String(decoding: name, as: UTF8.self)
        guard let first = name.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first),
            operand.isEmpty || operand.starts(with: ":-".utf8)
        else { throw .malformed("${\(String(decoding: reference, as: UTF8.self))}") }
        let found = value(text)
        if operand.isEmpty {
            guard let found else { throw .unset(text) }
            return found
        }
        return found.flatMap { $0.isEmpty ? nil : $0 } ?? String(decoding: operand.dropFirst(2), as: UTF8.self)
    }

    /// Whether `resolve` would change it.
    package static func occur(in text: String) -> Bool {
        var isAfterDollar = false
        for byte in text.utf8 {
            if isAfterDollar, byte == UInt8(ascii: "{") || byte == UInt8(ascii: "$") { return true }
            isAfterDollar = byte == UInt8(ascii: "$")
        }
        return false
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
