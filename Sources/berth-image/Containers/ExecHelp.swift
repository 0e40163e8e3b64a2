internal import ArgumentParser
internal import Diagnostics

/// `berth exec` and `berth shell`, for their help and completions: the launcher itself does the work.
struct ExecOptions: ParsableArguments {
    @Option(
        name: .shortAndLong, help: ArgumentHelp("Set a variable, or take it from the host.", valueName: "name[=value]"))
    var env: [String] = []

    @Option(
        help: ArgumentHelp("Set variables from a file of NAME=VALUE lines.", valueName: "file"), completion: .file())
    var envFile: [String] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("Start in this directory of the container.", valueName: "path"))
    var workdir: String?

    @Flag(help: "Start in the current directory, if it is mounted in the container.")
    var here = false

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("As root: the user inside, instead of the container's.", valueName: "uid[:gid]"))
    var user: String?

    @Flag(name: .shortAndLong, help: "Accepted for compatibility with Docker; standard input is always inherited.")
    var interactive = false

    @Flag(name: .shortAndLong, help: "Accepted for compatibility with Docker; the terminal is always inherited.")
    var tty = false

    @Flag(name: .shortAndLong, help: "Print errors only.")
    var quiet = false
}

struct ExecHelp: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec",
        abstract: "Run a command in a running container.",
        usage: "berth exec [OPTIONS] CONTAINER [--] COMMAND [ARGUMENT…]\nberth exec [OPTIONS] -- COMMAND [ARGUMENT…]",
        discussion: """
            CONTAINER is JOB, JOB.STEP, a name, or a process ID; berth ps lists them. With -- directly behind the \
            options, it is your only container on this node.

            The command has the environment, directory, user, limits and capabilities of the container's first \
            process. It stays in the caller's cgroup.

            Exit status: the command's own; 125 where Berth failed, 126 where the command cannot be executed, 127 \
            where it was not found.

            Examples:
              berth exec train nvidia-smi
              srun --overlap --jobid=4711 --pty berth exec -it 4711 bash
            """)

    @OptionGroup var options: ExecOptions

    @Argument(
        help: "The container.", completion: .shellCommand("berth ps --format '{{.Container}}' 2>/dev/null"))
    var container: String

    @Argument(parsing: .captureForPassthrough, help: "What to run.")
    var command: [String] = []

    func run() throws { throw Failure(Self.wrongProgram("exec")) }

    static func wrongProgram(_ verb: String) -> Report {
        Report(
            "`\(verb)` was given to the wrong program",
            hint: "call PREFIX/bin/berth, which starts containers; this one, berth-image, pulls and lists images")
    }
}

/// `berth confine`, for its help; a site's hook calls it, and no user does.
struct ConfineHelp: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "confine",
        abstract: "Limit a task of Slurm as the site requires.",
        usage: "berth confine PID|parent [limits] [memory=BYTES] [cpus=COUNT]",
        discussion: """
            For root, from a privileged hook: berth-confine(1).

            Example: berth confine parent limits memory=8589934592
            """,
        shouldDisplay: false)

    @Argument(help: "The process, and its limits.")
    var words: [String] = []

    func run() throws { throw Failure(ExecHelp.wrongProgram("confine")) }
}

struct ShellHelp: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shell",
        abstract: "Open a shell in a container.",
        usage: "berth shell [OPTIONS] [CONTAINER|IMAGE]",
        discussion: """
            In a running container, if one has that name, else in a new container of the image, with all options of \
            berth run. Without either, in your only container on this node.

            The shell is yours ($SHELL) if the container has it, else bash, else sh.

            Examples:
              berth shell train
              berth shell -v "$PWD:/work" debian:12
            """)

    @OptionGroup var options: ExecOptions

    @Argument(
        help: "The container or image.", completion: .shellCommand("berth ps --format '{{.Container}}' 2>/dev/null"))
    var container: String?

    func run() throws { throw Failure(ExecHelp.wrongProgram("shell")) }
}
