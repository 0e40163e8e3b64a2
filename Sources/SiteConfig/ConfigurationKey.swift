internal import LinuxKernel

/// A setting of `berth.conf`. `berth config` prints it, and docs/reference/berth.conf is generated from it.
package struct ConfigurationKey: Sendable {
    package enum Group: String, CaseIterable, Sendable {
        case containers = "Containers"
        case images = "Images"
        case devices = "Devices"
    }

    /// The effect of another line with the same name.
    package enum Repetition: Sendable {
        case replaces
        case adds
        /// For lines such as `NAME=VALUE`: the last line for each NAME applies.
        case replacesSameName
    }

    package let name: String
    package let group: Group
    package let repetition: Repetition
    package let meaning: String
    package let example: String
    /// The default.
    package let standard: String

    private init(
        _ name: String, _ group: Group, _ repetition: Repetition, _ meaning: String, example: String, standard: String
    ) {
        self.name = name
        self.group = group
        self.repetition = repetition
        self.meaning = meaning
        self.example = example
        self.standard = standard
    }

    package static let all: [ConfigurationKey] = [
        ConfigurationKey(
            "mount", .containers, .adds,
            "A mount for every container: SOURCE TARGET [none|bind|tmpfs [OPTIONS]]. %u, %U, %h and the job's "
                + "variables "
                + "may be in it. Repeatable.",
            example: "/scratch/%u /scratch none nofail", standard: "none"),
        ConfigurationKey(
            "home", .containers, .replaces, "Mount the user's home directory. --home and --no-home win.",
            example: "yes", standard: "no"),
        ConfigurationKey(
            "root", .containers, .replaces, "Ordinary users are uid 0 inside, as with --root.", example: "yes",
            standard: "no"),
        ConfigurationKey(
            "seccomp", .containers, .replaces,
            "The filter of system calls: none, default, or the absolute path of a profile. --seccomp wins.",
            example: "default", standard: "none"),
        ConfigurationKey(
            "scratch", .containers, .replaces,
            "Where a container's writes go: memory, or a directory on a local disk, of mode 1777.",
            example: "/local/berth", standard: "memory"),
        ConfigurationKey(
            "scratch-limit", .containers, .replaces, "Size of a scratch in memory: bytes, with k, m, g or t.",
            example: "8g", standard: "half of the job's memory"),
        ConfigurationKey(
            "ulimit", .containers, .replacesSameName,
            "A default for a limit: NAME=SOFT[:HARD]. The Slurm plugin raises the hard limit, too. Repeatable.",
            example: "memlock=unlimited", standard: "memlock, stack and nofile as high as the hard limit"),
        ConfigurationKey(
            "require", .containers, .adds, "What must be present, as for --require. Repeatable.", example: "memlock",
            standard: "nothing"),
        ConfigurationKey(
            "enforce", .containers, .replaces,
            "What cgroups limit: devices, memory, cpu, pids=COUNT, or none. seccomp: the profile above always holds. "
                + "Needs the Slurm plugin, or root.",
            example: "devices memory", standard: "devices as root in a task of Slurm, else nothing"),
        ConfigurationKey(
            "allow-device", .containers, .adds,
            "A node that the Slurm plugin leaves to every task in addition to its grant. Repeatable.",
            example: "/dev/fuse", standard: "none"),
        ConfigurationKey(
            "join-wait", .containers, .replaces,
            "Milliseconds for which the first task of a step waits for the other tasks on its node.", example: "5000",
            standard: "1000"),
        ConfigurationKey(
            "profile", .containers, .replaces, "pytorch or none: variables for rendezvous of distributed training.",
            example: "pytorch", standard: "none"),
        ConfigurationKey(
            "record", .containers, .replaces, "yes or no: record each launch for `berth history` and `berth replay`.",
            example: "yes", standard: "no"),
        ConfigurationKey(
            "record-directory", .containers, .replaces,
            "Where records of runs are "
                + "kept.", example: "/cluster/records/%u",
            standard: "~/.local/state/berth/runs"),
        ConfigurationKey(
            "mask", .containers, .adds,
            "Names whose values records leave out; * at the end for any ending. Repeatable.", example: "LICENSE_*",
            standard: "none; those of secrets always"),
        ConfigurationKey(
            "store", .images, .replaces,
            "The image store, which belongs to one user. %u, %U, %h and the job's variables may be in it.",
            example: "/local/%u/berth", standard: "per user"),
        ConfigurationKey(
            "system-store", .images, .replaces,
            "A store that an administrator fills with `berth pull --system`: PATH [owner=UID].",
            example: "/local/berth-system", standard: "none"),
        ConfigurationKey(
            "shared-store", .images, .adds, "A further store to read: PATH [owner=UID]. Repeatable.",
            example: "/cluster/teams/vision/berth owner=5012", standard: "none"),
        ConfigurationKey(
            "blob-cache", .images, .replaces,
            "A directory on shared storage: one node downloads a layer, the others read it.",
            example: "/cluster/cache/berth", standard: "none"),
        ConfigurationKey(
            "registries", .images, .adds,
            "Where images may come from: allow PREFIX... or deny PREFIX.... The longest prefix decides. Repeatable.",
            example: "allow docker.io/library nvcr.io/nvidia registry.example.com", standard: "all"),
        ConfigurationKey(
            "mirror", .images, .adds, "Ask this host first: REGISTRY MIRROR[/PATH]. Repeatable.",
            example: "docker.io mirror.example.com:5000", standard: "none"),
        ConfigurationKey(
            "insecure-registry", .images, .adds,
            "HOST[:PORT] of a registry without TLS, or with an unverifiable certificate. Repeatable.",
            example: "registry.cluster.internal:5000", standard: "none; loopback always"),
        ConfigurationKey(
            "keep-storage", .images, .replaces, "The size to which `berth prune` reduces a store.", example: "200g",
            standard: "no limit"),
        ConfigurationKey(
            "prune-until", .images, .replaces, "`berth prune` removes images that were not used for this long.",
            example: "30d", standard: "never"),
        ConfigurationKey(
            "layer-limit", .images, .replacesSameName,
            "What a layer may demand: NAME=NUMBER. berth.conf(5) lists the names. Repeatable.", example: "entries=20m",
            standard: "generous"),
        ConfigurationKey(
            "cdi-directory", .devices, .adds, "A directory with CDI specifications. Repeatable; replaces the default.",
            example: "/etc/cdi", standard: "/etc/cdi, /var/run/cdi"),
        ConfigurationKey(
            "cdi-hook", .devices, .adds, "A program that CDI specifications may run. Repeatable.",
            example: "/usr/bin/nvidia-cdi-hook", standard: "none"),
        ConfigurationKey(
            "fabric", .devices, .replaces, "The network between nodes: auto, none, ib or efa. --fabric wins.",
            example: "ib", standard: "auto"),
        ConfigurationKey(
            "fabric-mount", .devices, .adds,
            "FABRIC SOURCE [TARGET]: show a directory or file where that fabric is used. Repeatable.",
            example: "efa /opt/amazon/efa", standard: "none"),
        ConfigurationKey(
            "fabric-library", .devices, .adds,
            "FABRIC PATH: show a shared library and add it to the loader's cache. Repeatable.",
            example: "efa /opt/amazon/efa/lib64/libfabric.so.1", standard: "none"),
        ConfigurationKey(
            "fabric-variable", .devices, .adds, "FABRIC NAME=VALUE: a default for a variable. Repeatable.",
            example: "efa FI_PROVIDER=efa", standard: "none"),
    ]
}

