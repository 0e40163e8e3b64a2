package import ImageSpec
internal import LinuxKernel

/// The destination of an export, as on the command line.
package enum ExportDestination: Hashable, Sendable {
    /// `oci:DIR[:TAG]`
    case layout(path: String, tag: String)
    /// `oci-archive:FILE[:TAG]`
    case archive(path: String, tag: String)
    /// `docker://REGISTRY/REPOSITORY[:TAG]`
    case registry(Reference)

    /// Returns `nil` if images of this type cannot be written.
    package init?(_ source: ImageSource) {
        switch source {
        case .ociLayout(let path, let tag): self = .layout(path: path, tag: tag ?? "latest")
        case .ociArchive(let path, let tag): self = .archive(path: path, tag: tag ?? "latest")
        case .docker(let reference) where reference.digest == nil: self = .registry(reference)
        case .docker, .dockerArchive, .directory: return nil
        }
    }
}

/// Receives the blobs of an image and finally its manifest. Blobs are invisible before `publish`, and are removed if it
/// is not called.
protocol ExportTarget: Sendable {
    /// Whether the destination has all of these layers.
    func holds(_ layers: [Descriptor], pulledFrom origin: Reference?) async throws(ExportError) -> Bool

    /// Returns a file for a blob, which is written at its offset. Blocks.
    func open() throws(ExportError) -> DescriptorBox

    /// Converts an error of a write to that file.
    func writeFailed(_ error: SystemError) -> ExportError

    /// Adds the blob that was written since `open`.
    func add(_ blob: Descriptor, _ file: DescriptorBox) async throws(ExportError)

    /// Makes the image visible. This cannot be undone.
    func publish(_ manifest: Descriptor, _ bytes: [UInt8]) async throws(ExportError)

    /// Removes what was written and not published.
    func abandon()
}

extension ExportTarget {
    /// Adds a small blob in memory.
    func add(_ bytes: [UInt8], as blob: Descriptor) async throws(ExportError) {
        let file = try open()
        do throws(SystemError) { try file.descriptor.writeAll(bytes) } catch { throw writeFailed(error) }
        try await add(blob, file)
    }
}
