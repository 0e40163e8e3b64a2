/// A content digest with an algorithm that Berth can verify.
///
/// Values of this type are always valid, so their text is safe as a file name and in a URL.
/// https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
package struct Digest: Hashable, Sendable {
    package enum Algorithm: String, Sendable, CaseIterable {
        case sha256, sha512

        /// Length of the encoded part, in hexadecimal digits.
        package var hexLength: Int { self == .sha256 ? 64 : 128 }
    }

    package let algorithm: Algorithm
    /// The encoded part: lowercase hexadecimal, exactly `algorithm.hexLength` digits.
    package let hex: String

    /// Parses `sha256:…` or `sha512:…`.
    package init(parsing text: String) throws(DigestError) {
        let bytes = text.utf8
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), Self.isAlgorithm(bytes[..<colon]) else {
            throw DigestError(text: text, reason: .noAlgorithm)
        }
        let name = String(text[..<colon])
        let encoded = bytes[bytes.index(after: colon)...]
        guard let algorithm = Algorithm(rawValue: name) else {
            // The specification allows unknown algorithms, but Berth could not verify them.
            throw DigestError(text: text, reason: .unsupportedAlgorithm(name))
        }
        // Reject uppercase rather than convert it: two spellings of one blob would become two files in the store.
        guard encoded.allSatisfy({ $0.isLowercaseHexDigit }) else {
            throw DigestError(text: text, reason: .notLowercaseHex)
        }
        guard encoded.count == algorithm.hexLength else {
            throw DigestError(text: text, reason: .wrongLength(expected: algorithm.hexLength, found: encoded.count))
        }
        self.algorithm = algorithm
        self.hex = String(text[text.utf8.index(after: colon)...])
    }

    /// Creates a digest from the output of a hash function; `nil` if the length does not match the algorithm.
    package init?(_ algorithm: Algorithm, bytes: some Collection<UInt8>) {
        guard bytes.count * 2 == algorithm.hexLength else { return nil }
        var hex: [UInt8] = []
        hex.reserveCapacity(algorithm.hexLength)
        for byte in bytes {
            hex.append(Self.digits[Int(byte >> 4)])
            hex.append(Self.digits[Int(byte & 15)])
        }
        self.algorithm = algorithm
        self.hex = String(decoding: hex, as: UTF8.self)
    }

    private static let digits = Array("0123456789abcdef".utf8)

    /// `[a-z0-9]+([+._-][a-z0-9]+)*`
    private static func isAlgorithm(_ bytes: Substring.UTF8View) -> Bool {
        var expectsComponent = true
        for byte in bytes {
            if byte.isLowercaseAlphanumeric {
                expectsComponent = false
            } else if !expectsComponent, "+._-".utf8.contains(byte) {
                expectsComponent = true
            } else {
                return false
            }
        }
        return !expectsComponent
    }
}

extension Digest: CustomStringConvertible {
    package var description: String { "\(algorithm.rawValue):\(hex)" }
}

extension Digest: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do throws(DigestError) {
            self = try Digest(parsing: text)
        } catch {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "not a digest", underlyingError: error))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Why a text is not a digest that Berth can verify.
package struct DigestError: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        /// The prefix `algorithm:` is missing or malformed.
        case noAlgorithm
        case unsupportedAlgorithm(String)
        case notLowercaseHex
        case wrongLength(expected: Int, found: Int)
    }

    package let text: String
    package let reason: Reason

    package init(text: String, reason: Reason) {
        self.text = text
        self.reason = reason
    }
}

extension UInt8 {
    var isDigit: Bool { UInt8(ascii: "0") <= self && self <= UInt8(ascii: "9") }
    var isLowercaseLetter: Bool { UInt8(ascii: "a") <= self && self <= UInt8(ascii: "z") }
    var isUppercaseLetter: Bool { UInt8(ascii: "A") <= self && self <= UInt8(ascii: "Z") }
    var isLowercaseAlphanumeric: Bool { isDigit || isLowercaseLetter }
    var isAlphanumeric: Bool { isLowercaseAlphanumeric || isUppercaseLetter }
    var isLowercaseHexDigit: Bool { isDigit || (UInt8(ascii: "a") <= self && self <= UInt8(ascii: "f")) }
    var isHexDigit: Bool { isLowercaseHexDigit || (UInt8(ascii: "A") <= self && self <= UInt8(ascii: "F")) }
}
