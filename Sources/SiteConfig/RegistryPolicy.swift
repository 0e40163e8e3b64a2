internal import LinuxKernel

/// `registries = allow PREFIX…` and `registries = deny PREFIX…`: which repositories images may come from.
///
/// In each file the longest matching prefix decides, and `deny` wins between equal ones. If none matches, a file with
/// `allow` lines denies the image. Every file must permit the image, so a user can narrow what the site permits but not
/// widen it.
package struct RegistryPolicy: Equatable, Sendable {
    package enum Level: Int, Sendable {
        /// `/etc/berth/berth.conf`, which applies even if `BERTH_CONFIG` names another file.
        case site
        case named
        case user
    }

    package struct Rule: Equatable, Sendable {
        package let isAllowed: Bool
        /// `HOST[:PORT][/PATH]`, canonical.
        package let prefix: String
        package let level: Level
        /// The file and line.
        package let place: String
    }

    package struct Refusal: Error, Equatable, Sendable {
        /// `REGISTRY/REPOSITORY`.
        package let name: String
        /// The matching `deny` rule, or else all `allow` rules, none of which matches.
        package let rules: [Rule]
    }

    package var rules: [Rule] = []

    package init() {}

    static let form =
        "allow PREFIX... or deny PREFIX..., each PREFIX being HOST[:PORT][/PATH], such as docker.io/library"

    /// - Parameter repository: The full name, such as `library/debian`.
    package func check(registry: String, repository: String) throws(Refusal) {
        if rules.isEmpty { return }
        let name = registry + "/" + repository
        for level in [Level.site, .named, .user] {
            let own = rules.filter { $0.level == level }
            let fitting = own.filter { $0.covers(name) }
            let longest = fitting.map(\.prefix.utf8.count).max()
            let deciding = fitting.filter { $0.prefix.utf8.count == longest }
            let denied = deciding.filter { !$0.isAllowed }
            if !denied.isEmpty { throw Refusal(name: name, rules: denied) }
            let allowed = own.filter(\.isAllowed)
            if deciding.isEmpty, !allowed.isEmpty { throw Refusal(name: name, rules: allowed) }
        }
    }
}

extension RegistryPolicy.Rule {
    /// Compares whole components: `nvcr.io/nvidia` does not cover `nvcr.io/nvidia-fake`.
    func covers(_ name: String) -> Bool {
        name.hasPrefix(prefix) && [nil, UInt8(ascii: "/")].contains(name.utf8.dropFirst(prefix.utf8.count).first)
    }

    static func parse(_ value: String, _ level: RegistryPolicy.Level, _ place: String) -> [Self]? {
        let words = SiteConfiguration.words(value)
        guard let verb = words.first, verb == "allow" || verb == "deny", words.count > 1 else { return nil }
        let prefixes = words.dropFirst().compactMap(canonical)
        guard prefixes.count == words.count - 1 else { return nil }
        return prefixes.map { Self(isAllowed: verb == "allow", prefix: $0, level: level, place: place) }
    }

    /// Normalizes like `Reference`. The first component must be a registry: `library/debian` does not imply Docker Hub
    /// here.
    private static func canonical(_ word: String) -> String? {
        let parts = word.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let first = parts.first, SiteConfiguration.isRegistry(first),
            first == "localhost" || first.contains(".") || first.contains(":"),
            parts.dropFirst().allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(isOfRepository) })
        else { return nil }
        let host = first.lowercased()
        let hub = ["index.docker.io", "registry-1.docker.io"].contains(host)
        return ([hub ? "docker.io" : host] + parts.dropFirst()).joined(separator: "/")
    }

    private static func isOfRepository(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte)
            || [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_")].contains(byte)
    }
}
