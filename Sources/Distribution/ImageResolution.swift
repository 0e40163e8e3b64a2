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
        // An index may lead to thousands of others.
        try await withinLimit(
            configuration.resolutionLimit, host: reference.registry, subject: reference.description
        ) { [self] _ throws(RegistryError) in
            try await resolve(reference, platform)
        }
    }

    private func resolve(_ reference: Reference, _ platform: Platform) async throws(RegistryError) -> RemoteImage {
        let root = try await manifest(reference)
        switch root.content {
        case .manifest(let manifest):
            return try await image(reference, root: root.digest, root, manifest, platform)
        case .index(let index):
            var search = Search(root: root.digest, platform: platform)
            if let found = try await find(index, in: reference, depth: 1, &search) { return found }
            if search.lookups > ImageIndex.maximumLookups {
                throw RegistryError(
                    host: reference.registry, subject: reference.description,
                    reason: .tooManyEntries(limit: ImageIndex.maximumLookups, wanted: platform))
            }
            // What was met on the way tells more than that nothing was found.
            if search.offered.isEmpty, let fault = search.fault { throw fault }
            throw RegistryError(
                host: reference.registry, subject: reference.description,
                reason: .noMatchingPlatform(wanted: platform, offered: index.platforms + search.offered))
        }
    }

    /// What a search through indexes has seen.
    private struct Search {
        let root: Digest
        let platform: Platform
        var lookups = 0
        /// Of entries whose platform only their configuration names.
        var offered: [Platform] = []
        var fault: RegistryError?
    }

    /// First image that fits, looking into nested indexes and, for an entry without a platform, into its configuration;
    /// as `ImageIndex.select` does without waiting.
    private func find(
        _ index: ImageIndex, in reference: Reference, depth: Int, _ search: inout Search
    ) async throws(RegistryError) -> RemoteImage? {
        for candidate in index.candidates(for: search.platform) {
            search.lookups += 1
            guard search.lookups <= ImageIndex.maximumLookups else { return nil }
            let fetched = try await manifest(candidate, in: reference)
            switch fetched.content {
            case .index(let nested):
                guard depth < ImageIndex.maximumDepth else { continue }
                if let found = try await find(nested, in: reference, depth: depth + 1, &search) { return found }
            case .manifest(let manifest):
                do throws(RegistryError) {
                    return try await image(reference, root: search.root, fetched, manifest, search.platform)
                } catch {
                    guard candidate.platform == nil else { throw error }
                    switch error.reason {
                    case .noMatchingPlatform(_, let offered): search.offered += offered
                    case .unsupportedMediaType: search.fault = search.fault ?? error
                    default: throw error
                    }
                }
            }
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
        do throws(DocumentFault) {
            config = try Documents.decode(ImageConfig.self, from: bytes, as: .config)
        } catch {
            throw failure(.malformed(.config, detail: RegistryError.clean(error.description)))
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
