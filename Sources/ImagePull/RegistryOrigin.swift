package import Distribution
package import ImageSpec
package import Layers

/// An image in a registry.
package final class RegistryOrigin: ImageOrigin {
    private let client: RegistryClient
    private let reference: Reference
    /// Asked for a blob before the registry is.
    private let cache: BlobCache?

    package init(_ reference: Reference, client: RegistryClient, cache: BlobCache? = nil) {
        self.reference = reference
        self.client = client
        self.cache = cache
    }

    package func resolve(for platform: Platform) async throws(PullError) -> ResolvedImage {
        let image: RemoteImage
        do throws(RegistryError) { image = try await client.image(reference, for: platform) } catch {
            throw .registry(error)
        }
        return ResolvedImage(
            digest: image.digest, manifestDigest: image.manifestDigest, manifest: image.manifest,
            manifestBytes: image.manifestBytes, config: image.config, configBytes: image.configBytes)
    }

    package func open(_ blob: Descriptor) throws(PullError) -> any ByteSource {
        // The digest is verified behind the channel, on the thread that also inflates.
        guard let cache else { return BlobChannel(client.blob(blob, in: reference, verifyingDigest: false)) }
        let (client, reference) = (client, reference)
        return cache.source(blob) { offset in BlobChannel(client.blob(blob, in: reference, from: offset)) }
    }

    package func reopen(_ blob: Descriptor) throws(PullError) -> (any ByteSource)? {
        guard let cache else { return nil }
        cache.forget(blob.digest)
        return BlobChannel(client.blob(blob, in: reference, verifyingDigest: false))
    }

    package func close() async { await client.shutdown() }
}
