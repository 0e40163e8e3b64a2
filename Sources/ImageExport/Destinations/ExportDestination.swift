package import ImageSpec
internal import LinuxKernel

/// Where an image is written to, as on the command line.
package enum ExportDestination: Hashable, Sendable {
    /// `oci:DIR[:TAG]`
    case layout(path: String, tag: String)
    /// `oci-archive:FILE[:TAG]`
    case archive(path: String, tag: String)
    /// `docker://REGISTRY/REPOSITORY[:TAG]`
    case registry(Reference)

    /// `nil` where images of this kind are not written.
    package init?(_ source: ImageSource) {
        switch source {
        case .ociLayout(let path, let tag): self = .layout(path: path, tag: tag ?? "latest")
        case .ociArchive(let path, let tag): self = .archive(path: path, tag: tag ?? "latest")
        case .docker(let reference) where reference.digest == nil: self = .registry(reference)
        case .docker, .dockerArchive, .directory: return nil
        }
    }
}

/// Takes the blobs of an image and at last its manifest; nothing is to be seen of them before, and nothing is left of
/// them where there is no last.
protocol ExportTarget: Sendable {
    /// Whether all of these layers are there and can be named as they are.
    func holds(_ layers: [Descriptor], pulledFrom origin: Reference?) async throws(ExportError) -> Bool

    /// Somewhere to write a blob, at its offset. Blocks.
    func open() throws(ExportError) -> DescriptorBox

    /// What a failed write there means.
    func writeFailed(_ error: SystemError) -> ExportError

    /// Takes what was written since `open`.
    func add(_ blob: Descriptor, _ file: DescriptorBox) async throws(ExportError)

    /// Makes the image visible. Nothing can be undone after.
    func publish(_ manifest: Descriptor, _ bytes: [UInt8]) async throws(ExportError)

    /// Removes what was written and not published.
    func abandon()
}

extension ExportTarget {
    /// A small blob at hand.
    func add(_ bytes: [UInt8], as blob: Descriptor) async throws(ExportError) {
        let file = try open()
        do throws(SystemError) { try file.descriptor.writeAll(bytes) } catch { throw writeFailed(error) }
        try await add(blob, file)
    }
}
