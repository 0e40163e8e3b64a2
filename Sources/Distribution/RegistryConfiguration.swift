/// How registries may be reached: what a site and a user decide, as values.
package struct RegistryConfiguration: Sendable {
    /// `HOST[:PORT]` that may be spoken to without TLS, or with a certificate nobody vouches for.
    package var insecureRegistries: Set<String> = []
    package var proxies = ProxyRules()
    package var retry = RetryPolicy()
    package var connectTimeout = Duration.seconds(15)
    /// Longest silence of a server.
    package var readTimeout = Duration.seconds(60)
    /// The least rate of a blob, in bytes a second, over this much time of waiting for its bytes. There is no limit on a
    /// whole transfer: a large layer takes long.
    package var leastRate: Int64 = 1000
    package var rateWindow = Duration.seconds(30)
    /// After all of a blob was sent.
    package var uploadAnswerTimeout = Duration.seconds(900)
    /// One response's head has to be there within this.
    package var headTimeout = Duration.seconds(60)
    /// A manifest, a configuration, a token or a blob's first byte, with all redirects and attempts that lead to it.
    package var answerLimit = Duration.seconds(120)
    /// All documents of an image together.
    package var resolutionLimit = Duration.seconds(300)
    /// The distribution-spec's limit for manifests.
    package var maximumManifestSize: Int64 = 4 << 20
    package var maximumConfigSize: Int64 = 8 << 20
    /// Replaces the system's certificate authorities: `SSL_CERT_FILE`, or `SSL_CERT_DIR`.
    package var certificateFile: String?
    /// Each holds directories named `HOST[:PORT]`, with `ca.crt` and perhaps `client.cert` and `client.key`.
    package var certificateDirectories = ["/etc/berth/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"]
    package var userAgent = "berth"

    package init() {}

    package init(environment: [String: String]) {
        proxies = ProxyRules(environment: environment)
        // OpenSSL's variables; a directory holds one certificate a file.
        certificateFile = ["SSL_CERT_FILE", "SSL_CERT_DIR"].compactMap { environment[$0] }.first { !$0.isEmpty }
    }

    /// How long an upload may take until it is answered.
    func uploadLimit(of size: Int64) -> Duration { uploadAnswerTimeout * 2 + .seconds(size / max(1, leastRate)) }

    func isInsecure(_ origin: Origin) -> Bool {
        origin.isLoopback || insecureRegistries.contains(origin.authority) || insecureRegistries.contains(origin.host)
    }
}
