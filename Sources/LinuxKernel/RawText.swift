internal import CLinux

/// Carries arbitrary bytes of arguments, variables and paths in strings without loss. A byte that is not part of UTF-8
/// text becomes a code point of the last private-use plane, U+10FF80 for 0x80 to U+10FFFF for 0xFF. The bytes of these
/// code points are encoded in the same way, so every byte sequence survives the round trip.
package enum RawText {
    private static let first: UInt32 = 0x10FF00
    /// The first byte of all code points in the upper part of the plane, and of few others.
    private static let lead: UInt8 = 0xF4

    /// Whether the string contains encoded bytes.
    package static func holdsBytes(_ text: String) -> Bool {
        text.unicodeScalars.contains { $0.value >= first + 0x80 }
    }

    static func string(_ bytes: UnsafePointer<CChar>) -> String {
        if strchr(bytes, Int32(lead)) == nil, let text = String(validatingCString: bytes) { return text }
        let count = strlen(bytes)
        return bytes.withMemoryRebound(to: UInt8.self, capacity: count) { start in
            escaped(UnsafeBufferPointer(start: start, count: count)[...])
        }
    }

    /// Converts bytes of a file, which may contain NUL.
    package static func string(_ bytes: ArraySlice<UInt8>) -> String {
        if !bytes.contains(lead), let text = String(validating: bytes, as: UTF8.self) { return text }
        return bytes.withUnsafeBufferPointer { escaped($0[...]) }
    }

    private static func escaped(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> String {
        var scalars = String.UnicodeScalarView()
        var rest = bytes
        while !rest.isEmpty {
            var length = 1
            if let scalar = scalar(rest), scalar.value < first {
                scalars.append(scalar)
                length = UTF8.width(scalar)
            } else if let escaped = Unicode.Scalar(first + UInt32(rest[rest.startIndex])) {
                scalars.append(escaped)
            }
            rest = rest.dropFirst(length)
        }
        return String(scalars)
    }

    /// Decodes the first code point. Overlong encodings are invalid.
    private static func scalar(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> Unicode.Scalar? {
        var decoder = UTF8()
        var iterator = bytes.prefix(4).makeIterator()
        guard case .scalarValue(let scalar) = decoder.decode(&iterator) else { return nil }
        return scalar
    }

    /// The original bytes of a string with encoded bytes; `nil` for other strings, whose bytes are their UTF-8.
    static func bytes(_ text: String) -> [UInt8]? {
        var copy = text
        guard copy.withUTF8({ $0.contains(lead) }) else { return nil }
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            if scalar.value >= first + 0x80 {
                bytes.append(UInt8(scalar.value - first))
            } else {
                bytes += Array(String(scalar).utf8)
            }
        }
        return bytes
    }
}
