/// The name of a CDI device: `vendor.com/class=name`.
package struct QualifiedName: Equatable, Hashable, Sendable {
    package let vendor: String
    package let `class`: String
    package let name: String

    package var kind: String { vendor + "/" + `class` }
    package var text: String { kind + "=" + name }

    package enum Refusal: Error, Equatable, Sendable {
        case notQualified
        case badVendor
        case badClass
        case badName
    }

    package init(parsing text: String) throws(Refusal) {
        let bytes = text.utf8
        guard let equals = bytes.firstIndex(of: UInt8(ascii: "=")), bytes.first != UInt8(ascii: "/"),
            let slash = bytes[..<equals].firstIndex(of: UInt8(ascii: "/"))
        else { throw .notQualified }
        vendor = String(text[..<slash])
        `class` = String(text[text.utf8.index(after: slash)..<equals])
        name = String(text[text.utf8.index(after: equals)...])
        guard Self.isVendorOrClass(vendor) else { throw .badVendor }
        guard Self.isVendorOrClass(`class`) else { throw .badClass }
        guard Self.isDeviceName(name) else { throw .badName }
    }

    /// A letter first, a letter or digit last, and `_`, `-` or `.` in between. Like the reference implementation, this
    /// does not require the vendor to be a DNS name, although the specification does.
    package static func isVendorOrClass(_ text: String) -> Bool {
        guard let first = text.utf8.first, isLetter(first) else { return false }
        return hasGoodRest(text, "_-.")
    }

    /// Like `isVendorOrClass`, but the first character may be a digit, and `:` is allowed inside.
    package static func isDeviceName(_ text: String) -> Bool {
        guard let first = text.utf8.first, isLetter(first) || isDigit(first) else { return false }
        return hasGoodRest(text, "_-.:")
    }

    private static func hasGoodRest(_ text: String, _ between: String) -> Bool {
        guard let last = text.utf8.last, isLetter(last) || isDigit(last) else { return false }
        return text.utf8.allSatisfy { isLetter($0) || isDigit($0) || between.utf8.contains($0) }
    }

    static func isLetter(_ byte: UInt8) -> Bool {
        (byte | 0x20) >= UInt8(ascii: "a") && (byte | 0x20) <= UInt8(ascii: "z")
    }
    static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }
}
