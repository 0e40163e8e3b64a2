internal import ArgumentParser
internal import Diagnostics

/// `berth run`, for its help, its completions and nothing else: the launcher itself does the work.
///
/// The options are those of `RunOption.all`; a test holds the two tables equal.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a command in a container.",
        usage: "berth run [OPTIONS] IMAGE [--] [COMMAND [ARGUMENT…]]",
        discussion: """
            Under srun, all tasks of a step on a node share one container. The GPUs, InfiniBand devices and limits are \
            those that the job was granted.

            Images: [docker://][REGISTRY/]REPOSITORY[:TAG][@DIGEST], oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG], \
            docker-archive:FILE[:TAG], dir:DIRECTORY, or a path that begins with / or .: a root file system, a layout, a \
            tar file, a squashfs or SIF file.

            Exit status: the command's own; 125 where Berth failed, 126 where the command cannot be executed, 127 \
            where it was not found.

            Example:
              berth run --here --gpus all pytorch/pytorch -- python train.py

            berth-run(1) describes each option. docs/reference/docker-options.md in share/doc/berth says what each option of \
            `docker run` does here.
            """,
        // -h is the host's name, as in Docker.
        helpNames: .long)

    @OptionGroup var options: RunOptions

    @Argument(help: "The image to run.", completion: .shellCommand(BashCompletion.images))
    var image: String

    @Argument(parsing: .captureForPassthrough, help: "What to run; the image's own command where nothing is given.")
    var command: [String] = []

    func run() throws {
        throw Failure(
            Report(
                "`run` was given to the wrong program",
                hint: "call PREFIX/bin/berth, which starts containers; this one, berth-image, pulls and lists images"))
    }
}

/// In the order of `RunOption.all`.
struct RunOptions: ParsableArguments {
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Show a directory or file of the host inside.", valueName: "src:dst[:ro]"), completion: .file())
    var volume: [String] = []

    @Option(
        help: ArgumentHelp(
            "Mount, spelled out: type=bind,source=…,target=… or type=tmpfs,target=…", valueName: "type=…"))
    var mount: [String] = []

    @Option(help: ArgumentHelp("Mount a fresh tmpfs.", valueName: "dst[:size=…,mode=…,ro]"))
    var tmpfs: [String] = []

    @Flag(help: "Mount the current directory at the same path inside and start there.")
    var here = false

    @Option(
        help: ArgumentHelp("Take options, image and command from an experiment file.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var file: [String] = []

    @Option(
        name: .shortAndLong, help: ArgumentHelp("Set a variable, or take it from the host.", valueName: "name[=value]"))
    var env: [String] = []

    @Option(
        help: ArgumentHelp("Set variables from a file of NAME=VALUE lines.", valueName: "file"), completion: .file())
    var envFile: [String] = []

    @Option(
        help: ArgumentHelp("Set a variable; ${NAME} is a variable of the container or the host.", valueName: "name=text"))
    var expandEnv: [String] = []

    @Option(help: ArgumentHelp("Unset a variable.", valueName: "name"))
    var unsetenv: [String] = []

    @Flag(help: "Pass only the variables of the host that describe the job.")
    var cleanenv = false

    @Option(name: .shortAndLong, help: ArgumentHelp("Start in this directory of the container.", valueName: "path"))
    var workdir: String?

    @Option(help: ArgumentHelp("Replace the image's ENTRYPOINT; \"\" removes it.", valueName: "program"))
    var entrypoint: String?

    @Option(
        help: ArgumentHelp(
            "GPUs to show: granted (the default), all, none, a count, device=INDEX,... or device=UUID,...",
            valueName: "gpus"), completion: .list(["granted", "all", "none"]))
    var gpus: String?

    @Option(
        help: ArgumentHelp(
            "Show a device of the host inside, or a CDI device.", valueName: "node[:path]|vendor/class=name"),
        completion: .file())
    var device: [String] = []

    @Option(
        help: ArgumentHelp("The network between nodes: auto (the default), none, ib or efa.", valueName: "fabric"),
        completion: .list(["auto", "none", "ib", "efa"]))
    var fabric: String?

    @Option(
        help: ArgumentHelp("Set variables for a kind of program: pytorch or none.", valueName: "profile"),
        completion: .list(["pytorch", "none"]))
    var profile: String?

    @Flag(help: "Show srun, sbatch and what they need inside.")
    var slurm = false

    @Option(help: ArgumentHelp("Set a resource limit.", valueName: "name=soft[:hard]"))
    var ulimit: [String] = []

    @Option(
        help: ArgumentHelp(
            "Do not start without: rdma, ib, efa, cxi, gpu[=n], memlock[=size], shm=size, imex, nccl.",
            valueName: "what,…"),
        completion: .list(["rdma", "ib", "efa", "cxi", "gpu", "memlock", "imex"]))
    var require: [String] = []

    @Option(
        help: ArgumentHelp(
            "As root: have cgroups hold the command to devices, memory, cpu, pids=n, or none.", valueName: "what,…"),
        completion: .list(["devices", "memory", "cpu", "none"]))
    var enforce: String?

    @Option(help: ArgumentHelp("As root: keep a capability.", valueName: "name"))
    var capAdd: [String] = []

    @Option(help: ArgumentHelp("Drop a capability, or ALL.", valueName: "name"))
    var capDrop: [String] = []

    @Option(
        help: ArgumentHelp(
            "Take seccomp=unconfined, seccomp=FILE, no-new-privileges, apparmor=unconfined and label=disable.",
            valueName: "what"))
    var securityOpt: [String] = []

    @Option(
        help: ArgumentHelp(
            "Filter system calls: none, default, fakeroot, or a profile's path.", valueName: "name|file"),
        completion: .list(["none", "default", "fakeroot"]))
    var seccomp: String?

    @Flag(help: "As root: give the command all capabilities and no filter of system calls.")
    var privileged = false

    @Flag(help: "Refuse writes to the container's files.")
    var readOnly = false

    @Flag(help: "Run as user 0 inside; outside, your own user is kept.")
    var root = false

    @Flag(help: "Run as your own user inside, even where the site's default is root.")
    var noRoot = false

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "As root: any user. Otherwise your own uid, or 0 (--root).", valueName: "uid[:gid]"))
    var user: String?

