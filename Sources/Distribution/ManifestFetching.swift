internal import FoundationEssentials
internal import Hashing
package import ImageSpec
internal import NIOHTTP1

/// A verified manifest or index of a registry.
package struct FetchedManifest: Sendable {
    package enum Content: Sendable, Equatable {
        case manifest(Manifest)
        case index(ImageIndex)
    }

    package let mediaType: MediaType
    package let digest: Digest
    /// The bytes that the digest covers.
    package let bytes: [UInt8]
    package let content: Content
}

/// A registry's metadata of a manifest.
package struct ManifestHead: Sendable, Equatable {
    package let mediaType: MediaType?
    /// Not verified, because there are no bytes. Use it only to detect that a tag has not moved.
    package let digest: Digest?
    package let size: Int64?
}

extension RegistryClient {
    /// Queries what a reference refers to now. Docker Hub does not count these requests.
    package func head(_ reference: Reference) async throws(RegistryError) -> ManifestHead {
        let response = try await send(manifestCall(.HEAD, reference, reference.selector))
        await response.discard()
        return ManifestHead(
            mediaType: response.headers.first(name: "Content-Type").map(MediaType.init(rawValue:)),
            digest: response.headers.first(name: "Docker-Content-Digest").flatMap { text in
                try? Digest(parsing: text)  // unknown algorithm: ignored
            },
            size: response.contentLength)
    }

    /// Fetches the manifest or index of a reference.
    package func manifest(_ reference: Reference) async throws(RegistryError) -> FetchedManifest {
        try await manifest(reference, selector: reference.selector, expected: reference.digest)
    }

    /// Fetches an entry of an index.
    package func manifest(
        _ descriptor: Descriptor, in reference: Reference
    ) async throws(RegistryError) -> FetchedManifest {
        let found = try await manifest(
            reference, selector: descriptor.digest.description, expected: descriptor.digest)
        guard Int64(found.bytes.count) == descriptor.size else {
            throw RegistryError(
                host: reference.registry, subject: descriptor.digest.description,
                reason: .sizeMismatch(expected: descriptor.size, found: Int64(found.bytes.count)))
        }
        return found
    }

    private func manifestCall(_ method: HTTPMethod, _ reference: Reference, _ selector: String) -> Call {
        var headers = HTTPHeaders()
        // One line, because some registries read only the first; all types, because others return schema 1 to old
        // clients.
        headers.add(
            name: "Accept", value: MediaType.acceptedManifests.map(\.rawValue).joined(separator: ", "))
        return Call(
            method: method, reference: reference, path: "manifests/\(selector)", subject: reference.description,
            headers: headers, absence: .manifestUnknown)
    }

    private func manifest(
        _ reference: Reference, selector: String, expected: Digest?
    ) async throws(RegistryError) -> FetchedManifest {
        let call = manifestCall(.GET, reference, selector)
        return try await withinLimit(
            configuration.answerLimit, host: reference.registry, subject: reference.description
        ) { [self] note throws(RegistryError) in
            var attempts = Attempts(configuration.retry)
            while true {
                let response = try await self.attempts(call, note)
                do throws(RegistryError) {
                    let bytes = try await response.collect(upTo: configuration.maximumManifestSize)
                    return try Self.verified(bytes, response, expected: expected)
                } catch {
                    guard error.isTransient, let pause = attempts.next(after: error, heard: true) else { throw error }
                    note.set(error)
                    try await transport.pause(pause, subject: reference.description)
                }
            }
        }
    }

    private static func verified(
        _ bytes: [UInt8], _ response: HTTPResponse, expected: Digest?
    ) throws(RegistryError) -> FetchedManifest {
        // Verify the digest before anything else is read.
        if let expected {
            let found = Digest(hashing: bytes, with: expected.algorithm)
            guard found == expected else { throw response.error(.digestMismatch(expected: expected, found: found)) }
        }
        var digest = expected ?? Digest(hashing: bytes, with: .sha256)
        if expected == nil, let header = response.headers.first(name: "Docker-Content-Digest"),
            let claimed = try? Digest(parsing: header)  // unknown algorithm: ignored
        {
            // A registry may use another algorithm, but a digest that it states must match.
            let found = Digest(hashing: bytes, with: claimed.algorithm)
            guard found == claimed else { throw response.error(.digestMismatch(expected: claimed, found: found)) }
            digest = claimed
        }
        let (mediaType, content) = try document(bytes, response)
        return FetchedManifest(mediaType: mediaType, digest: digest, bytes: bytes, content: content)
    }

    private struct Preamble: Decodable {
        let schemaVersion: Int?
        let mediaType: MediaType?
    }

    private static func document(
        _ bytes: [UInt8], _ response: HTTPResponse
    ) throws(RegistryError) -> (MediaType, FetchedManifest.Content) {
        let header = response.headers.first(name: "Content-Type").map(MediaType.init(rawValue:))
        if header?.isSchema1 == true { throw response.error(.schema1) }
        // A login page, or another page of a web server.
        if response.isWebPage { throw response.error(.notARegistry) }
        let preamble = try decode(Preamble.self, bytes, .manifest, response)
        if preamble.schemaVersion == 1 || preamble.mediaType?.isSchema1 == true { throw response.error(.schema1) }
        if let header, let body = preamble.mediaType, header != body {
            throw response.error(.mediaTypeMismatch(header: header, body: body))
        }
        guard let mediaType = header ?? preamble.mediaType else {
            throw response.error(.malformed(.manifest, detail: "no media type"))
        }
        guard mediaType.isIndex || mediaType.isManifest else {
            throw response.error(.unsupportedMediaType(mediaType))
        }
        return mediaType.isIndex
            ? (mediaType, .index(try decode(ImageIndex.self, bytes, .index, response)))
            : (mediaType, .manifest(try decode(Manifest.self, bytes, .manifest, response)))
    }

    private static func decode<Value: Decodable>(
        _ type: Value.Type, _ bytes: [UInt8], _ document: RegistryError.Document, _ response: HTTPResponse
    ) throws(RegistryError) -> Value {
        do throws(DocumentFault) { return try Documents.decode(type, from: bytes, as: .manifest) } catch {
            throw response.error(.malformed(document, detail: RegistryError.clean(error.description)))
        }
    }
}

extension Error {
    /// The position and kind of a decoding error, without the document's content.
    var whatWasWrong: String {
        guard let error = self as? DecodingError else { return "" }
        let context: DecodingError.Context? =
            switch error {
            case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context),
                .dataCorrupted(let context):
                context
            @unknown default: nil
            }
        guard let context else { return "" }
        let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
        return RegistryError.clean(path.isEmpty ? context.debugDescription : "\(path): \(context.debugDescription)")
    }
}
