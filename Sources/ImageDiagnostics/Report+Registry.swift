package import Diagnostics
package import Distribution
internal import ImageSpec

extension Report {
    package init(_ error: RegistryError) {
        let (host, subject) = (error.host, error.subject)
        switch error.reason {
        case .unauthorized(let origin, let message):
            self.init(
                "cannot pull \(Self.thing(subject)): \(host) answered 401 Unauthorized" + Self.quoted(message),
                details: Self.place(origin),
                hint: origin == nil
                    ? "check the name; if the image is private, log in, for example with `podman login \(host)` or "
                        + "`docker login \(host)`"
                    : "check the name, and the password in that file; a token may have expired: log in again")
        case .denied(let origin, let message):
            self.init(
                "cannot pull \(Self.thing(subject)): \(host) answered 403 Forbidden" + Self.quoted(message),
                details: Self.place(origin),
                hint: origin == nil
                    ? "check the name; if the image is private, log in, for example with `podman login \(host)` or "
                        + "`docker login \(host)`"
                    : "the account may not read this repository: ask its owner, or use another account")
        case .pushUnauthorized(let origin, let message):
            self.init(
                "cannot push \(Self.thing(subject)): \(host) answered 401 Unauthorized" + Self.quoted(message),
                details: Self.place(origin),
                hint: origin == nil
                    ? "log in first, for example with `podman login \(host)` or `docker login \(host)`"
                    : "check the name, and the password in that file; a token may have expired, or be for reading only")
        case .pushDenied(let origin, let message):
            self.init(
                "cannot push \(Self.thing(subject)): \(host) answered 403 Forbidden" + Self.quoted(message),
                details: Self.place(origin),
                hint:
                    "the account may not push to this repository, or its quota is used up: choose a repository of your "
                    + "own, or ask this one's owner")
        case .readOnly(let message):
            self.init(
                "cannot push to \(host): it does not accept images" + Self.quoted(message),
                hint: "it is read-only, a mirror perhaps: push to the registry behind it")
        case .noRoom(let status, let message):
            self.init(
                "cannot push \(Self.thing(subject)): \(host) answered \(status)" + Self.quoted(message),
                hint: status == 413
                    ? "a proxy in front of the registry, or the registry itself, limits the size of a layer: ask its "
                        + "owner (nginx: client_max_body_size)"
                    : "the registry's storage is full: ask its owner")
        case .uploadCorrupted(let message):
            self.init(
                "\(host) received something else than was sent (\(subject))" + Self.quoted(message),
                hint: "try again; if it happens again, a proxy on the way or this node's memory or disk is damaged")
        case .noUploadLocation:
            self.init(
                "\(host) does not say where \(subject) is to be sent", hint: "it is no registry that takes images")
        case .uploadUnreadable(let code):
            self.init("cannot read what is to be sent to \(host): \(SystemErrorText.sentence(code))")
        case .manifestUnknown:
            self.init(
                "\(host) has no image \(subject)",
                hint: "check the name and the tag; some registries answer the same for a private image: log in")
        case .nameUnknown:
            self.init(
                "\(host) has no repository for \(Self.thing(subject))",
                hint: "check the name and the tag; some registries answer the same for a private image: log in")
        case .blobUnknown:
            self.init(
                "\(host) has lost a part of the image: \(subject)",
                hint: "its manifest is there but not this blob: push the image again")
        case .notARegistry:
            self.init(
                "cannot pull \(Self.thing(subject)): \(host) is a web server, but not a container registry",
                hint: "check the host name and the port; registries answer at https://\(host)/v2/")
        case .tooManyRequests(let retryAfter):
            self.init(
                "cannot pull \(Self.thing(subject)): \(host) answered 429 Too Many Requests"
                    + (retryAfter.map { ", for the next \(Self.time($0))" } ?? ""),
                hint: "anonymous pulls are counted for the whole network behind an address: log in, pull once into a "
                    + "shared store, or use a mirror")
        case .unreachable(let failure):
            self.init(
                "cannot reach \(host)\(error.proxy.map { " by way of the proxy \($0)" } ?? ""): \(Self.sentence(failure))",
                hint: error.proxy == nil
                    ? Self.hint(failure, host)
                    : "the variables http_proxy, https_proxy and all_proxy name the proxy; no_proxy, what is reached "
                        + "without")
        case .tooSlow(let limit):
            self.init(
                "\(host) did not send \(Self.thing(subject)) in whole within \(Self.time(limit))",
                hint: "the registry or the network is overloaded: try again, or use a mirror")
        case .slowTransfer(let least):
            self.init(
                "\(host) sent \(subject) at less than \(least) bytes a second",
                hint: "the registry or the network is overloaded: try again, or use a mirror")
        case .contentEncoding(let name):
            self.init(
                "\(host) sent \(Self.thing(subject)) with Content-Encoding: \(name), which Berth did not ask for",
                hint: "turn off compression of responses in the registry, or in the proxy in front of it")
        case .speaksHTTP:
            self.init(
                "cannot reach \(host) by HTTPS: it answers in plain HTTP",
                hint: "if you trust the network between, add `insecure-registry = \(host)` to berth.conf, or set "
                    + "BERTH_INSECURE_REGISTRIES=\(host)")
        case .untrustedCertificate:
            self.init(
                "cannot verify the certificate of \(host): it is self-signed, expired, or from an authority that this "
                    + "node does not trust",
                hint:
                    "put the authority's certificate (or the self-signed one) into /etc/berth/certs.d/\(host)/ca.crt; "
                    + "to go without verification, add `insecure-registry = \(host)` to berth.conf")
        case .certificateName:
            self.init(
                "cannot verify the certificate of \(host): it is for another name",
                hint: "use a name that is in the certificate; by way of a proxy an IP address cannot be verified")
        case .tls(let text):
            self.init(
                "cannot establish a TLS connection to \(host): \(text)",
                hint: "put the authority's certificate into /etc/berth/certs.d/\(host)/ca.crt; for a registry without "
                    + "TLS in your own network, add `insecure-registry = \(host)` to berth.conf")
        case .digestMismatch(let expected, let found):
            self.init(
                "\(host) sent other bytes than were asked for (\(subject))",
                details: ["asked for \(expected)", "received \(found)"],
                hint: "nothing was kept; if it happens again, the registry or a proxy before it is damaged or lying")
        case .sizeMismatch(let expected, let found):
            self.init(
                "\(host) sent \(found) bytes for \(subject), which has \(expected)",
                hint: "nothing was kept; the registry or a proxy before it is damaged or lying")
        case .truncated(let received, let expected):
            self.init(
                "the connection to \(host) kept breaking off: \(received) of \(expected) bytes of \(subject) arrived",
                hint: "try again; if it breaks at the same place, look at proxies and firewalls on the way")
        case .tooLarge(let limit):
            self.init(
                "cannot pull \(Self.thing(subject)): \(host) sent more than \(limit) bytes for a document",
                hint: "manifests and configurations are small: check that the name is that of a container image")
        case .unsupportedMediaType(let type):
            self.init(
                "\(subject) is no image that Berth can run: it is of type \(type.rawValue.isEmpty ? "(none)" : type.rawValue)",
                hint: "charts, signatures and models live in registries too; check the name")
        case .schema1:
            self.init(
                "\(subject) is in Docker's manifest format of before 2017, schema 1, which names no content by digest",
                hint: "convert it once: skopeo copy --format v2s2 docker://\(subject) docker://NEW-NAME")
        case .mediaTypeMismatch(let header, let body):
            self.init(
                "\(host) says two things about \(subject): \(header) in the header, \(body) inside",
                hint: "what is read would depend on who reads it, so it is refused; push the image again")
        case .malformed(let document, let detail):
            self.init(
                "the \(document.rawValue) of \(subject) from \(host) cannot be read"
                    + (detail.isEmpty ? "" : ": \(detail)"),
                hint: [.manifest, .index, .config].contains(document)
                    ? "ask for the image to be built and pushed again; its digest names exactly this document" : nil)
        case .tooManyEntries(let limit, let wanted):
            self.init(
                "cannot find an image for \(wanted) in the index of \(subject): its entries name no platform, and none of the "
                    + "first \(limit) is for it",
                hint: "name the image by the digest of its manifest: REPOSITORY@sha256:…")
        case .noMatchingPlatform(let wanted, let offered):
            self.init(
                "\(subject) is not made for \(wanted)",
                details: offered.isEmpty ? [] : ["it is for " + offered.map(\.description).joined(separator: ", ")],
                hint: "choose one with --platform, or another tag")
        case .unexpectedStatus(let status, let message):
            self.init(
                "cannot get \(Self.thing(subject)): \(host) answered \(status)" + Self.quoted(message),
                hint: status >= 500 ? "the registry has a fault of its own: try again, or ask its owner" : nil)
        case .refusedRedirect(let fault, let target):
            self.init(
                "\(host) redirects \(subject) to \(target), which \(Self.sentence(fault))",
                hint: "the registry, or a proxy in front of it, is misconfigured or malicious: ask its owner")
        case .refusedRealm(let fault, let realm):
            self.init(
                "\(host) wants credentials sent to \(realm), which \(Self.sentence(fault))",
                hint: "no credentials were sent; the registry is misconfigured or malicious: ask its owner")
        case .credentials(let error): self.init(error)
        case .proxy(let text):
            self.init(
                "the proxy on the way to \(host) cannot be used: \(text)",
                hint: "http_proxy, https_proxy and no_proxy take http://[USER:PASSWORD@]HOST:PORT and a list of hosts")
        case .cancelled: self.init("interrupted")
        }
        if let asked = Self.dockerHub(error) { details.append(asked) }
    }

