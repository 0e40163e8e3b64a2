internal import Distribution
internal import ImageSpec
internal import LinuxKernel

/// Pushes to a repository of a registry. Writes each blob to an unnamed file first, because the upload needs its size
/// and digest, and because an interrupted upload is repeated.
final class RegistryTarget: ExportTarget {
    private let client: RegistryClient
    private let reference: Reference
    private let staging: String

    init(_ reference: Reference, client: RegistryClient, staging: String) {
        self.client = client
        self.reference = reference
        self.staging = staging
    }

    func holds(_ layers: [Descriptor], pulledFrom origin: Reference?) async throws(ExportError) -> Bool {
        do throws(RegistryError) {
            for layer in layers {
                if try await client.hasBlob(layer.digest, in: reference) { continue }
                // Mount the blob from another repository of the same registry.
                guard let origin, origin.registry == reference.registry, origin.repository != reference.repository,
                    try await client.mountBlob(layer.digest, from: origin, into: reference)
                else { return false }
            }
            return true
        } catch {
            throw .registry(error)
        }
    }

    func open() throws(ExportError) -> DescriptorBox {
        do throws(SystemError) {
            let directory = try OwnedFileDescriptor(opening: staging, [.readOnly, .directory])
            let name = ".berth-export-" + (try Random.hexadecimal(bytes: 8))
            let file = try directory.open(name, [.readWrite, .create, .exclusive, .noFollow])
            try directory.removeFile(name)
            return DescriptorBox(file)
        } catch {
            throw .staging(directory: staging, error)
        }
    }

    func writeFailed(_ error: SystemError) -> ExportError { .staging(directory: staging, error) }

    func add(_ blob: Descriptor, _ file: DescriptorBox) async throws(ExportError) {
        do throws(RegistryError) {
            try await client.push(blob, to: reference) { (buffer, offset) throws(BlobReadError) in
                do throws(SystemError) { return try file.descriptor.read(into: buffer, at: offset) } catch {
                    throw BlobReadError(errno: error.errno)
                }
            }
        } catch {
            throw .registry(error)
        }
    }

    func publish(_ manifest: Descriptor, _ bytes: [UInt8]) async throws(ExportError) {
        do throws(RegistryError) {
            try await client.push(manifest: bytes, manifest.mediaType, digest: manifest.digest, to: reference)
        } catch {
            throw .registry(error)
        }
    }

    /// The registry collects blobs that no manifest refers to.
    func abandon() {}
}
