package import ImageSpec

/// Why something could not be had from a registry, or brought there. Facts only; `Diagnostics` makes the text.
package struct RegistryError: Error, Equatable, Sendable {
    /// Who was asked, as `HOST[:PORT]`: a registry, its token service, or where it redirected to.
    package let host: String
    /// What was asked for: a reference, a digest, or a token's scope. Never holds a secret.
    package let subject: String
    package let reason: Reason
    /// `HOST:PORT` of the proxy by way of which it was asked.
    package let proxy: String?

    package init(host: String, subject: String, reason: Reason, proxy: String? = nil) {
        self.host = host
        self.subject = subject
        self.reason = reason
        self.proxy = proxy
    }

    package enum Reason: Equatable, Sendable {
        /// Refused, with these credentials, or with none.
        case unauthorized(CredentialOrigin?, message: String?)
        case denied(CredentialOrigin?, message: String?)
        /// Writing there is refused, to nobody it knows or with these credentials.
        case pushUnauthorized(CredentialOrigin?, message: String?)
        case pushDenied(CredentialOrigin?, message: String?)
        /// The registry, or this repository, takes nothing from anybody.
        case readOnly(message: String?)
        /// The registry, or a proxy before it, takes no blob of this size, or has no room for it: 413 and 507.
        case noRoom(status: Int, message: String?)
        /// The registry received other bytes than were sent, or says so.
        case uploadCorrupted(message: String?)
        /// The registry does not say where to send a blob.
        case noUploadLocation
        /// What was to be sent could not be read: an `errno` value.
        case uploadUnreadable(Int32)
        case manifestUnknown
        case nameUnknown
        case blobUnknown
        case tooManyRequests(retryAfter: Duration?)
        case unreachable(ConnectionFailure)
        /// Not there in whole within the limit of time.
        case tooSlow(limit: Duration)
        /// A blob came with less than so many bytes a second.
        case slowTransfer(least: Int64)
        /// Packed once more on the way, with this, although it was asked for as it is.
        case contentEncoding(String)
        /// A web server, but none that speaks the registries' protocol.
        case notARegistry
        /// HTTP where HTTPS was expected.
        case speaksHTTP
        /// The certificate is of no authority known here.
        case untrustedCertificate
        case tls(String)
        /// The certificate is good, but for another name.
        case certificateName
        case digestMismatch(expected: Digest, found: Digest)
        case sizeMismatch(expected: Int64, found: Int64)
        /// The connection kept breaking off after this many bytes.
        case truncated(received: Int64, expected: Int64)
        case tooLarge(limit: Int64)
        case unsupportedMediaType(MediaType)
        /// Docker's manifests from before 2017, which carry no digests of their layers' content.
        case schema1
        /// The header says one type and the body another (CVE-2021-41190).
        case mediaTypeMismatch(header: MediaType, body: MediaType)
        case malformed(Document, detail: String)
        case noMatchingPlatform(wanted: Platform, offered: [Platform])
        /// None of so many entries of the index, which name no platform, is for this one; there are more.
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

/// Where a credential came from: what an error has to name for somebody to be able to mend it.
package enum CredentialOrigin: Equatable, Sendable {
    /// A file of Docker's, of containers' or of Enroot's.
    case file(String)
    /// `docker-credential-NAME`, and the file that asks for it.
    case helper(String, file: String)
}

/// Why credentials could not be read.
package enum CredentialError: Error, Equatable, Sendable {
    case unreadable(file: String, errno: Int32)
    case malformed(file: String, detail: String)
    case helperNotFound(String, file: String)
    case helperFailed(String, file: String, status: Int32, message: String)
    case helperTimedOut(String, file: String)
    /// Enroot's `$(command)` in a password, which runs only where the site or the user allows it.
    case commandNotAllowed(file: String, line: Int)
    case commandFailed(file: String, line: Int, status: Int32)
    case undefinedVariable(String, file: String, line: Int)
}

extension RegistryError {
    /// Server text on its way to a terminal: no control characters, and not a page of it.
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
