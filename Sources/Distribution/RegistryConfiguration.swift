/// How to access registries, as configured by the site and the user.
package struct RegistryConfiguration: Sendable {
    /// `HOST[:PORT]` of registries that may be used without TLS, or with an untrusted certificate.
    package var insecureRegistries: Set<String> = []
    package var proxies = ProxyRules()
    package var retry = RetryPolicy()
    package var connectTimeout = Duration.seconds(15)
    /// The maximum time without data from the server.
    package var readTimeout = Duration.seconds(60)
    /// The minimum rate of a blob in bytes per second, measured over `rateWindow` of waiting. The whole transfer has no
    /// limit, because a large layer takes long.
    package var leastRate: Int64 = 1000
    package var rateWindow = Duration.seconds(30)
    /// The time limit for the answer after all of a blob was sent.
    package var uploadAnswerTimeout = Duration.seconds(900)
    /// The time limit for the head of one response.
    package var headTimeout = Duration.seconds(60)
    /// The time limit for a manifest, a configuration, a token or a blob's first byte, including redirects and retries.
    package var answerLimit = Duration.seconds(120)
    /// The time limit for all documents of an image.
    package var resolutionLimit = Duration.seconds(300)
    /// The distribution-spec's limit for manifests.
    package var maximumManifestSize: Int64 = 4 << 20
    package var maximumConfigSize: Int64 = 8 << 20
    /// Replaces the system's certificate authorities: `SSL_CERT_FILE` or `SSL_CERT_DIR`.
    package var certificateFile: String?
    /// Directories that contain a directory `HOST[:PORT]` with `ca.crt` and optionally `client.cert` and `client.key`.
    package var certificateDirectories = ["/etc/berth/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"]
    package var userAgent = "berth"

    package init() {}

    package init(environment: [String: String]) {
        proxies = ProxyRules(environment: environment)
        // OpenSSL's variables. A directory has one certificate per file.
        certificateFile = ["SSL_CERT_FILE", "SSL_CERT_DIR"].compactMap { environment[$0] }.first { !$0.isEmpty }
    }

    /// The time limit for an upload including its answer.
    func uploadLimit(of size: Int64) -> Duration { uploadAnswerTimeout * 2 + .seconds(size / max(1, leastRate)) }

    func isInsecure(_ origin: Origin) -> Bool {
        origin.isLoopback || insecureRegistries.contains(origin.authority) || insecureRegistries.contains(origin.host)
    }
}
