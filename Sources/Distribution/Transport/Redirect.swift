internal import NIOHTTP1

/// Checks redirects of a registry, most of which store blobs elsewhere.
enum Redirect {
    static let maximum = 5

    static func isRedirect(_ status: Int) -> Bool { [301, 302, 303, 307, 308].contains(status) }

    static func next(
        _ response: HTTPResponse, from url: WebURL, registry: Origin, configuration: RegistryConfiguration
    ) throws(RegistryError) -> WebURL {
        func refuse(_ fault: RegistryError.RedirectFault, _ to: String) -> RegistryError {
            response.error(.refusedRedirect(fault, to: to))
        }
        guard let location = response.headers.first(name: "Location") else {
            throw refuse(.noLocation, url.origin.description)
        }
        guard let next = url.resolving(location) else {
            throw refuse(.notHTTP, RegistryError.clean(String(location.prefix { $0 != "?" }), limit: 80))
        }
        // Do not drop TLS, except for hosts configured as insecure.
        if next.origin.scheme == .http, url.origin.scheme == .https, !configuration.isInsecure(next.origin) {
            throw refuse(.plaintext, next.origin.description)
        }
        // A remote registry must not redirect to this host or to a cloud's metadata service. Private networks are
        // allowed, because object stores are often there.
        if next.origin.host != registry.host {
            switch next.origin.addressKind {
            case .loopback where !registry.isLoopback: throw refuse(.localAddress, next.origin.description)
            case .linkLocal, .unspecified: throw refuse(.localAddress, next.origin.description)
            default: break
            }
        }
        return next
    }
}
