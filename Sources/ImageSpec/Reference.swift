/// A name of an image in a registry: where it is, and which one of it.
///
/// The grammar is the distribution-spec's; short names are completed as Docker does, so that what people paste works.
/// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
package struct Reference: Hashable, Sendable {
    /// Docker's short names mean this registry, however it is spelled.
    package static let dockerHub = "docker.io"
    static let dockerHubAliases = ["docker.io", "index.docker.io", "registry-1.docker.io"]

    /// Canonical `HOST[:PORT]`, lowercase; an IPv6 address is in brackets.
    package let registry: String
    /// The distribution-spec's `<name>`, without the registry.
    package let repository: String
    /// Nil only where a digest is given without a tag; `latest` where neither is.
    package let tag: String?
    package let digest: Digest?
    /// Whose credentials to use, from Enroot's `USER@REGISTRY#REPOSITORY`.
    package let user: String?

    /// For values known to be valid; text from outside goes through `init(parsing:)`.
    init(registry: String, repository: String, tag: String?, digest: Digest?, user: String? = nil) {
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.user = user
    }

    /// The same repository, held to exactly this content; the tag stays, for people to read.
    package func pinned(to digest: Digest) -> Reference {
        Reference(registry: registry, repository: repository, tag: tag, digest: digest, user: user)
    }

    /// The same image at a mirror of its registry, below a path there where one is given. Whose credentials to use is
    /// said of the registry, not of its mirror.
    package func mirrored(at host: String, path: String) throws(ReferenceError) -> Reference {
        var text = "\(host)#" + (path.isEmpty || path.utf8.last == UInt8(ascii: "/") ? path : path + "/") + repository
        if let tag { text += ":\(tag)" }
        if let digest { text += "@\(digest)" }
        return try Reference(parsing: text)
    }

    /// `REGISTRY/REPOSITORY`, canonical. A registry without dot, port or `localhost` is set off by Enroot's `#`, for
    /// with a slash it would be read as a namespace of Docker Hub's: another image.
    package var name: String {
        let separator = Self.looksLikeRegistry(Array(registry.utf8)[...]) ? "/" : "#"
        return "\(registry)\(separator)\(repository)"
    }

    /// What a registry is asked for: the digest if there is one, for then the tag says nothing more.
    package var selector: String { digest?.description ?? tag ?? "latest" }

    /// Host (and port) that answers for the registry's API; Docker Hub's is not its name.
    package var endpoint: String { registry == Self.dockerHub ? "registry-1.docker.io" : registry }
}

extension Reference: CustomStringConvertible {
    /// Canonical and complete; parses to an equal value, but for `user`.
    package var description: String {
        var text = name
        if let tag { text += ":\(tag)" }
        if let digest { text += "@\(digest)" }
        return text
    }
}

/// Why a text does not name an image: which part, at which byte, and what is wrong with it.
package struct ReferenceError: Error, Equatable, Sendable {
    package enum Part: String, Sendable {
        case user, registry, port, repository, tag, digest
    }

    package enum Reason: Equatable, Sendable {
        case empty
        case tooLong(maximum: Int)
        /// Upper case in a repository: so common that it deserves its own hint.
        case uppercase
        /// A byte outside the part's grammar, or a separator at an end or doubled.
        case unexpected
        case portOutOfRange
        case notADigest(DigestError)
        /// 64 hexadecimal digits: Docker's image ID, which no registry knows.
        case imageID
    }

    /// The whole text as given.
    package let text: String
    package let part: Part
    package let reason: Reason
    /// Offset of the offending byte in `text`.
    package let position: Int

    package init(text: String, part: Part, reason: Reason, position: Int) {
        self.text = text
        self.part = part
        self.reason = reason
        self.position = position
    }
}