extension SiteConfiguration {
    /// The names of all settings.
    package static let names = ConfigurationKey.all.map(\.name)

    /// The lines of a setting that apply, in order.
    package func effective(_ key: ConfigurationKey) -> [Setting] {
        let lines = settings.filter { $0.name == key.name }
        func name(_ setting: Setting) -> String { String(setting.value.prefix { $0 != "=" }) }
        return switch key.repetition {
        case .adds: lines
        case .replaces: sites(key.name).filter { $0 != lines.last } + lines.suffix(1)
        case .replacesSameName:
            lines.indices.filter { index in !lines[(index + 1)...].contains { name($0) == name(lines[index]) } }
                .map { lines[$0] }
        }
    }
}

extension SiteConfiguration {
    /// Where the site's seccomp profile holds in any case: its lines, which another file cannot replace.
    private func sites(_ name: String) -> [Setting] {
        guard let profile = try? mandatorySeccomp() else { return [] }  // a mistake is reported where it is read
        return [profile, enforcementOfSite].compactMap { $0 }.filter { $0.name == name }
    }
}

extension ConfigurationKey {
    /// A file that lists every setting as a comment: docs/reference/berth.conf.
    package static var sample: String {
        var text = """
            # berth.conf - settings of Berth for this node; berth.conf(5) explains them.
            #
            # Every setting is here, as a comment with an example. `berth config check FILE` checks a file,
            # `berth config show` prints what applies. Files in berth.conf.d/ (*.conf) are read after this one.

            """
        for group in Group.allCases {
            text += "\n# \(group.rawValue)\n"
            for key in all where key.group == group {
                text += "\n" + wrapped(key.meaning + " Default: " + key.standard + ".")
                text += "#\(key.name) = \(key.example)\n"
            }
        }
        return text
    }

    private static func wrapped(_ text: String) -> String {
        var lines = ["#"]
        for word in text.split(separator: " ") {
            if lines[lines.count - 1].utf8.count + word.utf8.count > 98 { lines.append("#") }
            lines[lines.count - 1] += " " + word
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
