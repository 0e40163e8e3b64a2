package import ImageSpec

/// Why a registry request failed. Contains no message; `ImageDiagnostics` makes the text.
package struct RegistryError: Error, Equatable, Sendable {
    /// The `HOST[:PORT]` that was contacted: a registry, its token service, or the target of a redirect.
    package let host: String
    /// The requested reference, digest or scope of a token. Never contains a secret.
    package let subject: String
    package let reason: Reason
    /// `HOST:PORT` of the proxy that was used.
    package let proxy: String?

    package init(host: String, subject: String, reason: Reason, proxy: String? = nil) {
        self.host = host
        self.subject = subject
        self.reason = reason
        self.proxy = proxy
    }

    package enum Reason: Equatable, Sendable {
        /// Access was denied, with these credentials or without.
        case unauthorized(CredentialOrigin?, message: String?)
        case denied(CredentialOrigin?, message: String?)
        /// Push access was denied, with these credentials or without.
        case pushUnauthorized(CredentialOrigin?, message: String?)
        case pushDenied(CredentialOrigin?, message: String?)
        /// The registry or the repository is read-only.
        case readOnly(message: String?)
        /// The registry or a proxy rejects the size of the blob (413), or its storage is full (507).
        case noRoom(status: Int, message: String?)
        /// The registry received other bytes than were sent, or reports so.
        case uploadCorrupted(message: String?)
        /// The registry returned no upload location.
        case noUploadLocation
        /// The data to upload could not be read; the value is an `errno`.
        case uploadUnreadable(Int32)
        case manifestUnknown
        case nameUnknown
        case blobUnknown
        case tooManyRequests(retryAfter: Duration?)
        case unreachable(ConnectionFailure)
        /// The content did not arrive completely within the time limit.
        case tooSlow(limit: Duration)
        /// A blob arrived at less than this rate in bytes per second.
        case slowTransfer(least: Int64)
        /// The server compressed the response, although the request did not allow it.
        case contentEncoding(String)
        /// A web server that is not a registry.
        case notARegistry
        /// HTTP where HTTPS was expected.
        case speaksHTTP
        /// No trusted authority has signed the certificate.
        case untrustedCertificate
        case tls(String)
        /// The certificate is valid for another name.
        case certificateName
        case digestMismatch(expected: Digest, found: Digest)
        case sizeMismatch(expected: Int64, found: Int64)
        /// The connection broke repeatedly after this many bytes.
        case truncated(received: Int64, expected: Int64)
        case tooLarge(limit: Int64)
        case unsupportedMediaType(MediaType)
        /// Docker's manifest format from before 2017, which has no digests of the layers' content.
        case schema1
        /// Header and body state different types (CVE-2021-41190).
        case mediaTypeMismatch(header: MediaType, body: MediaType)
        case malformed(Document, detail: String)
        case noMatchingPlatform(wanted: Platform, offered: [Platform])
        /// The first `limit` entries, none of which has a platform, do not match, and there are more.
        case tooManyEntries(limit: Int, wanted: Platform)
        case unexpectedStatus(Int, message: String?)
        case refusedRedirect(RedirectFault, to: String)
        case refusedRealm(RealmFault, realm: String)
        case credentials(CredentialError)
        case proxy(String)
        case cancelled
    }

    package enum Document: String, Sendable { case manifest, index, config, token, challenge }

    package enum ConnectionFailure: Equatable, Sendable {
        case nameNotFound
        case refused
        case timedOut
        case closed
        /// An `errno` value.
        case system(Int32)
        case other(String)
    }

    package enum RedirectFault: String, Sendable { case tooMany, noLocation, notHTTP, plaintext, localAddress }
    package enum RealmFault: String, Sendable { case notHTTP, plaintext, localAddress, redirected }
}

/// The source of a credential, so that an error can name what to fix.
package enum CredentialOrigin: Equatable, Sendable {
    /// A file of Docker, containers or Enroot.
    case file(String)
    /// `docker-credential-NAME`, and the file that configures it.
    case helper(String, file: String)
}

/// Why credentials are unreadable.
package enum CredentialError: Error, Equatable, Sendable {
    case unreadable(file: String, errno: Int32)
    case malformed(file: String, detail: String)
    case helperNotFound(String, file: String)
    case helperFailed(String, file: String, status: Int32, message: String)
    case helperTimedOut(String, file: String)
    /// Enroot's `$(command)` in a password, which runs only if the site or the user allows it.
    case commandNotAllowed(file: String, line: Int)
    case commandFailed(file: String, line: Int, status: Int32)
    case undefinedVariable(String, file: String, line: Int)
}

extension RegistryError {
    /// Makes server text safe for a terminal: removes control characters and limits its length.
    static func clean(_ text: String, limit: Int = 300) -> String {
        let visible = text.unicodeScalars.map { scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: Unicode.Scalar(" ")
            default: scalar
            }
        }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: visible.prefix(limit))
        return String(view)
    }
}
