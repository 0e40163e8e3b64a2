/// How registries may be reached: what a site and a user decide, as values.
package struct RegistryConfiguration: Sendable {
    /// `HOST[:PORT]` that may be spoken to without TLS, or with a certificate nobody vouches for.
    package var insecureRegistries: Set<String> = []
    package var proxies = ProxyRules()
    package var retry = RetryPolicy()
    package var connectTimeout = Duration.seconds(15)
    /// Longest silence of a server. There is no limit on a whole transfer: a layer takes as long as it takes.
    package var readTimeout = Duration.seconds(60)
    /// After all of a blob was sent.
    package var uploadAnswerTimeout = Duration.seconds(900)
    /// A token or a manifest, with all that leads to it, has to be there within this.
    package var smallRequestTimeout = Duration.seconds(120)
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

    func isInsecure(_ origin: Origin) -> Bool {
        origin.isLoopback || insecureRegistries.contains(origin.authority) || insecureRegistries.contains(origin.host)
    }
}
