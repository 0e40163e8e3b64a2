internal import Diagnostics
internal import ImageSpec
internal import LaunchPlanning
internal import LinuxKernel

/// What the image argument of a launch names.
enum LaunchSource {
    /// An image of a registry, a layout or an archive, which the store keeps under a key.
    case stored(ImageSource)
    /// A root file system as it is.
    case directory(String)
    /// A file of Enroot's or Apptainer's, unpacked once into the caller's store.
    case squashfs(SquashfsFile)
}

extension LaunchSource {
    /// A leading `/` or `.` names a file or directory, and so does the ending of an image file: what it is, its content says.
    ///
    /// - Parameter isStored: Whether a store has a name for it: then no archive needs to be read to tell its kind.
    init(_ text: String, workingDirectory: String, isStored: (ImageSource) -> Bool) throws(Failure) {
        if let path = try Self.path(in: text, workingDirectory: workingDirectory) {
            self = try Self.atPath(path, isStored)
            return
        }
        let source = try mapError(to: Failure.source) { () throws(ImageSourceError) in try ImageSource(parsing: text) }
        if let path = source.path { try Self.require(workingDirectory, for: path) }
        switch source.absolute(from: workingDirectory) {
        case .directory(let path): self = .directory(path)
        case let source: self = .stored(source)
        }
    }

    /// What can be known of an image's name without the node that has its files.
    static func check(_ text: String) throws(Failure) {
        if text.isEmpty || isPath(text) || hasImageFileEnding(text) { return }
        _ = try mapError(to: Failure.source) { () throws(ImageSourceError) in try ImageSource(parsing: text) }
    }

    /// The name by which it is found from another working directory, too.
    static func canonicalName(_ text: String, workingDirectory: String) throws(Failure) -> String {
        if let path = try path(in: text, workingDirectory: workingDirectory) { return path }
        // Most are of registries, and need not be read twice.
        guard ["oci", "docker-archive:", "dir:"].contains(where: text.hasPrefix) else { return text }
        let source = try mapError(to: Failure.source) { () throws(ImageSourceError) in try ImageSource(parsing: text) }
        guard let path = source.path else { return text }
        try require(workingDirectory, for: path)
        return source.absolute(from: workingDirectory).description
    }

    /// The absolute path of an image that is a file or a directory; `nil` for any other.
    static func path(in text: String, workingDirectory: String) throws(Failure) -> String? {
        guard isPath(text) || hasImageFileEnding(text) else { return nil }
        try require(workingDirectory, for: text)
        let path = absolutePath(text, from: workingDirectory)
        if isPath(text) { return path }
        // `image.sqsh` without `./`: no registry has such a name, and people forget the two characters.
        let status = try? FileStatus(of: path)  // absent: said below
        if let status, status.kind == .regular || status.kind == .directory { return path }
        throw .report(
            Report(
                "there is no file \(path) on this node",
                hint: "write the path of the file: /PATH/\(text), or ./\(text) in the working directory"))
    }

    private static func isPath(_ text: String) -> Bool {
        text.utf8.first == UInt8(ascii: "/") || text.utf8.first == UInt8(ascii: ".")
    }

    private static func hasImageFileEnding(_ text: String) -> Bool {
        !text.utf8.contains(UInt8(ascii: ":"))
            && [".sqsh", ".squashfs", ".sqfs", ".sif"].contains {
                text.utf8.suffix($0.utf8.count).elementsEqual($0.utf8)
            }
    }

    private static func require(_ workingDirectory: String, for path: String) throws(Failure) {
        if workingDirectory.isEmpty, path.utf8.first != UInt8(ascii: "/") { throw .options(.noWorkingDirectory(path)) }
    }

    private static func atPath(
        _ path: String, _ isStored: (ImageSource) -> Bool
    ) throws(Failure) -> LaunchSource {
        let status = try mapError(to: { (error: SystemError) in
            .report(
                Report(
                    "cannot run \(path): \(error.sentence)",
                    hint: error.isAbsence
                        ? "check the path on this node; an image of a registry is written without a leading / or ."
                        : nil))
        }) { () throws(SystemError) in try FileStatus(of: path) }
        if status.kind == .directory {
            let isLayout = ["oci-layout", "index.json"].allSatisfy {
                (try? FileStatus(of: path + "/" + $0).kind) == .regular  // absent or hidden: a root file system
            }
            return isLayout ? try untagged(.ociLayout(path: path, tag: nil)) : .directory(path)
        }
        guard status.kind == .regular else { throw .report(Self.unknown(path)) }
        // unsquashfs reports why an unreadable file cannot be read.
        guard let file = try? OwnedFileDescriptor(opening: path, .readOnly | .nonBlocking) else {
            return .squashfs(SquashfsFile(path: path, status: status, offset: 0))
        }
        let kind = try mapError(to: Failure.system) { () throws(SystemError) in
            try ImageFileKind(file) {
                if isStored(.ociArchive(path: path, tag: nil)) { return .ociArchive }
                return isStored(.dockerArchive(path: path, tag: nil)) ? .dockerArchive : nil
            }
        }
        switch kind {
        case .squashfs: return .squashfs(SquashfsFile(path: path, status: status, offset: 0))
        case .sif(.squashfs(let offset)): return .squashfs(SquashfsFile(path: path, status: status, offset: offset))
        case .sif(let content): throw .report(content.report(path))
        case .ociArchive: return try untagged(.ociArchive(path: path, tag: nil))
        case .dockerArchive: return try untagged(.dockerArchive(path: path, tag: nil))
        case .otherArchive:
            throw .report(
                Report(
                    "cannot run \(path): this tar file holds neither an OCI layout nor what `docker save` writes",
                    hint:
                        "a root file system in a tar file is to be unpacked: mkdir rootfs && tar -C rootfs -xf \(path), then run "
                        + "./rootfs"))
        case .unknown: throw .report(Self.unknown(path))
        }
    }

    /// Behind a colon in its name the image tool would read a tag, and perhaps another image.
    private static func untagged(_ source: ImageSource) throws(Failure) -> LaunchSource {
        guard let path = source.path, path.utf8.contains(UInt8(ascii: ":")) else { return .stored(source) }
        throw .report(
            Report(
                "cannot run \(path): a layout or an archive must not have a colon in its path, which begins a tag",
                hint: "rename it, or make a symbolic link to it without a colon"))
    }

    private static func unknown(_ path: String) -> Report {
        Report(
            "cannot run \(path): it is neither a directory nor a squashfs, SIF or tar file",
            hint: path.utf8.suffix(3).elementsEqual(".gz".utf8)
                ? "decompress a tar file first: gunzip \(path)" : "decompress a compressed tar file first, with gunzip for one")
    }
}

extension ImageSource {
    /// An image of a registry by its digest, whatever its tag means today.
    func pinned(_ digest: String) -> String? {
        guard case .docker(let reference) = self, let digest = try? Digest(parsing: digest) else { return nil }  // of another kind
        return reference.pinned(to: digest).description
    }

    /// Relative paths resolved from the caller's working directory.
    func absolute(from workingDirectory: String) -> ImageSource {
        func resolved(_ path: String) -> String { absolutePath(path, from: workingDirectory) }
        return switch self {
        case .docker: self
        case .ociLayout(let path, let tag): .ociLayout(path: resolved(path), tag: tag)
        case .ociArchive(let path, let tag): .ociArchive(path: resolved(path), tag: tag)
        case .dockerArchive(let path, let tag): .dockerArchive(path: resolved(path), tag: tag)
        case .directory(let path): .directory(path: resolved(path))
        }
    }
}
