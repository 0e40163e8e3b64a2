internal import ArgumentParser
internal import Diagnostics
internal import ImageSpec
internal import Layers
internal import LinuxKernel
internal import Store

/// `berth rmi`
struct RemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rmi",
        abstract: "Remove images from the store.",
        usage: "berth rmi [OPTIONS] IMAGE...",
        discussion: """
            Removes the name, and with the last name the image. IMAGE is a name as it was pulled, or a digest as \
            `berth images` lists it.

            Examples:
              berth rmi debian:12
              berth rmi 3b4ae10d52f8
            """)

    @Argument(
        help: "The images: names as they were pulled, or digests.",
        completion: .shellCommand(BashCompletion.images))
    var images: [String]

    @Option(help: ArgumentHelp("Remove the images for another platform.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Flag(
        name: .shortAndLong,
        help: "Also remove the name of an image in use, whose containers go on, and all names of a digest.")
    var force = false

    @Flag(name: .shortAndLong, help: "Do not print what was removed.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let path = try settings.storePath(storeOptions.store)
        let platform = try settings.platform(platform)
        guard let store = try settings.existingStore(storeOptions.store) else {
            throw Failure(.notInStore(toRemove: images[0], path))
        }
        var failures = Failures()
        for name in images {
            try failures.reporting {
                let targets = try Targets(name, settings, platform, store)
                guard !targets.keys.isEmpty else {
                    let files = try reporting({ Report($0, store: path) }) { () throws(StoreError) in
                        try store.unpackedFiles()
                    }
                    let file = try settings.absolute(name)
                    let isUnpacked = files.contains { $0.source == file }
                    throw Failure(.notInStore(toRemove: name, path, isUnpacked: isUnpacked))
                }
                for (digest, keys) in targets.keys {
                    if !force { try refuse(name, digest, keys, targets, store) }
                    try reporting({ Report($0, store: path) }) { () throws(StoreError) in
                        try store.removeNames(keys, of: digest)
                    }
                }
                if !quiet { Printed.line(targets.shown) }
            }
        }
        _ = try reporting({ Report($0, store: path) }) { () throws(StoreError) in
            try store.collect(CollectionRules(), removing: TreeRemoval.remove)
        }
        try failures.end()
    }

    /// As Docker does it: an image that runs keeps its last name, and one that was named by its digest loses no more than one.
    private func refuse(
        _ text: String, _ digest: Digest, _ keys: [ImageKey], _ targets: Targets, _ store: ImageStore
    ) throws {
        let (names, lease) = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
            (try store.names(of: digest).filter { !$0.isPinned }, try store.useLease(of: digest))
        }
        if targets.isByDigest, names.count > 1 {
            throw Failure(
                Report(
                    "\(text) has \(names.count) names", details: names.map { $0.display(pulledAs: "") }.sorted(),
                    hint: "remove each by its name, or all of them with --force"))
        }
        guard names.allSatisfy(keys.contains), let lease else { return }
        let holders = FileHolder.all(of: lease.descriptor).prefix(10).map { holder in
            "process \(holder.processID) of uid \(holder.userID) (\(holder.command))"
                + (holder.job.map { ", job \($0)" } ?? "")
        }
        throw Failure(
            Report(
                "cannot remove \(text): a container runs it", details: Array(holders),
                hint: "end it first; with --force the name goes at once, the container goes on, and the files go with the first "
                    + "`berth prune` after it"))
    }
}

/// The names that an argument of `berth rmi` stands for, by image.
private struct Targets {
    private(set) var keys: [Digest: [ImageKey]] = [:]
    let isByDigest: Bool
    /// What to print when they are gone.
    let shown: String

    init(_ text: String, _ settings: Settings, _ platform: Platform, _ store: ImageStore) throws {
        let prefix = Self.digestPrefix(text)
        let isName = prefix == nil || !text.contains(":")
        if isName {
            let (found, shown) = try Self.names(text, settings, platform, store)
            if !found.isEmpty || prefix == nil {
                (keys, isByDigest, self.shown) = (found, false, shown)
                return
            }
        }
        let digests = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
            try store.digests(beginningWith: prefix ?? "")
        }
        guard digests.count < 2 else {
            throw Failure(
                Report(
                    "\(text) is the beginning of \(digests.count) digests", details: digests.map(\.description).sorted(),
                    hint: "write more of it"))
        }
        (isByDigest, shown) = (true, digests.first?.description ?? text)
        for digest in digests {
            keys[digest] = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
                try store.names(of: digest)
            }
        }
    }

    /// `sha256:…` or twelve digits or more, as `berth images` prints them.
    private static func digestPrefix(_ text: String) -> String? {
        let hex = text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text
        guard (12...64).contains(hex.utf8.count),
            hex.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return nil }
        return hex
    }

    private static func names(
        _ text: String, _ settings: Settings, _ platform: Platform, _ store: ImageStore
    ) throws -> (keys: [Digest: [ImageKey]], shown: String) {
        func local(_ matches: (ImageSource) -> Bool) throws -> [Digest: [ImageKey]] {
            let found = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
                try store.localNames { name in
                    guard let source = try? ImageSource(parsing: name),  // of an older version
                        let named = try? settings.absolute(source)  // likewise: names are absolute
                    else { return false }
                    return matches(named)
                }
            }
            return Dictionary(grouping: found.filter { $0.key.isFor(platform) }, by: \.digest)
                .mapValues { $0.map(\.key) }
        }
        // As `berth run ./image` takes it: what is there says what it is, and it may be gone.
        if text.hasPrefix("/") || text.hasPrefix(".") {
            let path = try settings.absolute(text)
            return (try local { $0.path == path }, path)
        }
        let source = try settings.source(text)
        guard case .docker = source else { return (try local { $0 == source }, source.description) }
        let found = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
            let key = try ImageKey(source, platform: platform)
            return try store.digest(of: key).map { [$0: [key]] } ?? [:]
        }
        return (found, PullCommand.displayName(source))
    }
}
