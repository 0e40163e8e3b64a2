/// The location of an image, as written on the command line.
///
/// The syntax follows containers-transports(5) and Enroot.
package enum ImageSource: Hashable, Sendable {
    /// `docker://REFERENCE`, or an argument without a scheme.
    case docker(Reference)
    /// `oci:DIRECTORY[:TAG]`: an OCI image layout.
    case ociLayout(path: String, tag: String?)
    /// `oci-archive:FILE[:TAG]`: a tar of an OCI image layout.
    case ociArchive(path: String, tag: String?)
    /// `docker-archive:FILE[:TAG]`: an archive of `docker save`. The tag may be a full reference.
    case dockerArchive(path: String, tag: String?)
    /// `dir:PATH`: a root file system that is used in place.
    case directory(path: String)
}

extension ImageSource {
    package enum Scheme: String, Sendable, CaseIterable {
        case docker
        case ociLayout = "oci"
        case ociArchive = "oci-archive"
        case dockerArchive = "docker-archive"
        case directory = "dir"
    }

    /// Schemes of other tools that cannot be repository names, so that the error can suggest a replacement.
    static let foreignSchemes = ["docker-daemon", "containers-storage", "ostree", "oci-dir"]

    /// The path of a local image.
    package var path: String? {
        switch self {
        case .docker: nil
        case .ociLayout(let path, _), .ociArchive(let path, _), .dockerArchive(let path, _), .directory(let path): path
        }
    }

    package init(parsing text: String) throws(ImageSourceError) {
        if text.isEmpty { throw .empty }
        guard let (scheme, rest) = try Self.scheme(of: text) else {
            if let kind = Self.imageFileKind(text) { throw .imageFile(path: text, kind: kind) }
            if text == "." || text == ".." || ["/", "./", "../"].contains(where: text.begins) {
                throw .pathWithoutScheme(text)
            }
            self = .docker(try Self.reference(text))
            return
        }
        if rest.isEmpty { throw .nothingAfterScheme(scheme.rawValue) }
        switch scheme {
        case .docker:
            self = .docker(try Self.reference(rest))
        case .directory:
            self = .directory(path: rest)
        case .ociLayout:
            let (path, tag) = try Self.pathAndTag(rest, scheme)
            self = .ociLayout(path: path, tag: tag)
        case .ociArchive:
            let (path, tag) = try Self.pathAndTag(rest, scheme)
            self = .ociArchive(path: path, tag: tag)
        case .dockerArchive:
            let (path, tag) = try Self.pathAndTag(rest, scheme)
            self = .dockerArchive(path: path, tag: tag)
        }
    }

    /// Splits off the scheme; returns `nil` if there is none.
    ///
    /// `docker` requires `//`, because `docker:24` is an image. The others do not, so an image named `oci` or `dir`
    /// must be written as `docker://oci:TAG`.
    private static func scheme(of text: String) throws(ImageSourceError) -> (Scheme, String)? {
        let bytes = text.utf8
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        let name = String(text[..<colon])
        let isName = name.utf8.allSatisfy { $0.isAlphanumeric || "+-.".utf8.contains($0) }
        guard isName, !name.isEmpty else { return nil }
        let rest = String(text[bytes.index(after: colon)...])
        if rest.begins("//") {
            if name == Scheme.docker.rawValue { return (.docker, rest.afterSlashes) }
            if let scheme = Scheme(rawValue: name) {
                // `oci:///scratch/image` is an absolute path. `oci://registry/…` is Helm's syntax and not a path.
                if rest.begins("///") { return (scheme, rest.afterSlashes) }
            }
            throw .unsupportedScheme(name, rest: rest.afterSlashes)
        }
        if foreignSchemes.contains(name) { throw .unsupportedScheme(name, rest: rest) }
        guard let scheme = Scheme(rawValue: name), scheme != .docker else { return nil }
        return (scheme, rest)
    }

    /// Splits at the first colon, as skopeo does, so the tag may contain further colons.
    private static func pathAndTag(
        _ text: String, _ scheme: Scheme
    ) throws(ImageSourceError) -> (String, String?) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return (text, nil) }
        let path = String(text[..<colon])
        let tag = String(text[text.utf8.index(after: colon)...])
        if path.isEmpty { throw .nothingAfterScheme(scheme.rawValue) }
        if tag.isEmpty { throw .emptyTag(path: path) }
        return (path, tag)
    }

    private static func reference(_ text: String) throws(ImageSourceError) -> Reference {
        do throws(ReferenceError) {
            return try Reference(parsing: text)
        } catch {
            throw .reference(error)
        }
    }

    private static func imageFileKind(_ text: String) -> ImageSourceError.FileKind? {
        if [".sqsh", ".squashfs", ".sqfs"].contains(where: text.ends) { return .squashfs }
        return text.ends(".sif") ? .sif : nil
    }
}

extension ImageSource: CustomStringConvertible {
    /// Parses to an equal value, except for the user of a reference.
    package var description: String {
        switch self {
        case .docker(let reference): "docker://\(reference)"
        case .ociLayout(let path, let tag): "oci:\(path)\(tag.map { ":\($0)" } ?? "")"
        case .ociArchive(let path, let tag): "oci-archive:\(path)\(tag.map { ":\($0)" } ?? "")"
        case .dockerArchive(let path, let tag): "docker-archive:\(path)\(tag.map { ":\($0)" } ?? "")"
        case .directory(let path): "dir:\(path)"
        }
    }
}

/// Why an argument is not an image location.
package enum ImageSourceError: Error, Equatable, Sendable {
    package enum FileKind: Sendable { case squashfs, sif }

    case empty
    /// `/scratch/image`, `./image`: a path without the type of the image.
    case pathWithoutScheme(String)
    /// `image.sqsh`, `image.sif`: a file of Enroot or Apptainer.
    case imageFile(path: String, kind: FileKind)
    /// `dockerd://`, `podman://`, `library://`…
    case unsupportedScheme(String, rest: String)
    case nothingAfterScheme(String)
    case emptyTag(path: String)
    case reference(ReferenceError)
}

/// Compares bytes, because a combining accent after a slash would form one character with it.
extension String {
    fileprivate func begins(_ prefix: String) -> Bool { utf8.starts(with: prefix.utf8) }

    fileprivate func ends(_ suffix: String) -> Bool { utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8) }

    fileprivate var afterSlashes: String { String(self[utf8.index(startIndex, offsetBy: 2)...]) }
}
