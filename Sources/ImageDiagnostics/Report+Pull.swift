package import Diagnostics
internal import Distribution
package import ImagePull
package import ImageSpec
internal import Layers
internal import LinuxKernel

extension Report {
    /// A failed pull of `source`. `store` is its destination, for errors of the disk.
    package init(_ error: PullError, source: ImageSource, store: String? = nil) {
        let name = if case .docker(let reference) = source { reference.description } else { source.description }
        switch error {
        case .registry(let error): self.init(error)
        case .layer(let number, let count, let digest, let error):
            // Report a failed transfer as an error of the registry.
            if case .source(let failure) = error.reason, let cause = failure.underlying as? RegistryError {
                self.init(cause)
            } else {
                self.init(error, of: "layer \(number) of \(count) of \(name)")
            }
            details.append("layer \(number) of \(count), \(digest)")
        case .composition(let error): self.init(error, of: "the layers of \(name)")
        case .store(let error): self.init(error)
        case .local(let fault, let path): self.init(fault, path: path, of: source)
        case .unstartable(.variable(let variable, let bytes, let limit)):
            self.init(
                "cannot pull \(name): the variable \(variable) in its configuration is \(bytes) bytes long, and Linux "
                    + "passes "
                    + "at most \(limit) to a program",
                hint: "build the image with a shorter variable, or with a file in its place")
        case .unstartable(.total(let bytes, let limit)):
            self.init(
                "cannot pull \(name): Env, Entrypoint and Cmd of its configuration take \(bytes) bytes, and Linux "
                    + "passes at "
                    + "most \(limit) to a program",
                hint: "build the image with fewer or shorter variables")
        case .cancelled: self.init("interrupted: \(name) was not pulled")
        }
        if let store, error.isRefusedOwner, Self.isOnOverlay(store) {
            hint = "the store is on overlayfs: name another directory with BERTH_STORE"
        }
        if let store, error.isOfTheStore { details.append("store \(store)") }
    }

    /// `oci:/path`, as any command takes it.
    private static func untagged(_ source: ImageSource) -> String {
        switch source {
        case .ociLayout(let path, _): "oci:" + path
        case .ociArchive(let path, _): "oci-archive:" + path
        case .dockerArchive(let path, _): "docker-archive:" + path
        case .docker, .directory: source.description
        }
    }

    /// Where the kernel lets a user namespace change no owner.
    private static func isOnOverlay(_ path: String) -> Bool {
        do throws(SystemError) {
            return try OwnedFileDescriptor(opening: path, .path | .directory).fileSystemType() == 0x794C_7630
        } catch {
            return false
        }
    }

    private init(_ fault: PullError.LocalFault, path: String, of source: ImageSource) {
        switch fault {
        case .system(let error):
            self.init("cannot read \(path): \(error.sentence)", hint: Self.hint(for: error))
        case .unknownTag(let tag, let present):
            self.init(
                tag.map { "\(path) contains no image named \"\($0)\"" } ?? "\(path) contains several images",
                details: present.isEmpty ? [] : ["it contains " + present.joined(separator: ", ")],
                hint: "write a tag after the path: \(Self.untagged(source)):\(present.first ?? "TAG")")
        case .tooManyEntries(let limit, let wanted):
            self.init(
                "cannot find an image for \(wanted) in \(path): the entries of its index name no platform, and none of "
                    + "the first "
                    + "\(limit) is for it",
                hint: "copy the image into a separate layout")
        case .noMatchingPlatform(let wanted, let offered):
            self.init(
                "\(path) is not made for \(wanted)",
                details: offered.isEmpty ? [] : ["it is for " + offered.map(\.description).joined(separator: ", ")],
                hint: "choose one with --platform")
        case .notAnImage(let what):
            self.init(
                "\(path) is not a readable image of this kind: \(what)",
                hint: "oci: takes a directory with oci-layout and index.json, oci-archive: a tar of one, "
                    + "docker-archive: what `docker save` writes, dir: a root file system")
        case .digestMismatch(let expected, let found):
            self.init(
                "\(path) is damaged: a blob does not match its digest",
                details: ["expected \(expected)", "found \(found)"],
                hint: "copy it again")
        case .unsupportedMediaType(let type): self.init("\(path) is not a container image: its type is \(type)")
        case .archive(let error): self.init(error, of: path)
        case .notAFile(let kind):
            switch kind {
            case .directory:
                self.init("\(path) is a directory, not an archive", hint: "an OCI layout is written oci:\(path)")
            default:
                self.init(
                    "cannot read an archive from \(path): it is \(kind == .fifo ? "a pipe" : "not a regular file")",
                    hint: "write the archive to a file first; Berth reads its layers in parallel")
            }
        case .compressedArchive(let kind):
            self.init(
                "\(path) is compressed (\(kind))",
                hint: "decompress the tar file first: " + (kind == "gzip" ? "gunzip \(path)" : "\(kind) -d \(path)"))
        }
    }
}
