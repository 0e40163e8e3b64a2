package import ImageSpec
internal import NIOHTTP1

extension RegistryClient {
    /// Tags an image whose blobs have been uploaded.
    ///
    /// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
    package func push(
        manifest bytes: [UInt8], _ mediaType: MediaType, digest: Digest, to reference: Reference
    ) async throws(RegistryError) {
        var call = pushCall(.PUT, reference, "manifests/\(reference.selector)", reference.description)
        call.headers.add(name: "Content-Type", value: mediaType.rawValue)
        call.body = bytes
        let response = try await send(call)
        await response.discard()
        // A registry that rewrites the manifest stores another image than was sent.
        if let header = response.headers.first(name: "Docker-Content-Digest"),
            let stored = try? Digest(parsing: header),  // unknown algorithm: ignored
            stored.algorithm == digest.algorithm, stored != digest
        {
            throw response.error(.digestMismatch(expected: digest, found: stored))
        }
    }
}
