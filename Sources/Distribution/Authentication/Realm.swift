/// Whether a registry's token service may be contacted at its realm.
///
/// The realm comes from the network and receives credentials. It may be on another host, as Docker Hub's is, but must
/// neither drop TLS (CVE-2019-10214) nor be an address that only this machine or its network can reach, such as a
/// cloud's metadata service (CVE-2026-48978).
enum Realm {
    static func url(_ realm: String, askedBy registry: Origin) -> Result<WebURL, RealmRefusal> {
        guard let url = WebURL(parsing: realm) else { return .failure(RealmRefusal(fault: .notHTTP)) }
        if url.origin.scheme == .http, registry.scheme == .https {
            return .failure(RealmRefusal(fault: .plaintext))
        }
        let isRegistryItself = url.origin.host == registry.host && url.origin.port == registry.port
        switch url.origin.addressKind {
        case nil, .other:
            return .success(url)
        case .loopback where registry.isLoopback:
            // A registry on this host gains nothing by a realm on another port of the host.
            return .success(url)
        default:
            return isRegistryItself ? .success(url) : .failure(RealmRefusal(fault: .localAddress))
        }
    }
}

struct RealmRefusal: Error, Equatable {
    let fault: RegistryError.RealmFault
}
