/// The name of an image in a registry.
///
/// The grammar is the distribution-spec's. Short names are completed as in Docker.
/// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
package struct Reference: Hashable, Sendable {
    /// The registry of Docker's short names, in its canonical spelling.
    package static let dockerHub = "docker.io"
    static let dockerHubAliases = ["docker.io", "index.docker.io", "registry-1.docker.io"]

    /// Canonical `HOST[:PORT]`, lowercase; an IPv6 address is in brackets.
    package let registry: String
    /// The distribution-spec's `<name>`, without the registry.
    package let repository: String
    /// `latest` by default; `nil` if a digest is given without a tag.
    package let tag: String?
    package let digest: Digest?
    /// The user whose credentials are used, from Enroot's `USER@REGISTRY#REPOSITORY`.
    package let user: String?

    /// For values known to be valid. Use `init(parsing:)` for input.
    init(registry: String, repository: String, tag: String?, digest: Digest?, user: String? = nil) {
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.user = user
    }

    /// The same repository with this digest. The tag stays for display.
    package func pinned(to digest: Digest) -> Reference {
        Reference(registry: registry, repository: repository, tag: tag, digest: digest, user: user)
    }

    /// The same image at a mirror, below a path if one is given. Drops the user, whose credentials are for the registry
    /// and not for its mirror.
    package func mirrored(at host: String, path: String) throws(ReferenceError) -> Reference {
        var text = "\(host)#" + (path.isEmpty || path.utf8.last == UInt8(ascii: "/") ? path : path + "/") + repository
        if let tag { text += ":\(tag)" }
        if let digest { text += "@\(digest)" }
        return try Reference(parsing: text)
    }

    /// `REGISTRY/REPOSITORY` in canonical form. A registry without a dot, port or `localhost` is separated by Enroot's
    /// `#`, because with a slash it would name a Docker Hub namespace.
    package var name: String {
        let separator = Self.looksLikeRegistry(Array(registry.utf8)[...]) ? "/" : "#"
        return "\(registry)\(separator)\(repository)"
    }

    /// The digest, or else the tag, for requests to the registry.
    package var selector: String { digest?.description ?? tag ?? "latest" }

    /// The host and port of the registry's API, which differs from the name for Docker Hub.
    package var endpoint: String { registry == Self.dockerHub ? "registry-1.docker.io" : registry }
}

extension Reference: CustomStringConvertible {
    /// Canonical and complete. Parses to an equal value except for `user`.
    package var description: String {
        var text = name
        if let tag { text += ":\(tag)" }
        if let digest { text += "@\(digest)" }
        return text
    }
}

/// Why a text is not an image name: the part, its position and the reason.
package struct ReferenceError: Error, Equatable, Sendable {
    package enum Part: String, Sendable {
        case user, registry, port, repository, tag, digest
    }

    package enum Reason: Equatable, Sendable {
        case empty
        case tooLong(maximum: Int)
        /// Upper case in a repository, which has a hint of its own because it is common.
        case uppercase
        /// A byte outside the part's grammar, or a misplaced or doubled separator.
        case unexpected
        case portOutOfRange
        case notADigest(DigestError)
        /// 64 hexadecimal digits: an image ID of Docker, which registries do not know.
        case imageID
    }

    /// The text as given.
    package let text: String
    package let part: Part
    package let reason: Reason
    /// The offset of the invalid byte in `text`.
    package let position: Int

    package init(text: String, part: Part, reason: Reason, position: Int) {
        self.text = text
        self.part = part
        self.reason = reason
        self.position = position
    }
}