    /// A subject as people know it: of a token's scope the repository.
    private static func thing(_ subject: String) -> String {
        let parts = subject.utf8.split(separator: UInt8(ascii: ":"))
        guard parts.count == 3, parts[0].elementsEqual("repository".utf8) else { return subject }
        return String(decoding: parts[1], as: UTF8.self)
    }

    /// A name whose first part was meant as a registry's, and does not look like one, is asked of Docker Hub.
    private static func dockerHub(_ error: RegistryError) -> String? {
        switch error.reason {
        case .unauthorized, .denied, .pushUnauthorized, .pushDenied, .manifestUnknown, .nameUnknown, .unreachable: break
        default: return nil
        }
        let hosts = ["docker.io", "registry-1.docker.io", "index.docker.io", "auth.docker.io"]
        guard hosts.contains(error.host) else { return nil }
        var path = Array(thing(error.subject).utf8)[...]
        if path.starts(with: "docker.io/".utf8) { path.removeFirst(10) }
        guard let slash = path.firstIndex(of: UInt8(ascii: "/")), !path.starts(with: "library/".utf8) else {
            return "the name has no registry, so Docker Hub was asked"
        }
        let (first, rest) = (
            String(decoding: path[..<slash], as: UTF8.self), String(decoding: path[slash...], as: UTF8.self)
        )
        return "Docker Hub was asked, for \"\(first)\" has no dot and no port; a registry of that name is written "
            + "\(first).DOMAIN\(rest) or \(first):PORT\(rest)"
    }

