package import ImageSpec
package import Layers

/// A source of images: a registry, a layout on disk, or an archive.
package protocol ImageOrigin: Sendable {
    /// Finds the manifest and configuration for a platform and verifies their digests.
    func resolve(for platform: Platform) async throws(PullError) -> ResolvedImage

    /// The digest that the image's name refers to now, if one request tells. It is not verified, so use it only to find
    /// an image that is already in the store.
    func currentDigest() async throws(PullError) -> Digest?

    /// Opens a blob. One thread reads it and may block; the reader must verify it.
    ///
    /// - Parameter digests: Threads that may compute the digest of a blob that is verified during the transfer.
    func open(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> any ChunkSource

    /// Opens a blob whose bytes were wrong from another place; `nil` if there is none.
    func reopen(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> (any ChunkSource)?

    /// Closes connections and descriptors.
    func close() async
}

extension ImageOrigin {
    package func currentDigest() async throws(PullError) -> Digest? { nil }

    package func reopen(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> (any ChunkSource)? { nil }
}

/// An image for one platform, without the contents of its layers.
package struct ResolvedImage: Sendable {
    /// The digest that the name refers to: of an index if there are several platforms.
    package let digest: Digest
    package let manifestDigest: Digest
    package let manifest: Manifest
    package let manifestBytes: [UInt8]
    package let config: ImageConfig
    package let configBytes: [UInt8]

    package init(
        digest: Digest, manifestDigest: Digest, manifest: Manifest, manifestBytes: [UInt8], config: ImageConfig,
        configBytes: [UInt8]
    ) {
        self.digest = digest
        self.manifestDigest = manifestDigest
        self.manifest = manifest
        self.manifestBytes = manifestBytes
        self.config = config
        self.configBytes = configBytes
    }
}
