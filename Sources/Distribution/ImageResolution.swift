package import ImageSpec

/// An image in a registry for one platform, without the contents of its layers.
package struct RemoteImage: Sendable {
    package let reference: Reference
    /// The digest that the reference refers to: of an index if there are several platforms.
    package let digest: Digest
    /// The digest of the selected manifest.
    package let manifestDigest: Digest
    package let manifest: Manifest
    package let manifestBytes: [UInt8]
    package let config: ImageConfig
    package let configBytes: [UInt8]
}

extension RegistryClient {
    /// Resolves a reference through its indexes to the manifest and configuration for a platform.
    package func image(_ reference: Reference, for platform: Platform) async throws(RegistryError) -> RemoteImage {
        // Limit the total time, because an index may refer to thousands of others.
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
            // A fault during the search explains more than an empty result.
            if search.offered.isEmpty, let fault = search.fault { throw fault }
            throw RegistryError(
                host: reference.registry, subject: reference.description,
                reason: .noMatchingPlatform(wanted: platform, offered: index.platforms + search.offered))
        }
    }

    /// The state of a search through indexes.
    private struct Search {
        let root: Digest
        let platform: Platform
        var lookups = 0
        /// The platforms of entries whose index has none.
        var offered: [Platform] = []
        var fault: RegistryError?
    }

    /// The first matching image. Searches nested indexes and the configurations of entries without a platform. This is
    /// the asynchronous form of `ImageIndex.select`.
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
        // Charts, signatures and models have manifests of the same type.
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
        // The index repeats the configuration's platform; without an index, only the configuration has it.
        guard platform.canRun(config.platform) else {
            throw failure(.noMatchingPlatform(wanted: platform, offered: [config.platform]))
        }
        return RemoteImage(
            reference: reference, digest: root, manifestDigest: fetched.digest, manifest: manifest,
            manifestBytes: fetched.bytes, config: config, configBytes: bytes)
    }
}
