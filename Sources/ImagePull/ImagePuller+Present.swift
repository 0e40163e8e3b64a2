internal import Distribution
internal import Hashing
internal import ImageSpec
internal import Store

/// What need not be pulled.
extension ImagePuller {
    /// The image that a key names, where it is whole.
    ///
    /// - Parameter checkingDocuments: Whether its manifest and configuration must be the original ones. A launch does not
    ///   read them.
    func present(_ key: ImageKey, checkingDocuments: Bool = false) throws(PullError) -> PulledImage? {
        for holder in stores.all {
            // A name or an image that is damaged is as good as missing: it is made anew.
            let digest = try? holder.digest(of: key)
            guard let digest, let whole = stores.store(of: digest) else { continue }
            guard let lease = try? whole.lease(digest) else { continue }  // likewise
            if checkingDocuments, try !hasDocuments(whole, digest) { continue }
            return PulledImage(
                digest: digest, manifestDigest: digest, layers: lease.record.trees.count, downloadedBytes: 0,
                unpackedBytes: 0, wasPresent: true)
        }
        return nil
    }

    /// Whether the manifest and the configuration in a store have their digests.
    func hasDocuments(_ holder: ImageStore, _ digest: Digest) throws(PullError) -> Bool {
        do throws(StoreError) {
            guard let (manifest, config) = try holder.documents(of: digest),
                Digest(hashing: manifest, with: digest.algorithm) == digest,
                let decoded = try? Documents.decode(Manifest.self, from: manifest, as: .manifest)  // damaged, or of an older version
            else { return false }
            return Digest(hashing: config, with: decoded.config.digest.algorithm) == decoded.config.digest
        } catch {
            guard case .damaged = error else { throw .store(error) }
            return false
        }
    }

    /// The image, where it is here and the registry's name still means it: one HEAD request, and none for a name that
    /// holds the digest.
    ///
    /// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
    func upToDate(_ source: ImageSource, _ key: ImageKey, _ platform: Platform) async throws(PullError) -> PulledImage?
    {
        guard case .docker(let reference) = source else { return nil }
        if let digest = reference.digest { return try present(key, checkingDocuments: true)?.named(digest) }
        // Something to compare with comes first: without it the question would be one too many.
        guard try present(key) != nil, let current = try await origin.currentDigest() else { return nil }
        // The digest is the registry's word. What it leads to was verified when it was pulled.
        let pinned = try naming(PullError.store) { () throws(StoreError) in
            try ImageKey(.docker(reference.pinned(to: current)), platform: platform)
        }
        guard let found = try present(pinned, checkingDocuments: true) else { return nil }
        // Damaged: to be written anew.
        let named = stores.all.lazy.compactMap { try? $0.digest(of: key) }.first
        if named != found.manifestDigest {
            try await blocking { () throws(PullError) in
                try naming(PullError.store) { () throws(StoreError) in try store.name(found.manifestDigest, [key]) }
            }
        }
        return found.named(current)
    }
}

extension PulledImage {
    /// As it is known by another digest: that of an index that leads to it.
    fileprivate func named(_ digest: Digest) -> PulledImage {
        PulledImage(
            digest: digest, manifestDigest: manifestDigest, layers: layers, downloadedBytes: downloadedBytes,
            unpackedBytes: unpackedBytes, wasPresent: wasPresent)
    }
}