    private static func quoted(_ message: String?) -> String { message.map { " (\"\($0)\")" } ?? "" }

    private static func place(_ origin: CredentialOrigin?) -> [String] {
        switch origin {
        case .file(let file)?: ["credentials from \(file)"]
        case .helper(let program, let file)?: ["credentials from \(program), which \(file) names"]
        case nil: []
        }
    }

    private static func time(_ duration: Duration) -> String {
        let seconds = duration.components.seconds
        if seconds < 120 { return "\(seconds) s" }
        return seconds < 7200 ? "\(seconds / 60) min" : "\(seconds / 3600) h"
    }

    private static func sentence(_ failure: RegistryError.ConnectionFailure) -> String {
        switch failure {
        case .nameNotFound: "its name is not known here"
        case .refused: "connection refused"
        case .timedOut: "no answer in time"
        case .closed: "the connection was closed"
        case .system(let code): SystemErrorText.sentence(code)
        case .other(let text): text
        }
    }

    private static func hint(_ failure: RegistryError.ConnectionFailure, _ host: String) -> String? {
        switch failure {
        case .nameNotFound:
            "check the spelling; on a compute node without DNS or a route outside, pull on a login node into a shared "
                + "store, or set https_proxy"
        case .refused: "is the registry running there, and is \(host) the right port?"
        case .timedOut, .system:
            "compute nodes often have no route outside: pull on a login node into a shared store, or set https_proxy"
        case .closed, .other: nil
        }
    }

    private static func sentence(_ fault: RegistryError.RedirectFault) -> String {
        switch fault {
        case .tooMany: "is one redirect too many"
        case .noLocation: "names no place"
        case .notHTTP: "is no web address"
        case .plaintext: "gives up TLS"
        case .localAddress: "is an address of this machine or of its network's services"
        }
    }

    private static func sentence(_ fault: RegistryError.RealmFault) -> String {
        switch fault {
        case .notHTTP: "is no web address"
        case .plaintext: "gives up TLS"
        case .localAddress: "is an address of this machine or of a private network, and not the registry's own"
        case .redirected: "redirects elsewhere"
        }
    }
}
