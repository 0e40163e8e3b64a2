internal import Devices
package import LaunchPlanning
internal import LinuxKernel

extension Report {
    /// Reports all unmet requirements at once.
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
            "the container lacks \(nodes.map(\.path).joined(separator: ", ")): not granted, or not selected"
        case .portsDown(let names):
            "no port of \(names.joined(separator: ", ")) is active: NCCL would use TCP"
        case .lockedMemory(let values, _), .lockedMemoryChosen(let values, _):
            "memlock is \(Report.size(values.soft))"
        case .noSharedMemory: "this host has no /dev/shm"
        case .sharedMemory(let space):
            "/dev/shm has room for \(Report.size(space.available)) (its size is \(Report.size(space.total)))"
        case .sharedMemoryMount(let size, let origin):
            "the mount on /dev/shm has a size of \(Report.size(size)) (\(origin.summary))"
        case .sharedMemoryAboveJob(let limit):
            "the memory limit of this job is \(Report.size(limit)), and /dev/shm counts towards it"
        case .noChannel: "the container has no IMEX channel"
        case .noLibrary(let names, let devices):
            "the container lacks \(names.isEmpty ? "a library" : names.joined(separator: " or "))"
                + " for \(devices.joined(separator: ", ")): NCCL would use TCP"
        }
    }
}

extension UnmetRequirement {
    fileprivate var remedy: String {
        switch reason {
        case .gpus(_, let granted):
            granted == 0
                ? "request GPUs from the scheduler (--gres=gpu:N), and check the driver with nvidia-smi"
                : "request more (--gres=gpu:N), or change --gpus"
        case .noFabric:
            "run on nodes that have it; lspci and `ls /dev/infiniband /sys/class/infiniband` show the hardware and "
                + "driver"
        case .fabricNotGranted:
            "check the node's mode and owner, and the device cgroup (gres.conf and ConstrainDevices in cgroup.conf)"
        case .portsDown: "check cable, switch and subnet manager: ibstat, or /sys/class/infiniband/*/ports/*/state"
        case .lockedMemory(_, let cause): cause.remedy
        case .lockedMemoryChosen(_, let origin): "change the setting: \(origin.summary)"
        case .noSharedMemory: "mount a tmpfs there on the host, or with --mount type=tmpfs,target=/dev/shm,tmpfs-size=…"
        case .sharedMemory(let space):
            space.total - space.available > space.total / 4
                ? "remove what earlier jobs left in /dev/shm (job_container/tmpfs in Slurm gives each job its own)"
                : "make it larger on the host: mount -o remount,size=… /dev/shm"
        case .sharedMemoryMount: "give it a larger size="
        case .sharedMemoryAboveJob: "request more memory: --mem="
        case .noChannel:
            "the job needs SwitchType=switch/nvidia_imex in slurm.conf, or a prolog that creates "
                + "/dev/nvidia-caps-imex-channels/channel0; nvidia-imex must run on the node"
        case .noLibrary(let names, _):
            names.contains("libibverbs.so.1")
                ? "install rdma-core (libibverbs1, ibverbs-providers) in the image, or inject the host's with "
                    + "fabric-library"
                : "install aws-ofi-nccl in the image where its loader finds it (ldconfig, LD_LIBRARY_PATH), or inject "
                    + "the host's with fabric-library"
        }
    }
}

extension LimitCause {
    /// The remedy and who can apply it.
    package var remedy: String {
        switch self {
        case .slurmd:
            "slurmd passes on its own hard limit: set LimitMEMLOCK=infinity in slurmd's systemd unit and restart it"
        case .pam:
            "slurmd's own limit is high enough, so PAM lowered it (UsePAM=1 in slurm.conf): write \"* hard memlock "
                + "unlimited\" and \"* soft memlock unlimited\" into /etc/security/limits.conf"
        case .between:
            "slurmstepd's limit is high enough, so something in the job lowered it: look for `ulimit -l` in its script"
        case .propagation:
            "the submitting shell set the soft limit: write PropagateResourceLimitsExcept=MEMLOCK into slurm.conf"
        case .session:
            "raise it in /etc/security/limits.conf: * hard memlock unlimited (for a service: LimitMEMLOCK=infinity)"
        }
    }
}
