internal import ArgumentParser
internal import Diagnostics
internal import FoundationEssentials
internal import LinuxKernel
internal import SiteConfig
internal import Store

/// `berth containers`
struct ContainersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "containers",
        abstract: "List and remove named containers on this node.",
        discussion: """
            Named containers are those of srun --container-name. They belong to one user and one node. Without a \
            subcommand, lists them.

            Examples:
              berth containers
              berth containers rm tools
              srun --ntasks-per-node=1 berth containers prune --all
            """,
        subcommands: [List.self, Remove.self, Prune.self], defaultSubcommand: List.self)

    /// What a user calls a container: its name, and the job that it belongs to with container_scope=job.
    struct Name: Equatable {
        /// Of its directory.
        let directory: String
        let name: String
        let job: String?

        init(directory: String) {
            self.directory = directory
            let parts = directory.split(separator: "-", maxSplits: 2, omittingEmptySubsequences: false)
            if parts.count == 3, parts[0] == "job", !parts[1].isEmpty, parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
                (job, name) = (String(parts[1]), String(parts[2]))
            } else {
                (job, name) = (nil, directory)
            }
        }

        /// NAME, the directory, and as Enroot lists the containers of Pyxis: pyxis_NAME and pyxis_JOB_NAME.
        func answers(to text: String) -> Bool {
            if text == directory || text == name { return true }
            return text == "pyxis_" + (job.map { $0 + "_" } ?? "") + name
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List named containers.", usage: "berth containers [ls] [OPTIONS]",
            discussion: "With --json, sizes are in bytes and times in seconds since 1970.", aliases: ["list"])

        @Flag(help: "Print JSON.")
        var json = false

        @Flag(name: .shortAndLong, help: "Print names only.")
        var quiet = false

        @OptionGroup var storeOptions: StoreOptions

        func run() throws {
            let settings = try Settings()
            let containers = try ContainersCommand.containers(settings, storeOptions.store)?.all ?? []
            if json {
                Printed.text(try JSONText.of(containers.map(Row.init)))
            } else if quiet {
                for container in containers { Printed.line(container.name) }
            } else {
                for line in Self.table(containers, now: Clock.now.seconds) { Printed.line(line) }
            }
        }

        static func table(_ containers: [ContainerInfo], now: Int64) -> [String] {
            var rows = [["NAME", "JOB", "STATE", "SIZE", "USED", "IMAGE"]]
            for container in containers {
                let name = Name(directory: container.name)
                rows.append([
                    name.name, name.job ?? "-", state(container), Quantity.bytes(Int64(clamping: container.bytes)),
                    age(max(0, now - container.lastUse)), container.image.isEmpty ? "-" : container.image,
                ])
            }
            return TextTable.lines(rows)
        }

        static func state(_ container: ContainerInfo) -> String {
            container.isDamaged ? "damaged" : container.isRunning ? "in use" : "idle"
        }

        private static func age(_ seconds: Int64) -> String {
            switch seconds {
            case ..<120: "\(seconds)s ago"
            case ..<7200: "\(seconds / 60)m ago"
            case ..<172_800: "\(seconds / 3600)h ago"
            default: "\(seconds / 86_400)d ago"
            }
        }

        struct Row: Encodable {
            let name, directory, image, digest, state, path: String
            let job: String?
            let bytes: UInt64
            let created, lastUse: Int64

            init(_ container: ContainerInfo) {
                let name = Name(directory: container.name)
                (self.name, directory, job) = (name.name, container.name, name.job)
                (image, digest, state) = (container.image, container.digest, List.state(container))
                (bytes, created, lastUse, path) = (
                    container.bytes, container.created, container.lastUse, container.path
                )
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove named containers and their files.",
            usage: "berth containers rm [OPTIONS] NAME...",
            discussion: "A container that a job uses is not removed.", aliases: ["remove"])

        @Argument(
            help: "The names, as in --container-name. Those of Pyxis, pyxis_NAME and pyxis_JOB_NAME, are accepted.",
            completion: .shellCommand("berth containers ls --quiet 2>/dev/null"))
        var names: [String]

        @Flag(name: .shortAndLong, help: "Suppress the names of removed containers.")
        var quiet = false

        @OptionGroup var storeOptions: StoreOptions

        func run() throws {
            let settings = try Settings()
            let path = try settings.storePath(storeOptions.store)
            var failures = Failures()
            for name in names { try failures.reporting { try remove(name, settings, path) } }
            try failures.end()
        }

        private func remove(_ name: String, _ settings: Settings, _ path: String) throws {
            // The names alone: what is wrong with another container, and its size, do not matter here.
            guard let store = try settings.existingStore(storeOptions.store),
                let container = try Self.choose(
                    name, reporting({ Report($0, store: path) }) { () throws(StoreError) in try store.containerNames() }
                )
            else {
                throw Failure(Self.absent(name, path))
            }
            let outcome = try reporting({ Report($0, store: path) }) { () throws(StoreError) in
                try store.removeContainer(container)
            }
            switch outcome {
            case .removed: if !quiet { Printed.line(container) }
            case .absent: throw Failure(Self.absent(name, path))
            case .inUse:
                let lease = try? store.container(container)?.lease  // damaged: its users are not known
                throw Failure(ContainersCommand.inUse(container, lease))
            }
        }

        private static func absent(_ name: String, _ path: String) -> Report {
            Report(
                "no container named \(name) is in the store \(path) on this node",
                hint: "list them with `berth containers ls`")
        }

        private static func choose(_ text: String, _ all: [String]) throws -> String? {
            if all.contains(text) { return text }
            let matching = all.filter { Name(directory: $0).answers(to: text) }
            if matching.count > 1 {
                throw Failure(
                    Report(
                        "the name \(text) stands for several containers", details: matching,
                        hint: "write one of these names"))
            }
            return matching.first
        }
    }

    struct Prune: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "prune", abstract: "Remove named containers that are not in use.",
            usage: "berth containers prune [OPTIONS]",
            discussion: """
                Removes containers of jobs (container_scope=job) that were not used for a day. With --all, all that are \
                not in use, including damaged ones.
                """)

        @Flag(name: .shortAndLong, help: "Remove all containers that are not in use.")
        var all = false

        @Option(help: ArgumentHelp("Only containers not used for this long: until=720h.", valueName: "until=time"))
        var filter: [String] = []

        @Flag(help: "Print what would be removed and remove nothing.")
        var dryRun = false

        @OptionGroup var storeOptions: StoreOptions

        func run() throws {
            let settings = try Settings()
            var age: Int64?
            for text in filter {
                guard text.hasPrefix("until="), let seconds = SiteConfiguration.seconds(String(text.dropFirst(6)))
                else {
                    throw Failure(
                        Report(
                            "--filter \(text) is not known",
                            hint: "until=TIME, with s, m, h, d or w: --filter until=720h"))
                }
                age = seconds
            }
            guard let (store, containers) = try ContainersCommand.containers(settings, storeOptions.store) else {
                Printed.line("nothing to remove")
                return
            }
            var (removed, inUse, bytes): (Int, Int, UInt64) = (0, 0, 0)
            var failures = Failures()
            for container in containers {
                let unused = Clock.now.seconds - container.lastUse
                let isOfJob = Name(directory: container.name).job != nil
                guard all || (isOfJob && unused > 86_400 && !container.isDamaged) else { continue }
                if let age, unused < age { continue }
                let dryRun = dryRun
                let outcome = try failures.reporting {
                    try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in
                        try store.removeContainer(container.name, dryRun: dryRun)
                    }
                }
                switch outcome {
                case .removed:
                    removed += 1
                    bytes += container.bytes
                    Printed.line(container.name)
                case .inUse: inUse += 1
                case .absent, nil: break
                }
            }
            let size = Quantity.bytes(Int64(clamping: bytes))
            Printed.line("\(dryRun ? "would remove" : "removed") \(Quantity.count(removed, "container")), \(size)")
            if inUse > 0 {
                Printed.line("\(Quantity.count(inUse, "container")) in use \(inUse == 1 ? "was" : "were") kept")
            }
            try failures.end()
        }
    }

    private static func containers(
        _ settings: Settings, _ option: String?
    ) throws -> (store: ImageStore, all: [ContainerInfo])? {
        guard let store = try settings.existingStore(option) else { return nil }
        let all = try reporting({ Report($0, store: store.path) }) { () throws(StoreError) in try store.containers() }
        return (store, all)
    }

    private static func inUse(_ container: String, _ lease: DescriptorBox?) -> Report {
        let holders = lease.map { FileHolder.all(of: $0.descriptor) } ?? []
        let jobs = Set(holders.compactMap(\.job)).sorted()
        let processes = holders.prefix(5).map {
            "process \($0.processID) (\($0.command))" + ($0.job.map { ", job \($0)" } ?? "")
        }
        return Report(
            "cannot remove the container \(container): it is in use"
                + (jobs.isEmpty ? "" : " by job " + jobs.joined(separator: ", ")),
            details: processes,
            hint: jobs.first.map { "wait for the job to end, or end it: scancel \($0)" }
                ?? "wait for its processes to end, or end them")
    }
}
