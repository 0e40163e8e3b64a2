package import ImageSpec
internal import LinuxKernel

/// The path below `refs/` that records the name of an image. It is readable with `ls`.
///
/// A registry tag may later name another image. The key of a local archive or layout contains the file's identity from
/// stat(2), so a changed file gets another key.
package struct ImageKey: Hashable, Sendable {
    /// Directories, then the name of the entry. No component is `.` or `..` or contains a slash.
    let components: [String]
    /// The path of a layout or archive as the user wrote it, for display. The components contain only its stat(2)
    /// fields.
    var source: String?

    package static func == (one: Self, other: Self) -> Bool { one.components == other.components }
    package func hash(into hasher: inout Hasher) { hasher.combine(components) }

    /// - Throws: `SystemError` if stat(2) fails on a local source.
    package init(_ source: ImageSource, platform: Platform) throws(StoreError) {
        let suffix = platform == .host ? "" : "+" + Self.encoded(platform)
        switch source {
        case .docker(let reference):
            components =
                ["docker", reference.registry] + reference.repository.split(separator: "/").map(String.init)
                + [Self.entry(reference.tag, reference.digest) + suffix]
        case .ociLayout(let path, let tag):
            components = ["oci", try Self.fingerprint(of: path + "/index.json"), Self.entry(tag, nil) + suffix]
        case .ociArchive(let path, let tag):
            components = ["oci-archive", try Self.fingerprint(of: path), Self.entry(tag, nil) + suffix]
        case .dockerArchive(let path, let tag):
            components = ["docker-archive", try Self.fingerprint(of: path), Self.entry(tag, nil) + suffix]
        case .directory(let path):
            components = ["dir", try Self.fingerprint(of: path)]
        }
        if case .docker = source { return }
        let text = source.description
        // The source becomes one line of the name's file.
        if text.utf8.count < 4200, !text.utf8.contains(where: { $0 == 0x0A || $0 == 0 }) { self.source = text }
    }

    package func isFor(_ platform: Platform) -> Bool {
        // `init` omits the host's platform and spells out every other platform.
        let parts = (components.last ?? "").split(separator: "+", maxSplits: 1)
        return (parts.count > 1 ? String(parts[1]) : nil) == (platform == .host ? nil : Self.encoded(platform))
    }

    init?(components: [String]) {
        guard components.count > 1, components.allSatisfy({ $0 != "." && $0 != ".." && !$0.contains("/") }) else {
            return nil
        }
        self.components = components
    }

    /// Not `joined()`, whose generic types cost a launch more than the rest of the look-up.
    var path: String {
        var path = components[0]
        for component in components.dropFirst() {
            path += "/"
            path += component
        }
        return path
    }

    /// A digest takes precedence over a tag, as in the distribution-spec. A tag contains neither `@` nor `:`, so the
    /// first character tells the two apart. No repository component begins with either.
    private static func entry(_ tag: String?, _ digest: Digest?) -> String {
        if let digest { return "@" + digest.directoryName }
        // A tag of an OCI layout may contain any character, so escape those with a meaning in the file name.
        return ":" + escaped(tag ?? "latest", "%/+")
    }

    /// `linux-arm-v7` is linux/arm/v7; the architecture arm-v7 would be `linux-arm%2Dv7`.
    private static func encoded(_ platform: Platform) -> String {
        [platform.os, platform.architecture, platform.variant].compactMap { $0 }.map { escaped($0, "%/+-") }
            .joined(separator: "-")
    }

    /// Replaces the characters by `%` and two hexadecimal digits, as RFC 3986, section 2.1, does.
    private static func escaped(_ text: String, _ characters: String) -> String {
        if !text.utf8.contains(where: { byte in characters.utf8.contains { $0 == byte } }) { return text }
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if characters.utf8.contains(byte) {
                bytes += "%\(String(byte, radix: 16, uppercase: true))".utf8
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func fingerprint(of path: String) throws(StoreError) -> String {
        let status: FileStatus
        do throws(SystemError) { status = try FileStatus(of: path) } catch { throw .source(path: path, error) }
        return fingerprint(status)
    }

    /// Identifies a file in its present state. It includes the change time, which programs cannot set: a program can
    /// modify a file in place and then reset its modification time.
    static func fingerprint(_ status: FileStatus) -> String {
        let (modified, changed) = (status.modified, status.changed)
        return "\(status.device)-\(status.inode)-\(status.size)-\(modified.seconds).\(modified.nanoseconds)"
            + "-\(changed.seconds).\(changed.nanoseconds)"
    }
}

extension Digest {
    /// The digest as a file name: `sha256-…`. The digest grammar excludes slashes and dots.
    package var directoryName: String { "\(algorithm.rawValue)-\(hex)" }
}
