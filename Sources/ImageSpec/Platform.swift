/// An operating system and architecture, with Go's names.
///
/// https://github.com/opencontainers/image-spec/blob/main/image-index.md#image-index-property-descriptions
package struct Platform: Hashable, Sendable {
    package let os: String
    package let architecture: String
    /// Also `nil` if the architecture implies it, so that `arm64/v8` equals `arm64`.
    package let variant: String?

    /// Accepts the names of `uname -m` and Debian, and normalizes them as containerd does.
    package init(os: String, architecture: String, variant: String? = nil) {
        let variant = variant.flatMap { $0.isEmpty ? nil : Self.normalizedVariant($0) }
        self.os = os.lowercased()
        switch architecture.lowercased() {
        case "x86_64", "x86-64", "amd64": (self.architecture, self.variant) = ("amd64", variant == "v1" ? nil : variant)
        case "aarch64", "arm64": (self.architecture, self.variant) = ("arm64", variant == "v8" ? nil : variant)
        case "i386", "i486", "i586", "i686", "386": (self.architecture, self.variant) = ("386", variant)
        case "armhf": (self.architecture, self.variant) = ("arm", "v7")
        case "armel": (self.architecture, self.variant) = ("arm", "v6")
        case "arm": (self.architecture, self.variant) = ("arm", variant ?? "v7")
        case let other: (self.architecture, self.variant) = (other, variant)
        }
    }

    /// `8` and `V8` mean `v8`.
    private static func normalizedVariant(_ text: String) -> String {
        let lower = text.lowercased()
        return lower.utf8.first?.isDigit == true ? "v\(lower)" : lower
    }

    /// Parses `OS/ARCHITECTURE[/VARIANT]`, or an architecture alone for Linux.
    package init(parsing text: String) throws(PlatformError) {
        var parts: [String] = []
        var part = ""
        for byte in text.utf8 {
            if byte == UInt8(ascii: "/") {
                parts.append(part)
                part = ""
            } else {
                guard
                    byte.isAlphanumeric || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".")
                        || byte == UInt8(ascii: "-")
                else { throw PlatformError(text: text) }
                part.unicodeScalars.append(Unicode.Scalar(byte))
            }
        }
        parts.append(part)
        guard parts.count <= 3, !parts.contains("") else { throw PlatformError(text: text) }
        switch parts.count {
        case 1: self.init(os: "linux", architecture: parts[0])
        case 2: self.init(os: parts[0], architecture: parts[1])
        default: self.init(os: parts[0], architecture: parts[1], variant: parts[2])
        }
    }

    /// Fills in missing values from another platform.
    func completed(by other: Platform) -> Platform {
        Platform(
            os: os.isEmpty ? other.os : os, architecture: architecture.isEmpty ? other.architecture : architecture,
            variant: variant)
    }

    /// The platform of this program, without a variant, because the processor may support newer ones.
    package static let host: Platform = {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #elseif arch(powerpc64le)
            Platform(os: "linux", architecture: "ppc64le")
        #elseif arch(riscv64)
            Platform(os: "linux", architecture: "riscv64")
        #elseif arch(s390x)
            Platform(os: "linux", architecture: "s390x")
        #else
            #error("name this processor in Go's words")
        #endif
    }()
}

extension Platform {
    /// How well an image for `other` suits this platform: 0 is exact, a greater number is older, `nil` cannot run.
    ///
    /// An older variant runs on a newer processor: v7 code on arm v8, plain amd64 on amd64/v3.
    package func distance(to other: Platform) -> Int? {
        guard os == other.os, architecture == other.architecture else { return nil }
        if variant == other.variant { return 0 }
        guard let mine = variantRank, let theirs = other.variantRank, theirs <= mine else { return nil }
        return mine - theirs
    }

    package func canRun(_ other: Platform) -> Bool { distance(to: other) != nil }

    /// `v8.1` is 801. A missing variant counts as the implied one. Returns `nil` for variants without an order.
    private var variantRank: Int? {
        guard let variant else {
            return switch architecture {
            case "amd64": 100
            case "arm64": 800
            default: 0
            }
        }
        guard variant.utf8.first == UInt8(ascii: "v") else { return nil }
        let parts = variant.utf8.dropFirst().split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard let major = parts.first.flatMap({ UInt16($0) }), parts.count <= 2 else { return nil }
        guard parts.count == 2 else { return Int(major) * 100 }
        return UInt8(parts[1]).map { Int(major) * 100 + Int($0) }
    }
}

extension Platform: CustomStringConvertible {
    package var description: String { "\(os)/\(architecture)\(variant.map { "/\($0)" } ?? "")" }
}

extension Platform: Codable {
    private enum Key: String, CodingKey { case os, architecture, variant }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        self.init(
            os: try container.decodeIfPresent(String.self, forKey: .os) ?? "",
            architecture: try container.decodeIfPresent(String.self, forKey: .architecture) ?? "",
            variant: try container.decodeIfPresent(String.self, forKey: .variant))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(os, forKey: .os)
        try container.encode(architecture, forKey: .architecture)
        try container.encodeIfPresent(variant, forKey: .variant)
    }
}

/// A text that is not `OS/ARCHITECTURE[/VARIANT]`.
package struct PlatformError: Error, Equatable, Sendable {
    package let text: String

    package init(text: String) { self.text = text }
}
