package import ImageSpec
internal import NIOHTTP1
internal import Synchronization

/// Uploads blobs.
///
/// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
extension RegistryClient {
    package func hasBlob(_ digest: Digest, in reference: Reference) async throws(RegistryError) -> Bool {
        let response = try await send(pushCall(.HEAD, reference, "blobs/\(digest)", "\(digest)"), accepting: [404])
        await response.discard()
        return response.status != 404
    }

    /// Mounts a blob of another repository in this one; returns `false` if the registry or the account does not allow
    /// it.
    package func mountBlob(
        _ digest: Digest, from origin: Reference, into reference: Reference
    ) async throws(RegistryError) -> Bool {
        let query = TokenService.encoded([("mount", digest.description), ("from", origin.repository)])
        let call = pushCall(.POST, reference, "blobs/uploads/?\(query)", "\(digest)")
        do throws(RegistryError) {
            // 202 starts an upload instead, which the registry discards by itself.
            let response = try await send(call, accepting: [404, 405])
            await response.discard()
            return response.status == 201
        } catch {
            switch error.reason {
            // This account cannot read the blob there, so it must be uploaded.
            case .pushUnauthorized, .pushDenied, .nameUnknown, .blobUnknown: return false
            default: throw error
            }
        }
    }

    /// Uploads a blob unless it exists. Restarts a broken transfer as often as a pull resumes one.
    package func push(
        _ blob: Descriptor, to reference: Reference, _ read: @escaping BlobReader
    ) async throws(RegistryError) {
        if try await hasBlob(blob.digest, in: reference) { return }
        var attempts = Attempts(configuration.retry)
        while true {
            let pause: Duration
            do throws(RegistryError) {
                return try await upload(blob, UploadBody(size: blob.size, read: read), to: reference)
            } catch {
                // The registry has answered before, when it was queried for the blob.
                guard Self.mayPass(error), let next = attempts.next(after: nil, heard: true) else { throw error }
                pause = next
            }
            try await transport.pause(pause, subject: "\(blob.digest)")
            // The upload may have succeeded and only its answer was lost.
            if try await hasBlob(blob.digest, in: reference) { return }
        }
    }

    private static func mayPass(_ error: RegistryError) -> Bool {
        switch error.reason {
        case .unexpectedStatus(let status, _): RetryPolicy.isTransient(status)
        case .tooManyRequests: true
        default: error.isTransient
        }
    }

    /// One attempt: POST returns the location, PUT uploads the blob.
    private func upload(
        _ blob: Descriptor, _ body: UploadBody, to reference: Reference
    ) async throws(RegistryError) {
        var start = pushCall(.POST, reference, "blobs/uploads/", "\(blob.digest)")
        start.body = []
        let opened = try await send(start)
        await opened.discard()
        guard opened.headers.contains(name: "Location") else { throw opened.error(.noUploadLocation) }
        let registry = try origin(schemes.withLock { $0[reference.registry] } ?? .https, start)
        let base = WebURL(origin: registry, target: "/v2/\(reference.repository)/blobs/uploads/")
        // Credentials stay with the registry, wherever the location is (CVE-2026-50151).
        let location = try Redirect.next(opened, from: base, registry: registry, configuration: configuration)
        let separator = location.target.contains("?") ? "&" : "?"
        let url = WebURL(
            origin: location.origin,
            target: location.target + separator + TokenService.encoded([("digest", blob.digest.description)]))
        var finish = pushCall(.PUT, reference, "blobs/uploads/", "\(blob.digest)")
        finish.headers.add(name: "Content-Type", value: "application/octet-stream")
        let response = try await authorized(finish, url, registry: registry, upload: body)
        noteWarnings(response.headers)
        guard 200..<300 ~= response.status else { throw await failure(response, finish) }
        await response.discard()
    }

    func pushCall(_ method: HTTPMethod, _ reference: Reference, _ path: String, _ subject: String) -> Call {
        Call(
            method: method, reference: reference, path: path, subject: subject, absence: .nameUnknown, isPush: true)
    }

    /// The meaning of a status for an upload; `nil` if it is the same as for a download.
    static func pushReason(
        _ status: Int, _ errors: ServerErrors, _ credential: CredentialOrigin?
    ) -> RegistryError.Reason? {
        switch status {
        case 400 where errors.codes.contains("DIGEST_INVALID") || errors.codes.contains("SIZE_INVALID"):
            .uploadCorrupted(message: errors.message)
        case 401: .pushUnauthorized(credential, message: errors.message)
        case 403: .pushDenied(credential, message: errors.message)
        case 405: .readOnly(message: errors.message)
        case 413, 507: .noRoom(status: status, message: errors.message)
        default: nil
        }
    }
}
