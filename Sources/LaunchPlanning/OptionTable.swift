/// The options of `berth run`, as the lean launcher reads them. `berth-image` declares the same ones once more for
/// help and completions; a structure test holds the two equal.
package struct RunOption: Sendable {
    package enum Argument: Sendable, Equatable {
        case none, one
        /// Behind `=` only: the next word is never its value.
        case optional
    }
    /// The long name without dashes.
    package let name: String
    package let short: Character?
    package let argument: Argument
    /// May be given more than once, each adding to the others.
    package let repeats: Bool

    init(_ name: String, short: Character? = nil, _ argument: Argument = .one, repeats: Bool = false) {
        self.name = name
        self.short = short
        self.argument = argument
        self.repeats = repeats
    }

    package static let all: [RunOption] = [
        RunOption("volume", short: "v", repeats: true),
        RunOption("mount", repeats: true),
        RunOption("tmpfs", repeats: true),
        RunOption("env", short: "e", repeats: true),
        RunOption("env-file", repeats: true),
        RunOption("workdir", short: "w"),
        RunOption("entrypoint"),
        RunOption("gpus"),
        RunOption("device", repeats: true),
        RunOption("fabric"),
        RunOption("profile"),
        RunOption("slurm", .none),
        RunOption("ulimit", repeats: true),
        RunOption("require", repeats: true),
        RunOption("enforce"),
        RunOption("read-only", .none),
        RunOption("root", .none),
        RunOption("no-root", .none),
        RunOption("user", short: "u"),
        RunOption("home", .none),
        RunOption("no-home", .none),
        RunOption("hostname", short: "h"),
        RunOption("unshare"),
        RunOption("network"),
        RunOption("ipc"),
        RunOption("pid"),
        RunOption("uts"),
        RunOption("preserve-fds"),
        RunOption("interactive", short: "i", .none),
        RunOption("tty", short: "t", .none),
        RunOption("rm", .none),
        RunOption("pull"),
        RunOption("platform"),
        RunOption("store"),
        RunOption("dry-run", .optional),
        RunOption("quiet", short: "q", .none),
        RunOption("verbose", .none),
    ]
}

/// A command line that can not be carried out.
package enum OptionError: Error, Equatable, Sendable {
    case unknown(option: String)
    case missingValue(option: String)
    case unexpectedValue(option: String)
    case missingImage
    /// The value does not have the form that the option takes.
    case badValue(option: String, value: String, expected: String)
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
