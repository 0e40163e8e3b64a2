package import ImageSpec
internal import LinuxKernel

/// Under which name an image is found again: a path below `refs/`, readable with `ls`.
///
/// A tag of a registry is a name that may come to mean another image. A local archive or layout is named by what
/// stat(2) says of it, so that a changed file is another image.
package struct ImageKey: Hashable, Sendable {
    /// Directories, then the entry's name. None is `.` or `..` or holds a slash.
    let components: [String]
    /// A layout or an archive as it was asked for, for people; the components say only what stat(2) said of it.
    var source: String?

    package static func == (one: Self, other: Self) -> Bool { one.components == other.components }
    package func hash(into hasher: inout Hasher) { hasher.combine(components) }

    /// - Throws: `SystemError` where a local source can not be looked at.
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
        // It becomes a line of a file.
        if text.utf8.count < 4200, !text.utf8.contains(where: { $0 == 0x0A || $0 == 0 }) { self.source = text }
    }

    package func isFor(_ platform: Platform) -> Bool {
        // Everywhere else it is spelled out.
        let parts = (components.last ?? "").split(separator: "+", maxSplits: 1)
        return (parts.count > 1 ? String(parts[1]) : nil) == (platform == .host ? nil : Self.encoded(platform))
    }

    init?(components: [String]) {
        guard components.count > 1, components.allSatisfy({ $0 != "." && $0 != ".." && !$0.contains("/") }) else {
            return nil
        }
        self.components = components
    }

    /// Not `joined`, whose generic types cost a launch more than the rest of the look-up.
    var path: String {
        var path = components[0]
        for component in components.dropFirst() {
            path += "/"
            path += component
        }
        return path
    }

    /// A digest wins over a tag, as in the distribution-spec. A tag holds neither `@` nor `:`, so the first
    /// character tells which it is, and no repository component begins with either.
    private static func entry(_ tag: String?, _ digest: Digest?) -> String {
        if let digest { return "@" + digest.directoryName }
        // Tags of OCI layouts may hold anything; what else means something in a file's name is spelled out.
        return ":" + escaped(tag ?? "latest", "%/+")
    }

    /// `linux-arm-v7` is linux/arm/v7; the architecture arm-v7 would be `linux-arm%2Dv7`.
    private static func encoded(_ platform: Platform) -> String {
        [platform.os, platform.architecture, platform.variant].compactMap { $0 }.map { escaped($0, "%/+-") }
            .joined(separator: "-")
    }

    /// The characters as `%` and two digits, as in RFC 3986, section 2.1.
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

    /// Of a file in its present state. With the time of change, which no program sets: a file may be written in place, and its
    /// other time be set back.
    static func fingerprint(_ status: FileStatus) -> String {
        let (modified, changed) = (status.modified, status.changed)
        return "\(status.device)-\(status.inode)-\(status.size)-\(modified.seconds).\(modified.nanoseconds)"
            + "-\(changed.seconds).\(changed.nanoseconds)"
    }
}

extension Digest {
    /// A file name: `sha256-…`. The grammar leaves nothing in it that a path could misread.
    package var directoryName: String { "\(algorithm.rawValue)-\(hex)" }
}
