/// What `docker run` 27 and Apptainer have beyond `RunOption.all`: accepted, or refused with a reason.
extension RunOption {
    /// A limit that cgroups would have to hold; Docker itself goes on with a warning where the kernel cannot.
    private static func limit(
        _ name: String, short: Character? = nil, repeats: Bool = false, _ instead: String
    ) -> RunOption {
        RunOption(
            name, short: short, repeats: repeats, from: .docker, answer: .accepted,
            meaning: "not enforced: the limits of the job or the session hold; \(instead)")
    }

    private static func refused(
        _ name: String, short: Character? = nil, takes argument: Argument = .one, repeats: Bool = false,
        _ meaning: String,
        remedy: String
    ) -> RunOption {
        RunOption(
            name, short: short, takes: argument, repeats: repeats, from: .docker, answer: .refused, meaning: meaning,
            remedy: remedy)
    }

    private static func accepted(
        _ name: String, short: Character? = nil, takes argument: Argument = .one, repeats: Bool = false,
        _ meaning: String
    ) -> RunOption {
        RunOption(
            name, short: short, takes: argument, repeats: repeats, from: .docker, answer: .accepted, meaning: meaning)
    }

    private static let memory = "ask the scheduler for memory (--mem); as root there is --enforce memory"
    private static let cpus = "ask the scheduler for CPUs (--cpus-per-task); as root there is --enforce cpu"
    private static let cpuSet = "the scheduler chooses the CPUs; taskset(1) or numactl(8) narrows them"
    private static let inputOutput = "Berth sets no limits for block devices"
    private static let noRecord = "not stored: Berth keeps no record of a container"
    private static let noHealth = "no health check is run"
    private static let noNetwork = "the container has the host's network, which the option cannot change"
    private static let onNode = "leave it out; the command is reached by the names and addresses of the node"
    private static let windows = "it is for Windows containers"

    /// In the order of Docker's own list.
    static let dockersOthers: [RunOption] = [
        accepted("annotation", repeats: true, noRecord),
        accepted(
            "attach", short: "a", repeats: true, "all standard streams are the caller's; redirect them in the shell"),
        limit("blkio-weight", inputOutput),
        limit("blkio-weight-device", repeats: true, inputOutput),
        refused(
            "cgroup-parent", "the command stays in the cgroup of its job or session",
            remedy: "start berth in that cgroup, for example with systemd-run --scope"),
        accepted("cgroupns", "the cgroup namespace is the host's, so paths of cgroups show as they are there"),
        refused(
            "cidfile", "a container has no ID that could be written",
            remedy: "leave it out; the process ID of the command is that of berth, `$!` in the shell"),
        refused("cpu-count", windows, remedy: "leave it out"),
        refused("cpu-percent", windows, remedy: "leave it out"),
        limit("cpu-period", cpus),
        limit("cpu-quota", cpus),
        limit("cpu-rt-period", cpus),
        limit("cpu-rt-runtime", cpus),
        limit("cpu-shares", short: "c", cpus),
        limit("cpus", cpus),
        limit("cpuset-cpus", cpuSet),
        limit("cpuset-mems", cpuSet),
        refused(
            "detach", short: "d", takes: .none, "there is no daemon that the container could be left to",
            remedy: "start it in the background of the shell with &, or submit it with sbatch"),
        accepted("detach-keys", "the command is never detached, so the keys do nothing"),
        accepted(
            "device-cgroup-rule", repeats: true,
            "the device cgroup of the job and the mode of each node decide; show a node with --device"),
        limit("device-read-bps", repeats: true, inputOutput),
        limit("device-read-iops", repeats: true, inputOutput),
        limit("device-write-bps", repeats: true, inputOutput),
        limit("device-write-iops", repeats: true, inputOutput),
        RunOption(
            "disable-content-trust", takes: .optional, from: .docker,
            meaning:
                "true, the default, is so in any case; `=false` is an error, as Berth verifies digests, not signatures",
            remedy: "name the image by its digest: NAME@sha256:..."),
        accepted("domainname", "the NIS domain name is the host's; --hostname takes a name with dots"),
        accepted(
            "expose", repeats: true,
            "the network is the host's: a port is reachable as soon as the command listens on it"),
        accepted("health-cmd", noHealth),
        accepted("health-interval", noHealth),
        accepted("health-retries", noHealth),
        accepted("health-start-interval", noHealth),
        accepted("health-start-period", noHealth),
        accepted("health-timeout", noHealth),
        refused("io-maxbandwidth", windows, remedy: "leave it out"),
        refused("io-maxiops", windows, remedy: "leave it out"),
        refused("ip", noNetwork, remedy: onNode),
        refused("ip6", noNetwork, remedy: onNode),
        RunOption(
            "isolation", from: .docker,
            meaning: "takes `default`; other values are for Windows containers, and an error",
            remedy: "leave it out"),
        limit("kernel-memory", memory),
        accepted("label", short: "l", repeats: true, noRecord),
        accepted("label-file", repeats: true, noRecord),
        refused("link", repeats: true, noNetwork, remedy: onNode),
        refused("link-local-ip", repeats: true, noNetwork, remedy: onNode),
        accepted("log-driver", "output goes to the caller's standard streams; redirect them in the shell"),
        accepted("log-opt", repeats: true, "output goes to the caller's standard streams; redirect them in the shell"),
        refused("mac-address", noNetwork, remedy: onNode),
        limit("memory", short: "m", memory),
        limit("memory-reservation", memory),
        limit("memory-swap", memory),
        limit("memory-swappiness", memory),
        refused("network-alias", repeats: true, noNetwork, remedy: onNode),
        RunOption("no-healthcheck", takes: .none, from: .docker, meaning: noHealth),
        accepted(
            "oom-kill-disable", takes: .none,
            "the out-of-memory killer acts on the job's cgroup, as the scheduler set it up"),
        limit("oom-score-adj", "choom(1) in front of berth sets the score"),
        limit("pids-limit", "as root there is --enforce pids=COUNT"),
        accepted(
            "publish", short: "p", repeats: true,
            "the network is the host's: the port is open there as soon as the command listens on it; another port or "
                + "address of the host than the command's own is an error"),
        accepted(
            "publish-all", short: "P", takes: .none,
            "the network is the host's: a port is open there as soon as the command listens on it"),
        accepted("restart", "nothing restarts the command; use a loop of the shell, or sbatch --requeue"),
        accepted(
            "runtime",
            "Berth starts the command itself, and shows granted GPUs without a runtime; a runtime that isolates "
                + "more, such as runsc or kata, is an error"),
        accepted("sig-proxy", takes: .optional, "signals always reach the command, which has the process ID of berth"),
        accepted("stop-signal", "the scheduler and the shell send their own signals"),
        accepted("stop-timeout", "the scheduler has its own time between SIGTERM and SIGKILL (KillWait)"),
        limit("storage-opt", repeats: true, "scratch-limit of the site limits what can be written"),
        refused(
            "sysctl", repeats: true, "the container has the host's network and IPC namespaces, and so their settings",
            remedy: "leave it out, or ask the administrator to set it on the node"),
        refused(
            "use-api-socket", takes: .none, "there is no daemon and no socket of one",
            remedy: "leave it out; with --slurm the command can start steps and jobs"),
        accepted(
            "userns",
            "an ordinary user's container always has a user namespace that maps one user and one group, root's has none"
        ),
        refused(
            "volume-driver", "Berth keeps no named volumes", remedy: "mount a directory of the host: -v /PATH:/INSIDE"),
        refused(
            "volumes-from", repeats: true, "other containers have no volumes to be shared",
            remedy: "give this container the same -v options"),
    ]

