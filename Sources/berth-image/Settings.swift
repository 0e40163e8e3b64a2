internal import ArgumentParser
internal import Diagnostics
internal import Distribution
internal import FoundationEssentials
internal import ImageDiagnostics
internal import ImagePull
internal import ImageSpec
internal import Layers
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// What the site, the user and the environment say, read once.
struct Settings {
    let environment: [String: String]
    let configuration: SiteConfiguration
    /// In the caller's line of passwd(5).
    let account: [String]?
    var accountHome: String? { account?.homeDirectory }
    /// From `SiteConfiguration.homes`.
    let homes: [String]

    init() throws(Failure) {
        let environment = ProcessInfo.processInfo.environment
        self.environment = environment
        let account = NameService.users.entry(id: Identity.outerUserID)
        let homes = SiteConfiguration.homes(environment: { environment[$0] }, accountHome: account?.homeDirectory)
        (self.account, self.homes) = (account, homes)
        configuration = try reporting({ Report($0) }) { () throws(ConfigurationError) in
            try SiteConfiguration.read(environment: { environment[$0] }, homes: homes, account: account)
        }
    }

    func storePath(_ option: String?) throws(Failure) -> String {
        try absolute(
            configuration.storePath(
                option: option, environment: { environment[$0] }, userID: Identity.userID, isRoot: Identity.isRoot,
                accountHome: accountHome))
    }

    /// An existing store to look into; nil where nothing was ever pulled.
    func existingStore(_ option: String?) throws(Failure) -> ImageStore? {
        let path = try storePath(option)
        let place = sharedPlaces.first { $0.path == path }
        return try reporting({ Report($0, store: path) }) { () throws(StoreError) in
            try ImageStore.open(existing: path, owner: place?.owner, isShared: place != nil)
        }
    }

    /// Those of the site, in the order in which they are looked into.
    var sharedPlaces: [StorePlace] {
        configuration.sharedStores.map { StorePlace(path: $0.path, owner: $0.owner) }
    }

    /// Where a pull puts what none of them has: the caller's own store, or the site's.
    func stores(_ option: String?, system: Bool) throws(Failure) -> ImageStores {
        var path = try storePath(option)
        if system {
            guard option == nil else {
                throw Failure(Report("--system and --store name two places", hint: "leave one of them out"))
            }
            guard let place = configuration.systemStore else {
                throw Failure(
                    Report(
                        "no system store is named",
                        hint: "write system-store = /a/directory/all/nodes/or/users/read into /etc/berth/berth.conf"))
            }
            path = place.path
            try Self.checkOwner(ofSystemStore: path)
        }
        // All users read the system store, and the caller uses their own, whatever the caller's umask says.
        let mask = Identity.setFileCreationMask(0o022)
        if !system { _ = Identity.setFileCreationMask(mask & 0o077) }
        let (places, chosen) = (sharedPlaces, path)
        let owner = places.first { $0.path == chosen }?.owner
        return try reporting({ Report($0, store: chosen) }) { () throws(StoreError) in
            let isShared = system || places.contains { $0.path == chosen }
            let own = try ImageStore.open(creating: chosen, owner: owner, isShared: isShared)
            // What is shared must not lean on what its readers may not reach.
            return system ? ImageStores(own: own) : try ImageStores(own: own, shared: places)
        }
    }

    static func checkOwner(ofSystemStore path: String) throws(Failure) {
        let status = try? FileStatus(of: path)  // absent: whether it can be made will show
        guard !Identity.isRoot, let owner = status?.userID, owner != Identity.userID else { return }
        throw Failure(
            Report(
                "cannot write to the system store \(path): it belongs to uid \(owner)",
                hint: "run this as its owner, or use your own store without --system"))
    }

    /// All stores that are there, the caller's own first.
    func existingStores(_ option: String?) throws(Failure) -> [ImageStore] {
        let own = try storePath(option)
        let places = sharedPlaces
        return try reporting({ Report($0) }) { () throws(StoreError) in
            let first = places.first { $0.path == own } ?? StorePlace(path: own)
            var stores: [ImageStore] = []
            for place in [first] + places.filter({ $0.path != own }) {
                let isShared = places.contains { $0.path == place.path }
                if let store = try ImageStore.open(existing: place.path, owner: place.owner, isShared: isShared) {
                    stores.append(store)
                }
            }
            return stores
        }
    }

    /// The cache that the site has set up. One that can not be used is said, and done without.
    func blobCache(_ option: String?, _ warn: (Report) -> Void) -> BlobCache? {
        guard let path = option ?? configuration.blobCache else { return nil }
        do throws(SystemError) { return try BlobCache(path) } catch {
            warn(Report("the blob cache \(path) is not used: \(error.sentence)"))
            return nil
        }
    }

    var unpackLimits: UnpackLimits {
        var limits = UnpackLimits()
        for limit in configuration.layerLimits {
            // The names are those of the configuration; a test holds the two lists equal.
            if let kind = UnpackLimits.Kind(rawValue: limit.name) { limits[kind] = limit.value }
        }
        return limits
    }

