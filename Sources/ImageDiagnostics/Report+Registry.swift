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
                    : "check the name, and the password in that file; a token may have expired, or may allow reading "
                        + "only")
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
                hint: "it is read-only, for example a mirror: push to the original registry")
        case .noRoom(let status, let message):
            self.init(
                "cannot push \(Self.thing(subject)): \(host) answered \(status)" + Self.quoted(message),
                hint: status == 413
                    ? "a proxy in front of the registry, or the registry itself, limits the size of a layer: ask its "
                        + "owner (nginx: client_max_body_size)"
                    : "the registry's storage is full: ask its owner")
        case .uploadCorrupted(let message):
            self.init(
                "\(host) received corrupted data for \(subject)" + Self.quoted(message),
                hint: "try again; if it fails again, a proxy or this node's memory or disk is faulty")
        case .noUploadLocation:
            self.init(
                "\(host) returned no upload location for \(subject)", hint: "it does not accept uploads")
        case .uploadUnreadable(let code):
            self.init("cannot read the data to upload to \(host): \(SystemErrorText.sentence(code))")
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
                "\(host) lacks a part of the image: \(subject)",
                hint: "it has the manifest but not this blob: push the image again")
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
                "cannot reach \(host)\(error.proxy.map { " through the proxy \($0)" } ?? ""): "
                    + "\(Self.sentence(failure))",
                hint: error.proxy == nil
                    ? Self.hint(failure, host)
                    : "http_proxy, https_proxy and all_proxy set the proxy; no_proxy lists the hosts to reach without "
                        + "it")
        case .tooSlow(let limit):
            self.init(
                "\(host) did not send all of \(Self.thing(subject)) within \(Self.time(limit))",
                hint: "the registry or the network is overloaded: try again, or use a mirror")
        case .slowTransfer(let least):
            self.init(
                "\(host) sent \(subject) at less than \(least) bytes a second",
                hint: "the registry or the network is overloaded: try again, or use a mirror")
        case .contentEncoding(let name):
            self.init(
                "\(host) sent \(Self.thing(subject)) with Content-Encoding: \(name), which Berth did not ask for",
                hint: "disable compression of responses in the registry, or in the proxy in front of it")
        case .speaksHTTP:
            self.init(
                "cannot reach \(host) by HTTPS: it answers in plain HTTP",
                hint: "if you trust the network, add `insecure-registry = \(host)` to berth.conf, or set "
                    + "BERTH_INSECURE_REGISTRIES=\(host)")
        case .untrustedCertificate:
            self.init(
                "cannot verify the certificate of \(host): it is self-signed, expired, or from an authority that this "
                    + "node does not trust",
                hint:
                    "put the authority's certificate (or the self-signed one) into /etc/berth/certs.d/\(host)/ca.crt; "
                    + "to disable verification, add `insecure-registry = \(host)` to berth.conf")
        case .certificateName:
            self.init(
                "cannot verify the certificate of \(host): it is for another name",
                hint: "use a name that is in the certificate; through a proxy, an IP address cannot be verified")
        case .tls(let text):
            self.init(
                "cannot establish a TLS connection to \(host): \(text)",
                hint: "put the authority's certificate into /etc/berth/certs.d/\(host)/ca.crt; for a registry without "
                    + "TLS in your own network, add `insecure-registry = \(host)` to berth.conf")
        case .digestMismatch(let expected, let found):
            self.init(
                "\(host) sent content that does not match the digest of \(subject)",
                details: ["expected \(expected)", "received \(found)"],
                hint: "nothing was stored; if it fails again, the registry or a proxy in front of it is faulty or "
                    + "malicious")
        case .sizeMismatch(let expected, let found):
            self.init(
                "\(host) sent \(found) bytes for \(subject), which has \(expected)",
                hint: "nothing was stored; the registry or a proxy in front of it is faulty or malicious")
        case .truncated(let received, let expected):
            self.init(
                "the connection to \(host) broke repeatedly: \(received) of \(expected) bytes of \(subject) arrived",
                hint: "try again; if it breaks at the same position, check proxies and firewalls")
        case .tooLarge(let limit):
            self.init(
                "cannot pull \(Self.thing(subject)): \(host) sent more than \(limit) bytes for a document",
                hint: "manifests and configurations are small: check that the name is that of a container image")
        case .unsupportedMediaType(let type):
            self.init(
                "\(subject) is not a container image: its type is \(type.rawValue.isEmpty ? "(none)" : type.rawValue)",
                hint: "registries also contain charts, signatures and models; check the name")
        case .schema1:
            self.init(
                "\(subject) uses Docker's manifest schema 1 of before 2017, which lacks digests of the content",
                hint: "convert it once: skopeo copy --format v2s2 docker://\(subject) docker://NEW-NAME")
        case .mediaTypeMismatch(let header, let body):
            self.init(
                "\(host) returned two media types for \(subject): \(header) in the header, \(body) in the document",
                hint: "clients could interpret it differently, so Berth refuses it; push the image again")
        case .malformed(let document, let detail):
            self.init(
                "the \(document.rawValue) of \(subject) from \(host) cannot be read"
                    + (detail.isEmpty ? "" : ": \(detail)"),
                hint: [.manifest, .index, .config].contains(document)
                    ? "the image must be built and pushed again, because this document has the right digest" : nil)
        case .tooManyEntries(let limit, let wanted):
            self.init(
                "cannot find an image for \(wanted) in the index of \(subject): its entries name no platform, and none "
                    + "of the "
                    + "first \(limit) is for it",
                hint: "specify the image by the digest of its manifest: REPOSITORY@sha256:…")
        case .noMatchingPlatform(let wanted, let offered):
            self.init(
                "\(subject) is not made for \(wanted)",
                details: offered.isEmpty ? [] : ["it is for " + offered.map(\.description).joined(separator: ", ")],
                hint: "choose one with --platform, or another tag")
        case .unexpectedStatus(let status, let message):
            self.init(
                "cannot get \(Self.thing(subject)): \(host) answered \(status)" + Self.quoted(message),
                hint: status >= 500 ? "the registry failed: try again, or ask its owner" : nil)
        case .refusedRedirect(let fault, let target):
            self.init(
                "\(host) redirects \(subject) to \(target), which \(Self.sentence(fault))",
                hint: "the registry, or a proxy in front of it, is misconfigured or malicious: ask its owner")
        case .refusedRealm(let fault, let realm):
            self.init(
                "\(host) requests credentials for \(realm), which \(Self.sentence(fault))",
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

    /// The subject for display. For the scope of a token, this is the repository.
    private static func thing(_ subject: String) -> String {
        let parts = subject.utf8.split(separator: UInt8(ascii: ":"))
        guard parts.count == 3, parts[0].elementsEqual("repository".utf8) else { return subject }
        return String(decoding: parts[1], as: UTF8.self)
    }

    /// Explains why Docker Hub was queried for a name whose first component may have been meant as a registry.
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
        case .helper(let program, let file)?: ["credentials from \(program), configured in \(file)"]
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
        case .nameNotFound: "its name cannot be resolved"
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
            "check the spelling; if compute nodes lack DNS or Internet access, pull on a login node into a shared "
                + "store, or set https_proxy"
        case .refused: "check that the registry is running, and that the port in \(host) is right"
        case .timedOut, .system:
            "compute nodes often lack Internet access: pull on a login node into a shared store, or set https_proxy"
        case .closed, .other: nil
        }
    }

    private static func sentence(_ fault: RegistryError.RedirectFault) -> String {
        switch fault {
        case .tooMany: "is one redirect too many"
        case .noLocation: "has no location"
        case .notHTTP: "is not an HTTP URL"
        case .plaintext: "does not use TLS"
        case .localAddress: "is an address of this machine or of its network's services"
        }
    }

    private static func sentence(_ fault: RegistryError.RealmFault) -> String {
        switch fault {
        case .notHTTP: "is not an HTTP URL"
        case .plaintext: "does not use TLS"
        case .localAddress: "is an address of this machine or of a private network, and not the registry's own"
        case .redirected: "redirects elsewhere"
        }
    }
}
