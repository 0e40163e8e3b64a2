internal import LaunchPlanning

extension Report {
    /// What to write in place of an option that `berth run` does not have: a slip's correction, or for an option of
    /// another launcher's, why it is not needed or what there is.
    static func instead(of option: String) -> String? {
        switch option {
        case "-d", "--detach": "there is no daemon to leave it to: use the shell's &, or sbatch"
        case "--name": "a container of `berth run` has no name; with the Slurm plugin: srun --container-name"
        case "--group-add": "leave it out: your supplementary groups give access inside, too"
        case "-p", "-P", "--publish", "--publish-all", "--expose":
            "leave it out: the network is the host's, and so is a port on which the command listens"
        case "--shm-size": "IPC and /dev/shm are the host's; --unshare ipc gives the container its own"
        case "--init": "leave it out: there is no process 1 of the container's own"
        case "--privileged", "--cap-add", "--cap-drop", "--security-opt", "--userns":
            "leave it out: what is started has its user's rights and no others"
        case "-m", "--memory", "--cpus", "--cpuset-cpus", "--pids-limit":
            "ask the scheduler (--mem, --cpus-per-task); as root there is --enforce"
        case "--runtime", "--nv", "--rocm":
            "leave it out: granted GPUs are shown with their driver's libraries (--gpus)"
        case "-B", "--bind": "write -v SRC:DST[:ro]"
        case _ where option.hasPrefix("--container-"):
            "that is an option of srun's with Berth's Slurm plugin: srun \(option)=…"
        default: nearest(to: option).map { "did you mean --\($0)? `berth run --help` lists the options" }
        }
    }

    /// An option that begins so, or is one or two slips away.
    private static func nearest(to option: String) -> String? {
        guard option.hasPrefix("--"), option.utf8.count > 5 else { return nil }
        let name = option.dropFirst(2)
        if let longer = RunOption.all.first(where: { $0.name.hasPrefix(name) }) { return longer.name }
        return RunOption.all.first { slips(Array(name.utf8), Array($0.name.utf8)) <= 2 }?.name
    }

    /// Levenshtein's distance.
    package static func slips(_ one: [UInt8], _ other: [UInt8]) -> Int {
        var row = Array(0...other.count)
        for (i, byte) in one.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, otherByte) in other.enumerated() {
                let above = row[j + 1]
                row[j + 1] = min(diagonal + (byte == otherByte ? 0 : 1), above + 1, row[j] + 1)
                diagonal = above
            }
        }
        return row[other.count]
    }
}
