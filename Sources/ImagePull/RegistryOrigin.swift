package import Distribution
package import ImageSpec
package import Layers
internal import Synchronization

/// Computes a blob's digest on the threads of a `HashPool`.
private final class PooledDigest: BlobDigest {
    private let stream: DigestStream

    init(_ pool: HashPool, _ algorithm: Digest.Algorithm) {
        stream = pool.stream(algorithm)
    }

    deinit { stream.abandon() }

    func update(_ chunk: BlobChunk) { stream.append(chunk.bytes) { _ = chunk } }

    func finish() async -> Digest {
        await withCheckedContinuation { continuation in stream.finish { continuation.resume(returning: $0) } }
    }
}

/// An image in a registry, or in the first mirror that has it.
package final class RegistryOrigin: ImageOrigin {
    private let client: RegistryClient
    private let reference: Reference
    private let mirrors: [Reference]
    /// Called for each mirror that is skipped.
    private let passedOver: @Sendable (RegistryError) -> Void
    /// The source of the manifest, which is also used for the blobs.
    private let chosen: Mutex<Reference>
    /// Searched for a blob before the registry.
    private let cache: BlobCache?
    /// Mirrors that could not be reached. They are skipped for all requests.
    private let unreachable = Mutex<Set<Reference>>([])

    package init(
        _ reference: Reference, mirrors: [Reference] = [], client: RegistryClient, cache: BlobCache? = nil,
        passedOver: @escaping @Sendable (RegistryError) -> Void = { _ in }
    ) {
        self.reference = reference
        self.mirrors = mirrors
        self.passedOver = passedOver
        chosen = Mutex(reference)
        self.client = client
        self.cache = cache
    }

    package func resolve(for platform: Platform) async throws(PullError) -> ResolvedImage {
        for mirror in mirrors where !unreachable.withLock({ $0.contains(mirror) }) {
            do throws(RegistryError) {
                let image = try await client.image(mirror, for: platform)
                chosen.withLock { $0 = mirror }
                return Self.resolved(image)
            } catch {
                // Continue with the registry on any error of a mirror.
                if error.reason == .cancelled { throw .registry(error) }
                passedOver(error)
            }
        }
        do throws(RegistryError) { return Self.resolved(try await client.image(reference, for: platform)) } catch {
            throw .registry(error)
        }
    }

    package func currentDigest() async throws(PullError) -> Digest? {
        for place in mirrors + [reference] {
            do throws(RegistryError) { return try await client.head(place).digest } catch {
                if error.reason == .cancelled { throw .registry(error) }
                // On other errors, the request for the manifest reports what is wrong.
                guard case .unreachable = error.reason else { return nil }
                if place == reference { throw .registry(error) }
                unreachable.withLock { _ = $0.insert(place) }
                passedOver(error)
            }
        }
        return nil
    }

    private static func resolved(_ image: RemoteImage) -> ResolvedImage {
        ResolvedImage(
            digest: image.digest, manifestDigest: image.manifestDigest, manifest: image.manifest,
            manifestBytes: image.manifestBytes, config: image.config, configBytes: image.configBytes)
    }

    package func open(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> any ChunkSource {
        let reference = chosen.withLock { $0 }
        guard let cache else { return channel(blob, reference, digests) }
        let client = client
        return cache.source(blob) { offset in BlobChannel(client.blob(blob, in: reference, from: offset)) }
    }

    package func reopen(_ blob: Descriptor, _ digests: HashPool?) throws(PullError) -> (any ChunkSource)? {
        guard let cache else { return nil }
        cache.forget(blob.digest)
        return channel(blob, chosen.withLock { $0 }, digests)
    }

    private func channel(_ blob: Descriptor, _ reference: Reference, _ digests: HashPool?) -> BlobChannel {
        BlobChannel(client.blob(blob, in: reference, digest: digests.map { PooledDigest($0, blob.digest.algorithm) }))
    }

    package func close() async { await client.shutdown() }
}
