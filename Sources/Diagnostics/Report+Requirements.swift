internal import Devices
package import LaunchPlanning
internal import LinuxKernel

extension Report {
    /// All at once: who has asked for three things wants to hear of three.
    init(unmet: [UnmetRequirement]) {
        guard let first = unmet.first else { preconditionFailure("the planner names at least one") }
        self.init(
            "\(first.requirement.word) is required (\(first.origin.summary)), but " + first.reason.sentence,
            details: unmet.dropFirst().map {
                "\($0.requirement.word) is required (\($0.origin.summary)), but \($0.reason.sentence): \($0.remedy)"
            }, hint: first.remedy)
    }
}

extension UnmetRequirement.Reason {
    fileprivate var sentence: String {
        switch self {
        case .gpus(let shown, let granted):
            granted == 0
                ? "no GPU can be opened here"
                : shown == 0
                    ? "none of the \(granted) granted here is shown"
                    : "only \(shown) \(shown == 1 ? "is" : "are") shown"
        case .noFabric(let others):
            others.isEmpty ? "this host has no such device" : "this host has only \(others.joined(separator: ", "))"
        case .fabricNotGranted(let nodes):
            "\(nodes.map(\.path).joined(separator: ", ")) \(nodes.count == 1 ? "is" : "are") not shown inside: not granted here, or left out"
        case .portsDown(let names):
            "no port of \(names.joined(separator: ", ")) is active: NCCL would use TCP"
        case .lockedMemory(let values, _), .lockedMemoryChosen(let values, _):
            "memlock is \(Report.amount(values.soft))\(values.soft == .max ? "" : " bytes")"
        case .noSharedMemory: "this host has no /dev/shm"
        case .sharedMemory(let space):
            "/dev/shm has room for \(space.available) bytes (its size is \(space.total))"
        case .sharedMemoryMount(let size, let origin):
            "what is mounted on /dev/shm holds \(size) bytes (\(origin.summary))"
        case .sharedMemoryAboveJob(let limit):
            "this job may use \(limit) bytes of memory in all, and what is written to /dev/shm counts"
        case .noChannel: "no IMEX channel is shown inside"
        case .noLibrary(let names, let devices):
            (names.isEmpty ? "no library" : "none of \(names.joined(separator: ", "))")
                + " is found inside, by which NCCL would use \(devices.joined(separator: ", ")): it would go over TCP"
        }
    }
}

extension UnmetRequirement {
    fileprivate var remedy: String {
        switch reason {
        case .gpus(_, let granted):
            granted == 0
                ? "ask the scheduler for GPUs (--gres=gpu:N), and check the driver with nvidia-smi"
                : "ask for more (--gres=gpu:N), or change --gpus"
        case .noFabric:
            "run on nodes that have it; lspci and `ls /dev/infiniband /sys/class/infiniband` show whether a driver is loaded"
        case .fabricNotGranted:
            "check the node's mode and owner, and the device cgroup (gres.conf and ConstrainDevices in cgroup.conf)"
        case .portsDown: "check cable, switch and subnet manager: ibstat, or /sys/class/infiniband/*/ports/*/state"
        case .lockedMemory(_, let cause): cause.remedy
        case .lockedMemoryChosen(_, let origin): "change what sets it: \(origin.summary)"
        case .noSharedMemory: "mount a tmpfs there on the host, or with --mount type=tmpfs,target=/dev/shm,tmpfs-size=…"
        case .sharedMemory(let space):
            space.total - space.available > space.total / 4
                ? "remove what earlier jobs left in /dev/shm (job_container/tmpfs in Slurm gives each job its own)"
                : "make it larger on the host: mount -o remount,size=… /dev/shm"
        case .sharedMemoryMount: "give it a larger size="
        case .sharedMemoryAboveJob: "ask for more memory: --mem="
        case .noChannel:
            "the job needs SwitchType=switch/nvidia_imex in slurm.conf, or a prolog that makes "
                + "/dev/nvidia-caps-imex-channels/channel0; nvidia-imex must run on the node"
        case .noLibrary(let names, _):
            names.contains("libibverbs.so.1")
                ? "install rdma-core (libibverbs1, ibverbs-providers) in the image, or bring the host's along with fabric-library"
                : "install aws-ofi-nccl in the image where its loader finds it (ldconfig, LD_LIBRARY_PATH), or bring the "
                    + "host's along with fabric-library"
        }
    }
}

extension LimitCause {
    /// Whom to ask for what.
    package var remedy: String {
        switch self {
        case .slurmd:
            "slurmd passes on its own hard limit: set LimitMEMLOCK=infinity in slurmd's systemd unit and restart it"
        case .pam:
            "slurmd's own limit is high enough, so PAM lowered it (UsePAM=1 in slurm.conf): write \"* hard memlock "
                + "unlimited\" and \"* soft memlock unlimited\" to /etc/security/limits.conf"
        case .between:
            "slurmstepd's limit is high enough, so something in the job lowered it: look for `ulimit -l` in its script"
        case .propagation:
            "the soft limit came from the shell that submitted: write PropagateResourceLimitsExcept=MEMLOCK to slurm.conf"
        case .session:
            "raise it in /etc/security/limits.conf: * hard memlock unlimited (for a service: LimitMEMLOCK=infinity)"
        }
    }
}
