internal import Distribution
internal import Hashing
internal import ImageSpec
internal import Store

/// Finds what need not be pulled.
extension ImagePuller {
    /// The complete image of a key.
    ///
    /// - Parameter checkingDocuments: Whether the manifest and configuration must match their digests. A launch does
    ///   not read them.
    func present(_ key: ImageKey, checkingDocuments: Bool = false) throws(PullError) -> PulledImage? {
        for holder in stores.all {
            // A damaged name or image counts as missing, and the pull replaces it.
            let digest = try? holder.digest(of: key)  // damaged: missing
            guard let digest, let whole = stores.store(of: digest) else { continue }
            guard let lease = try? whole.lease(digest) else { continue }  // likewise
            if checkingDocuments, try !hasDocuments(whole, digest) { continue }
            return PulledImage(
                digest: digest, manifestDigest: digest, layers: lease.record.trees.count, downloadedBytes: 0,
                unpackedBytes: 0, wasPresent: true)
        }
        return nil
    }

    /// Whether the manifest and configuration in a store match their digests.
    func hasDocuments(_ holder: ImageStore, _ digest: Digest) throws(PullError) -> Bool {
        do throws(StoreError) {
            guard let (manifest, config) = try holder.documents(of: digest),
                Digest(hashing: manifest, with: digest.algorithm) == digest,
                let decoded = try? Documents.decode(Manifest.self, from: manifest, as: .manifest)  // damaged
            else { return false }
            return Digest(hashing: config, with: decoded.config.digest.algorithm) == decoded.config.digest
        } catch {
            guard case .damaged = error else { throw .store(error) }
            return false
        }
    }

    /// The image in the store if the registry's name still refers to it. Costs one HEAD request, or none for a name
    /// with a digest.
    ///
    /// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
    func upToDate(_ source: ImageSource, _ key: ImageKey, _ platform: Platform) async throws(PullError) -> PulledImage?
    {
        guard case .docker(let reference) = source else { return nil }
        if let digest = reference.digest { return try present(key, checkingDocuments: true)?.named(digest) }
        // Check first that an image is in the store; otherwise the request is useless.
        guard try present(key) != nil, let current = try await origin.currentDigest() else { return nil }
        // The registry's digest is not verified, but the image that it refers to was verified when it was pulled.
        let pinned = try mapError(to: PullError.store) { () throws(StoreError) in
            try ImageKey(.docker(reference.pinned(to: current)), platform: platform)
        }
        guard let found = try present(pinned, checkingDocuments: true) else { return nil }
        // A damaged name is written again.
        let named = stores.all.lazy.compactMap { try? $0.digest(of: key) }.first  // damaged: missing
        if named != found.manifestDigest {
            try await blocking { () throws(PullError) in
                try mapError(to: PullError.store) { () throws(StoreError) in try store.name(found.manifestDigest, [key])
                }
            }
        }
        return found.named(current)
    }
}

extension PulledImage {
    /// The same image with another digest, such as that of an index that refers to it.
    fileprivate func named(_ digest: Digest) -> PulledImage {
        PulledImage(
            digest: digest, manifestDigest: manifestDigest, layers: layers, downloadedBytes: downloadedBytes,
            unpackedBytes: unpackedBytes, wasPresent: wasPresent)
    }
}
