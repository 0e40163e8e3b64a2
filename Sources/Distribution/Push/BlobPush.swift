package import ImageSpec
internal import NIOHTTP1
internal import Synchronization

/// Sending blobs.
///
/// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
extension RegistryClient {
    package func hasBlob(_ digest: Digest, in reference: Reference) async throws(RegistryError) -> Bool {
        let response = try await send(pushCall(.HEAD, reference, "blobs/\(digest)", "\(digest)"), accepting: [404])
        await response.discard()
        return response.status != 404
    }

    /// Has a blob of another repository shown in this one too; `false` where the registry or the account can not.
    package func mountBlob(
        _ digest: Digest, from origin: Reference, into reference: Reference
    ) async throws(RegistryError) -> Bool {
        let query = TokenService.encoded([("mount", digest.description), ("from", origin.repository)])
        let call = pushCall(.POST, reference, "blobs/uploads/?\(query)", "\(digest)")
        do throws(RegistryError) {
            // 202 opens an upload instead, which the registry forgets by itself.
            let response = try await send(call, accepting: [404, 405])
            await response.discard()
            return response.status == 201
        } catch {
            switch error.reason {
            // Not to be read there by this account: then the blob is sent.
            case .pushUnauthorized, .pushDenied, .nameUnknown, .blobUnknown: return false
            default: throw error
            }
        }
    }

    /// Sends a blob, unless it is there. A transfer that breaks begins anew, as often as a pull would be resumed.
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
                // The registry has answered before: it was asked whether it has the blob.
                guard Self.mayPass(error), let next = attempts.next(after: nil, heard: true) else { throw error }
                pause = next
            }
            try await transport.pause(pause, subject: "\(blob.digest)")
            // The answer may be what was lost.
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

    /// One attempt: POST says where to, PUT sends all of it.
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
        // Credentials stay with the registry wherever this leads (CVE-2026-50151).
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

    /// What a status means to who wants to write; nil where it means what it does to who reads.
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
