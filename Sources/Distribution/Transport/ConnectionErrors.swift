internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

extension HTTPTransport {
    /// Converts an error of the underlying libraries.
    static func reason(for error: any Error) -> RegistryError.Reason {
        switch error {
        case let error as RegistryError: return error.reason
        case let error as BlobReadError: return .uploadUnreadable(error.errno)
        case is CancellationError: return .cancelled
        case let error as HTTPClientError: return reason(for: error)
        case let error as NIOConnectionError:
            if let cause = error.connectionErrors.first?.error { return reason(for: cause) }
            return .unreachable(.nameNotFound)
        case let error as IOError:
            switch error.errnoCode {
            case ECONNREFUSED: return .unreachable(.refused)
            case ETIMEDOUT: return .unreachable(.timedOut)
            case ECONNRESET, EPIPE: return .unreachable(.closed)
            default: return .unreachable(.system(error.errnoCode))
            }
        case let error as NIOSSLError:
            if case .uncleanShutdown = error { return .unreachable(.closed) }
            if case .noSuchFilesystemObject = error { return .tls(noAuthorities) }
            return tlsReason(error)
        case let error as BoringSSLError:
            // The system has no certificate authorities. The library has no message for this case.
            if case .unknownError(let stack) = error, stack.isEmpty {
                return .tls(noAuthorities)
            }
            return tlsReason(error)
        // Through a proxy, the library compares the certificate of an IP address with the proxy's address.
        case let error as NIOSSLExtraError where error == .failedToValidateHostname: return .certificateName
        case is NIOSSLExtraError: return .tls(tlsText(error))
        case let error as ChannelError:
            if case .connectTimeout = error { return .unreachable(.timedOut) }
            return .unreachable(.closed)
        case let error as SocketAddressError:
            if case .unknown = error { return .unreachable(.nameNotFound) }
            return .unreachable(.other(RegistryError.clean(String(describing: error))))
        case is CertificateFileError: return .tls(tlsText(error))
        default: return .unreachable(.other(RegistryError.clean(String(describing: error))))
        }
    }

    private static let noAuthorities =
        "this node has no certificates of authorities (package ca-certificates; or the file of SSL_CERT_FILE is "
        + "missing)"

    /// The library has error numbers for handshakes, but only exposes them in its text.
    private static func tlsReason(_ error: any Error) -> RegistryError.Reason {
        switch tlsText(error) {
        case "wrong version number", "http request": .speaksHTTP
        case "certificate verify failed": .untrustedCertificate
        case let text: .tls(text)
        }
    }

    /// BoringSSL's message, such as `certificate verify failed`, from a text for its developers; the codes behind it
    /// are not accessible.
    private static func tlsText(_ error: any Error) -> String {
        let text = String(describing: error)
        let marker = "OPENSSL_internal:"
        guard let start = text.firstRange(of: marker) else { return RegistryError.clean(text) }
        let word = text[start.upperBound...].prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        return RegistryError.clean(word.lowercased().map { $0 == "_" ? " " : String($0) }.joined())
    }

    private static func reason(for error: HTTPClientError) -> RegistryError.Reason {
        switch error {
        // The library also reports this if a deadline passes just after a response's head.
        case .cancelled: Task.isCancelled ? .cancelled : .unreachable(.timedOut)
        case .connectTimeout, .readTimeout, .writeTimeout, .deadlineExceeded, .getConnectionFromPoolTimeout,
            .tlsHandshakeTimeout, .httpProxyHandshakeTimeout, .socksHandshakeTimeout:
            .unreachable(.timedOut)
        case .remoteConnectionClosed: .unreachable(.closed)
        case .proxyAuthenticationRequired: .proxy("it wants a user and a password, or refuses these")
        case .invalidProxyResponse: .proxy("it does not answer as a proxy does, or refuses the connection")
        default: .unreachable(.other(RegistryError.clean(String(describing: error))))
        }
    }
}

extension RegistryError {
    /// Whether a retry may help, including an unknown name. The caller knows whether the name was found before.
    var mayPass: Bool { isTransient || reason == .unreachable(.nameNotFound) }

    /// Whether a retry may help: the connection was lost rather than denied for a reason.
    var isTransient: Bool {
        guard case .unreachable(let failure) = reason else { return false }
        switch failure {
        case .closed, .timedOut, .refused, .system, .other: return true
        case .nameNotFound: return false
        }
    }
}