    private static func apptainer(
        _ name: String, short: Character? = nil, takes argument: Argument = .none, answer: Answer = .honoured,
        _ meaning: String, remedy: String = ""
    ) -> RunOption {
        RunOption(
            name, short: short, takes: argument, repeats: argument == .one, from: .apptainer, answer: answer,
            meaning: meaning, remedy: remedy)
    }

    /// Options of `apptainer run`, `exec` and `shell` for which Berth has the thing, or that lead somewhere else here.
    static let apptainers: [RunOption] = [
        apptainer("bind", short: "B", takes: .one, "is `-v` with commas between several: `--bind SRC:DST:ro,SRC2`"),
        apptainer("pwd", takes: .one, "is `--workdir`; `--cwd` is the same"),
        apptainer("nv", "granted GPUs are shown in any case, with their driver"),
        apptainer("nvccli", "granted GPUs are shown in any case, with their driver"),
        apptainer("rocm", "granted GPUs are shown in any case"),
        apptainer("fakeroot", "is `--root`"),
        apptainer("writable-tmpfs", "the root file system is writable in any case, and writes are discarded"),
        apptainer(
            "no-mount", takes: .one, answer: .accepted, "site mounts stay; --no-home leaves the home directory out"),
        apptainer(
            "containall", short: "C", takes: .none, answer: .refused,
            "Berth keeps the host's processes and /tmp by default",
            remedy: "write what you need of it: --cleanenv --no-home --ipc private --pid private --tmpfs /tmp"),
        apptainer(
            "contain", takes: .none, answer: .refused,
            "Berth keeps the host's /tmp by default, and has a /dev of its own in any case",
            remedy: "write what you need of it: --no-home --tmpfs /tmp"),
        apptainer(
            "compat", takes: .none, answer: .refused,
            "Berth keeps the host's processes and /tmp by default",
            remedy: "write what you need of it: --cleanenv --no-home --ipc private --pid private --tmpfs /tmp"),
        apptainer(
            "writable", takes: .none, answer: .refused, "an image is never changed",
            remedy:
                "write to a mounted directory; the Slurm plugin keeps changes with --container-name or --container-save"
        ),
        apptainer(
            "overlay", takes: .one, answer: .refused, "Berth makes the writable layer itself",
            remedy: "leave it out; the Slurm plugin keeps changes with --container-name or --container-save"),
    ]
}