    @Option(help: ArgumentHelp("As root: add a group.", valueName: "group"))
    var groupAdd: [String] = []

    @Flag(help: "Show the home directory inside.")
    var home = false

    @Flag(help: "Do not show the home directory inside, even where the site does.")
    var noHome = false

    @Option(
        name: [.customShort("h"), .long],
        help: ArgumentHelp("Give the container a host name of its own.", valueName: "name"))
    var hostname: String?

    @Option(help: ArgumentHelp("Add a line to /etc/hosts.", valueName: "name:address"))
    var addHost: [String] = []

    @Option(help: ArgumentHelp("Set a name server in /etc/resolv.conf.", valueName: "address"))
    var dns: [String] = []

    @Option(help: ArgumentHelp("Set a search domain in /etc/resolv.conf.", valueName: "domain"))
    var dnsSearch: [String] = []

    @Option(
        name: [.long, .customLong("dns-opt")],
        help: ArgumentHelp("Set an option in /etc/resolv.conf.", valueName: "option"))
    var dnsOption: [String] = []

    @Option(
        help: ArgumentHelp(
            "Namespaces of the container's own that are the host's otherwise: net, ipc, uts, pid.", valueName: "ns,…"))
    var unshare: String?

    @Option(
        name: [.long, .customLong("net")],
        help: ArgumentHelp("host (the default), or none as --unshare net.", valueName: "host|none"),
        completion: .list(["host", "none"]))
    var network: String?

    @Option(
        help: ArgumentHelp("host (the default), or private as --unshare ipc.", valueName: "host|private"),
        completion: .list(["host", "private"]))
    var ipc: String?

    @Option(help: ArgumentHelp("Size of /dev/shm with --ipc private.", valueName: "bytes"))
    var shmSize: String?

    @Option(
        help: ArgumentHelp("Whose processes are seen: host (the default) or private.", valueName: "host|private"),
        completion: .list(["host", "private"]))
    var pid: String?

    @Flag(name: .customLong("init"), help: "Run an init as process 1 of a private PID namespace.")
    var usesInit = false

    @Option(help: ArgumentHelp("host, which is the default.", valueName: "host"), completion: .list(["host"]))
    var uts: String?

    @Option(
        help: ArgumentHelp("Pass N of the caller's descriptors, from 3 on, to the command.", valueName: "n"))
    var preserveFds: Int?

    @Flag(name: .shortAndLong, help: "Accepted for compatibility with Docker; standard input is always inherited.")
    var interactive = false

    @Flag(name: .shortAndLong, help: "Accepted for compatibility with Docker; the terminal is always inherited.")
    var tty = false

    @Option(help: ArgumentHelp("Name the container, for berth ps and berth exec.", valueName: "name"))
    var name: String?

    @Flag(help: "Accepted for compatibility with Docker; a container is always removed when it ends.")
    var rm = false

    @Option(
        help: ArgumentHelp(
            "When to ask the registry: missing (the default), always, newer or never.", valueName: "when"),
        completion: .list(["missing", "always", "newer", "never"]))
    var pull: String?

    @Option(
        help: ArgumentHelp("Take the image for another platform, such as linux/arm64.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Option(help: ArgumentHelp("Keep images here.", valueName: "directory"), completion: .directory)
    var store: String?

    @Option(
        defaultAsFlag: "text",
        help: ArgumentHelp(
            "Print the plan and start nothing; oci: as a config.json of the OCI runtime-spec.",
            valueName: "text|oci"), completion: .list(["text", "oci"]))
    var dryRun: String?

    @Flag(name: .shortAndLong, help: "Print errors only.")
    var quiet = false

    @Flag(help: "Print details of the launch on standard error.")
    var verbose = false
}
