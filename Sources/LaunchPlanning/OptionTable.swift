/// An option of `berth run`, as the lean launcher reads it. `berth-image` declares those of `all` once more for help and
/// completions; a test holds the two equal. The page docs/reference/docker-options.md is generated from `table`.
package struct RunOption: Sendable {
    package enum Argument: Sendable, Equatable {
        case none, one
        /// Behind `=` only: the next word is never its value.
        case optional
    }
    /// Which program's users write it; `berth` where no other program has it.
    package enum Origin: Sendable, Equatable { case berth, docker, apptainer }
    package enum Answer: String, Sendable {
        /// Does what it says, or is so in any case.
        case honoured
        /// Changes nothing; one line says what it means here, unless `-q` is given.
        case accepted
        /// Going on would be unsafe, or not what was asked for.
        case refused
    }

    /// The long name without dashes.
    package let name: String
    package let short: Character?
    package let argument: Argument
    /// May be given more than once, each adding to the others.
    package let repeats: Bool
    package let origin: Origin
    package let answer: Answer
    /// One sentence: what the option does here, or why it does not. Without a capital and without a full stop, as it
    /// follows the option's name in a message.
    package let meaning: String
    /// Of a refused option: what to write instead.
    package let remedy: String

    init(
        _ name: String, short: Character? = nil, takes argument: Argument = .one, repeats: Bool = false,
        from origin: Origin = .berth, answer: Answer = .honoured, meaning: String = "", remedy: String = ""
    ) {
        self.name = name
        self.short = short
        self.argument = argument
        self.repeats = repeats
        self.origin = origin
        self.answer = answer
        self.meaning = meaning
        self.remedy = remedy
    }

    /// Every option that `berth run` knows.
    package static var table: [RunOption] { all + dockersOthers + apptainers }

    /// The option of a long name; other programs' names are looked for last, as few launches have one.
    package static func named(_ name: String) -> RunOption? {
        let name = otherNames.first { $0.name == name }?.means ?? name
        return all.first { $0.name == name } ?? dockersOthers.first { $0.name == name }
            ?? apptainers.first { $0.name == name }
    }

    package static func lettered(_ letter: Character) -> RunOption? {
        all.first { $0.short == letter } ?? dockersOthers.first { $0.short == letter }
            ?? apptainers.first { $0.short == letter }
    }

    /// Further names of Docker's and Apptainer's for options of the table.
    package static let otherNames: [(name: String, means: String)] = [
        ("net", "network"), ("dns-opt", "dns-option"), ("net-alias", "network-alias"), ("cwd", "pwd"),
    ]

    /// The options that help lists: Berth's own, and Docker's that do something here.
    package static let all: [RunOption] = [
        RunOption(
            "volume", short: "v", repeats: true, from: .docker,
            meaning: "mounts a file or directory of the host; a named volume is an error"),
        RunOption(
            "mount", repeats: true, from: .docker,
            meaning: "mounts with `type=bind` or `type=tmpfs`; other types are an error"),
        RunOption("tmpfs", repeats: true, from: .docker, meaning: "mounts a fresh tmpfs"),
        RunOption("here", takes: .none),
        RunOption("file", repeats: true),
        RunOption(
            "env", short: "e", repeats: true, from: .docker,
            meaning: "sets a variable, or passes the host's over the image's"),
        RunOption("env-file", repeats: true, from: .docker, meaning: "sets variables from a file"),
        RunOption("expand-env", repeats: true),
        RunOption("unsetenv", repeats: true),
        RunOption(
            "cleanenv", takes: .none, from: .apptainer, meaning: "keeps the host's variables out, but those of the job"),
        RunOption(
            "workdir", short: "w", from: .docker,
            meaning: "sets the working directory; a directory that is missing is an error"),
        RunOption("entrypoint", from: .docker, meaning: "replaces the image's ENTRYPOINT and drops its CMD"),
        RunOption(
            "gpus", from: .docker,
            meaning:
                "chooses among the granted GPUs: a count, `all`, `device=INDEX,...` or `device=UUID,...`; without it all "
                + "granted GPUs are shown"),
        RunOption(
            "device", repeats: true, from: .docker,
            meaning: "shows a device node or a CDI device; permissions stay the node's own"),
        RunOption("fabric"),
        RunOption("profile"),
        RunOption("slurm", takes: .none),
        RunOption(
            "ulimit", repeats: true, from: .docker,
            meaning: "sets a resource limit; above the hard limit the hard limit is set, with a warning"),
        RunOption("require", repeats: true),
        RunOption("enforce"),
        RunOption(
            "cap-add", repeats: true, from: .docker,
            meaning:
                "keeps further capabilities where root of the host runs Berth; an ordinary user has all of them with "
                + "`--root`, over the container's own namespaces, and none without"),
        RunOption(
            "cap-drop", repeats: true, from: .docker,
            meaning: "takes capabilities away from uid 0 inside; others have none"),
        RunOption(
            "security-opt", repeats: true, from: .docker,
            meaning:
                "takes `seccomp=unconfined`, `seccomp=PROFILE.json`, `no-new-privileges` with or without `=false`, and what asks "
                + "for fewer restrictions; an AppArmor or SELinux profile is an error, as Berth applies none"),
        RunOption("seccomp"),
        RunOption(
            "privileged", takes: .none, from: .docker,
            meaning:
                "is `--cap-add ALL --seccomp none`; devices stay those that were granted, and /sys stays read-only"),
        RunOption(
            "read-only", takes: .none, from: .docker, meaning: "refuses writes to the container's root file system"),
        RunOption("root", takes: .none),
        RunOption("no-root", takes: .none),
        RunOption(
            "user", short: "u", from: .docker,
            meaning:
                "chooses the user: any where root runs Berth, otherwise the caller's own ids, or 0, which is `--root`"),
        RunOption(
            "group-add", repeats: true, from: .docker,
            meaning: "adds a group where root runs Berth; an ordinary user keeps the supplementary groups of the host"),
        RunOption("home", takes: .none),
        RunOption("no-home", takes: .none),
        RunOption(
            "hostname", short: "h", from: .docker,
            meaning: "sets a host name, in a UTS namespace of the container's own"),
        RunOption("add-host", repeats: true, from: .docker, meaning: "adds a line to the container's `/etc/hosts`"),
        RunOption(
            "dns", repeats: true, from: .docker, meaning: "sets the name servers in the container's `/etc/resolv.conf`"),
        RunOption(
            "dns-search", repeats: true, from: .docker,
            meaning: "sets the search domains in the container's `/etc/resolv.conf`"),
        RunOption(
            "dns-option", repeats: true, from: .docker,
            meaning: "sets the options in the container's `/etc/resolv.conf`"),
        RunOption("unshare"),
        RunOption(
            "network", from: .docker,
            meaning: "takes `host`, the default, and `none`; other networks are an error, as Berth makes none"),
        RunOption("ipc", from: .docker, meaning: "takes `host`, the default, and `private`"),
        RunOption(
            "shm-size", from: .docker,
            meaning:
                "sets the size of `/dev/shm` with `--ipc private`; otherwise `/dev/shm` is the host's and a line says so"
        ),
        RunOption(
            "pid", from: .docker,
            meaning: "takes `host`, the default, and `private`: the command is process 1 of a PID namespace of its own"),
        RunOption(
            "init", takes: .none, from: .docker,
            meaning: "is `--pid private` with an init as process 1, which reaps orphans and passes signals on"),
        RunOption("uts", from: .docker, meaning: "takes `host`, the default without `--hostname`"),
        RunOption("preserve-fds"),
        RunOption(
            "interactive", short: "i", takes: .none, from: .docker, meaning: "standard input is always the caller's"),
        RunOption("tty", short: "t", takes: .none, from: .docker, meaning: "the terminal is always the caller's"),
        RunOption(
            "name", from: .docker,
            meaning:
                "names the container for `berth ps` and `berth exec`; the name is free again when the container ends"),
        RunOption(
            "rm", takes: .none, from: .docker, meaning: "a container is always removed when its last process ends"),
        RunOption(
            "pull", from: .docker,
            meaning:
                "takes `missing`, `always` and `never`, and Podman's `newer`: like `always`, but the image of the store is "
                + "used where the registry does not answer"),
        RunOption("platform", from: .docker, meaning: "chooses the image for another platform; nothing is emulated"),
        RunOption("store"),
        RunOption("dry-run", takes: .optional),
        RunOption(
            "quiet", short: "q", takes: .none, from: .docker, meaning: "suppresses progress, notes and warnings"),
        RunOption("verbose", takes: .none),
    ]
}

/// A command line that can not be carried out.
package enum OptionError: Error, Equatable, Sendable {
    case unknown(option: String)
    case missingValue(option: String)
    case missingImage
    /// The value does not have the form that the option takes.
    case badValue(option: String, value: String, expected: String)
    /// An option of Docker's or Apptainer's with which going on would be unsafe or wrong; with its value, if that is why.
    case refused(option: String, reason: String, remedy: String)
    /// The current directory, which `--here` cannot mount without hiding files of the image.
    case hidesImage(String)
    /// A source such as `data`, which Docker would take for a volume it manages.
    case namedVolume(String)
    case contradiction(String, String)
    /// A line of an `--env-file` that does not begin with a variable's name.
    case environmentFile(String, line: Int, name: String)
    /// A line of one that is no text: a NUL byte, or bytes that are not UTF-8.
    case environmentFileBytes(String, line: Int)
    /// `--user` names neither the caller, who gives its ids, nor root.
    case otherUser(String, userID: UInt32, groupID: UInt32)
    /// A path that is relative to a directory that is gone.
    case noWorkingDirectory(String)
    /// `--help` was asked for: the rich program shows it.
    case helpRequested
}
