package import ImageSpec
package import Layers

/// Somewhere an image can be had: a registry, a layout on disk, an archive.
package protocol ImageOrigin: Sendable {
    /// Finds the manifest and configuration for a platform, verified against their digests.
    func resolve(for platform: Platform) async throws(PullError) -> ResolvedImage

    /// What the image's name stands for now, where that costs one question; nobody has verified it, so that it is good for
    /// finding what is there already, and for nothing else.
    func currentDigest() async throws(PullError) -> Digest?

    /// The bytes of a blob as they are stored. Read by one thread, which may block; what is wrong with them is found
    /// by whoever verifies them.
    ///
    /// - Parameter digests: Who may find the digest of what is verified on the way.
    func open(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> any ChunkSource

    /// Another way to a blob whose bytes were wrong, or nil.
    func reopen(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> (any ChunkSource)?

    /// Lets connections and descriptors go.
    func close() async
}

extension ImageOrigin {
    package func currentDigest() async throws(PullError) -> Digest? { nil }

    package func reopen(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> (any ChunkSource)? { nil }
}

/// An image for one platform: everything but the layers' bytes.
package struct ResolvedImage: Sendable {
    /// What the name stands for: an index, where there are several platforms.
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
