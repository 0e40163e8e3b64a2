internal import ArgumentParser
internal import Diagnostics
internal import ImageSpec
internal import Layers
internal import Store

/// `berth rmi`
struct RemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rmi",
        abstract: "Remove images from the store.",
        usage: "berth rmi [OPTIONS] IMAGE...",
        discussion: """
            Removes the name, and with the last name the image. Containers that run it continue. The next `berth prune` \
            after they have ended removes the files.

            Examples:
              berth rmi debian:12
            """)

    @Argument(help: "The images, as they were pulled.", completion: .shellCommand("berth images --quiet 2>/dev/null"))
    var images: [String]

    @Option(help: ArgumentHelp("Remove the images for another platform.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Flag(name: .shortAndLong, help: "Also remove images in use; their containers lose their files.")
    var force = false

    @Flag(name: .shortAndLong, help: "Do not print what was removed.")
    var quiet = false

    @OptionGroup var storeOptions: StoreOptions

    func run() throws {
        let settings = try Settings()
        let path = settings.storePath(storeOptions.store)
        let platform = try settings.platform(platform)
        guard let store = try settings.existingStore(storeOptions.store) else {
            throw Failure(.notInStore(images[0], path))
        }
        var rules = CollectionRules()
        var failures = Failures()
        for name in images {
            try failures.reporting {
                let source = try settings.source(name)
                let removed = try reporting({ Report($0, store: path) }) { () throws(StoreError) in
                    let key = try ImageKey(source, platform: platform)
                    if force, let digest = try store.digest(of: key) { rules.ignoredLeases.insert(digest) }
                    return try store.removeName(key)
                }
                guard removed else { throw Failure(.notInStore(name, path)) }
                if !quiet { Printed.line(PullCommand.displayName(source)) }
            }
        }
        _ = try reporting({ Report($0, store: path) }) { () throws(StoreError) in
            try store.collect(rules, removing: TreeRemoval.remove)
        }
        try failures.end()
    }
}
