internal import Foundation
package import ImageSpec

/// An image as a registry has it for one platform: everything but the layers' bytes.
package struct RemoteImage: Sendable {
    package let reference: Reference
    /// Of what the reference stands for: an index, where there are several platforms.
    package let digest: Digest
    /// Of the manifest that was chosen.
    package let manifestDigest: Digest
    package let manifest: Manifest
    package let manifestBytes: [UInt8]
    package let config: ImageConfig
    package let configBytes: [UInt8]
}

extension RegistryClient {
    /// Follows a reference through its indexes to the manifest and configuration for a platform.
    package func image(_ reference: Reference, for platform: Platform) async throws(RegistryError) -> RemoteImage {
        let root = try await manifest(reference)
        let chosen: FetchedManifest
        switch root.content {
        case .manifest: chosen = root
        case .index(let index):
            guard let found = try await select(platform, index, reference, depth: 1) else {
                throw RegistryError(
                    host: reference.registry, subject: reference.description,
                    reason: .noMatchingPlatform(wanted: platform, offered: index.platforms))
            }
            chosen = found
        }
        guard case .manifest(let manifest) = chosen.content else {
            throw RegistryError(
                host: reference.registry, subject: reference.description,
                reason: .unsupportedMediaType(chosen.mediaType))
        }
        return try await image(reference, root: root.digest, chosen, manifest, platform)
    }

    /// First manifest that fits, looking into nested indexes, as `ImageIndex.select` does without waiting.
    private func select(
        _ platform: Platform, _ index: ImageIndex, _ reference: Reference, depth: Int
    ) async throws(RegistryError) -> FetchedManifest? {
        for candidate in index.candidates(for: platform) {
            if candidate.mediaType.isIndex, depth >= ImageIndex.maximumDepth { continue }
            let fetched = try await manifest(candidate, in: reference)
            guard case .index(let nested) = fetched.content else { return fetched }
            if let found = try await select(platform, nested, reference, depth: depth + 1) { return found }
        }
        return nil
    }

    private func image(
        _ reference: Reference, root: Digest, _ fetched: FetchedManifest, _ manifest: Manifest, _ platform: Platform
    ) async throws(RegistryError) -> RemoteImage {
        func failure(_ reason: RegistryError.Reason) -> RegistryError {
            RegistryError(host: reference.registry, subject: reference.description, reason: reason)
        }
        // A chart, a signature or a model lies in registries too, with a manifest of the same type.
        guard manifest.config.mediaType.isConfig else {
            throw failure(.unsupportedMediaType(manifest.artifactType.map(MediaType.init) ?? manifest.config.mediaType))
        }
        for layer in manifest.layers where layer.mediaType.layerCompression == nil {
            throw failure(.unsupportedMediaType(layer.mediaType))
        }
        let bytes = try await bytes(of: manifest.config, in: reference, limit: configuration.maximumConfigSize)
        let config: ImageConfig
        do {
            config = try JSONDecoder().decode(ImageConfig.self, from: Data(bytes))
        } catch {
            throw failure(.malformed(.config, detail: error.whatWasWrong))
        }
        guard config.rootfs.diffIDs.count == manifest.layers.count else {
            let (ids, layers) = (config.rootfs.diffIDs.count, manifest.layers.count)
            throw failure(.malformed(.config, detail: "\(ids) diff_ids for \(layers) layers"))
        }
        // The index only repeats what the configuration says; without an index this is all there is.
        guard platform.canRun(config.platform) else {
            throw failure(.noMatchingPlatform(wanted: platform, offered: [config.platform]))
        }
        return RemoteImage(
            reference: reference, digest: root, manifestDigest: fetched.digest, manifest: manifest,
            manifestBytes: fetched.bytes, config: config, configBytes: bytes)
    }
}
