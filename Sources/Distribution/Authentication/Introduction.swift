internal import NIOHTTP1
internal import Synchronization

/// A registry's answer at `/v2/`.
enum Welcome: Sendable {
    case open
    case challenge
}

extension RegistryClient {
    /// The header for a request that was denied without a challenge. Queries the registry's root for a challenge, once;
    /// returns `nil` if there is nothing to send. Without credentials, does nothing. GitHub's packages, Artifactory and
    /// zot answer 403 or 404 to unauthenticated requests.
    ///
    /// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support
    func introduction(_ call: Call, _ registry: Origin) async throws(RegistryError) -> String? {
        if welcomes.withLock({ $0[call.access] }) != nil { return nil }
        guard await authorizer.mayHaveCredentials(for: call.access) else { return nil }
        let root = try await transport.send(
            HTTPTransport.Request(url: WebURL(origin: registry, target: "/v2/"), reach: .registry),
            subject: call.subject)
        await root.discard()
        let challenges = AuthenticationChallenge.parse(root.headers["WWW-Authenticate"])
        let welcome: Welcome = root.status == 401 && !challenges.isEmpty ? .challenge : .open
        welcomes.withLock { $0[call.access] = welcome }
        guard welcome == .challenge else { return nil }
        return try await authorizer.answer(challenges, from: registry, call.access, isRegistry: true, rejected: nil)
    }
}