    func source(_ text: String) throws(Failure) -> ImageSource {
        try absolute(try reporting({ Report($0) }) { () throws(ImageSourceError) in try ImageSource(parsing: text) })
    }

    func absolute(_ source: ImageSource) throws(Failure) -> ImageSource {
        switch source {
        case .docker: source
        case .ociLayout(let path, let tag): .ociLayout(path: try absolute(path), tag: tag)
        case .ociArchive(let path, let tag): .ociArchive(path: try absolute(path), tag: tag)
        case .dockerArchive(let path, let tag): .dockerArchive(path: try absolute(path), tag: tag)
        case .directory(let path): .directory(path: try absolute(path))
        }
    }

    func platform(_ text: String?) throws(Failure) -> Platform {
        guard let text else { return .host }
        return try reporting({ Report($0) }) { () throws(PlatformError) in try Platform(parsing: text) }
    }

    func absolute(_ path: String) throws(Failure) -> String {
        if path.hasPrefix("/") { return absolutePath(path, from: "/") }
        // $PWD keeps the links by which the user came here. It is believed only where it is true, as by the launcher: a
        // program that changes directory without a shell leaves it behind.
        if let named = environment["PWD"], named.hasPrefix("/"),
            let there = try? FileStatus(of: named), let here = try? FileStatus(of: "."),  // else it is not it
            there.device == here.device, there.inode == here.inode
        {
            return absolutePath(path, from: named)
        }
        guard let directory = Processes.workingDirectory, directory.hasPrefix("/") else {
            throw Failure(Report(OptionError.noWorkingDirectory(path)))
        }
        return absolutePath(path, from: directory)
    }

    /// What `registries` of berth.conf permits.
    func permit(_ reference: Reference) throws(Failure) {
        try reporting({ Report($0) }) { () throws(RegistryPolicy.Refusal) in
            try configuration.registries.check(registry: reference.registry, repository: reference.repository)
        }
    }

    /// Where an image is asked for before its registry is. A user's mirror must itself be permitted: it decides what a
    /// tag means.
    func mirrors(of source: ImageSource) throws(Failure) -> [Reference] {
        guard case .docker(let reference) = source else { return [] }
        try permit(reference)
        var mirrors: [Reference] = []
        for mirror in configuration.mirrors where mirror.registry == reference.registry {
            let mirrored: Reference
            do throws(ReferenceError) { mirrored = try reference.mirrored(at: mirror.host, path: mirror.path) } catch {
                throw Failure(
                    Report(
                        "mirror = \(mirror.registry) \(mirror.host)/\(mirror.path) names no place of a registry",
                        hint: "write mirror = REGISTRY HOST[:PORT][/PATH] into berth.conf"))
            }
            if !mirror.isSites { try permit(mirrored) }
            mirrors.append(mirrored)
        }
        return mirrors
    }

    /// Not with an error's hint: what went wrong there may be nothing to mend.
    static func passedOver(_ error: RegistryError) -> String {
        switch error.reason {
        case .manifestUnknown, .nameUnknown:
            "mirror \(error.host) has no image \(error.subject): trying the next source"
        default: "mirror \(error.host): \(Report(error).summary): trying the next source"
        }
    }

    func registryClient() -> RegistryClient {
        var registries = RegistryConfiguration(environment: environment)
        registries.userAgent = "berth/\(Version.text)"
        let fromEnvironment = environment["BERTH_INSECURE_REGISTRIES"]?.split(separator: ",").map(String.init) ?? []
        registries.insecureRegistries = Set(configuration.insecureRegistries + fromEnvironment)
        var places = homes.map { $0 + "/.config" }
        if let base = environment["XDG_CONFIG_HOME"] { places = [base] + places.dropFirst() }
        let directories = places.map { "\($0)/containers/certs.d" }.filter { Self.isTrusted($0, "certificates") }
        registries.certificateDirectories.insert(contentsOf: directories, at: 0)
        let commands = ["yes", "1", "true"].contains(environment["BERTH_CREDENTIAL_COMMANDS"] ?? "")
        return RegistryClient(
            configuration: registries,
            credentials: CredentialFiles(
                environment: environment, accountHome: accountHome, allowsCommands: commands,
                isUsed: { Self.isTrusted($0, "credentials") }))
    }

    /// Root may run with another user's `HOME`, as with `sudo`: the files there would start credential helpers as root, and
    /// choose which certificates root trusts. Root leaves out files that `Trust` refuses; absent files stay out silently.
    private static func isTrusted(_ path: String, _ kind: String) -> Bool {
        guard Identity.isRoot else { return true }
        do throws(SystemError) {
            _ = try FileStatus(of: path)
            guard let fault = try Trust(isOwnFile: true).fault(on: path) else { return true }
            Output.note(
                Report(
                    refusing: kind, path, fault,
                    hint: "berth goes on without this file; set HOME to your own home directory (with sudo: `sudo -H`)"
                ).text)
        } catch {
            return false  // absent, or in a directory that this node's root cannot enter
        }
        return false
    }
}

/// `--store`, which every verb takes.
struct StoreOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The image store; see berth.conf.", valueName: "directory"), completion: .directory)
    var store: String?
}
