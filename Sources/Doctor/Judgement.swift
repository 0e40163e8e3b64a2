internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel

extension Diagnosis {
    /// Derives the results from the facts, area by area.
    package init(of facts: NodeFacts) {
        self.init(
            Self.containers(facts) + Self.remoteMounts(facts) + Self.store(facts) + Self.gpus(facts)
                + Self.unreadable(facts) + Self.fabrics(facts) + Self.limits(facts) + Self.cgroups(facts)
                + Self.slurm(facts)
                + Self.credentials(facts))
    }

    // MARK: Containers

    private static func containers(_ facts: NodeFacts) -> [Finding] {
        let area = "containers"
        var findings: [Finding] = []
        if let (what, hint) = facts.configuration {
            findings.append(Finding(area, "configuration", .error, what, remedy: hint))
        } else {
            findings.append(
                Finding(area, "configuration", .ok, "berth.conf is valid or absent"))
        }
        guard let trials = facts.trials else {
            return findings + [
                Finding(
                    area, "launcher", .error, "the launcher cannot be started, so namespaces were not tried",
                    remedy: "install both programs below one prefix: Scripts/install PREFIX")
            ]
        }
        func failure(_ name: String) -> Int32? { trials.first { $0.name == name && $0.errno != 0 }?.errno }
        func reached(_ name: String) -> Bool { trials.contains { $0.name == name } }
        if !facts.isRoot {
            if let errno = failure("user-namespace") ?? failure("id-map") {
                findings.append(
                    Finding(
                        area, "user-namespaces", .error, "cannot create a user namespace (\(symbol(errno)))",
                        remedy: facts.namespaceAdvice))
                return findings
            }
            findings.append(Finding(area, "user-namespaces", .ok, "the launcher can create a user namespace"))
        }
        if let errno = failure("mount-namespace") ?? failure("tmpfs") {
            findings.append(
                Finding(
                    area, "mounts", .error, "cannot mount in a new mount namespace (\(symbol(errno)))",
                    remedy: "a seccomp filter or security module denies it, as in most containers"))
            return findings
        }
        findings.append(Finding(area, "mounts", .ok, "created a mount namespace and mounted a tmpfs"))
        if let errno = failure("overlay") {
            findings.append(
                Finding(
                    area, "overlayfs", .error, "overlayfs cannot be mounted (\(symbol(errno))), kernel \(facts.kernel)",
                    remedy: OverlayAdvice.tooOld(facts.kernel)
                        ?? (facts.isRoot
                            ? "load the module: modprobe overlay"
                            : "it needs Linux 5.11 in a user namespace, and the module: modprobe overlay")))
        } else if reached("overlay") {
            findings.append(Finding(area, "overlayfs", .ok, "overlayfs can be mounted, kernel \(facts.kernel)"))
        }
        // The trial did not use the site's own scratch.
        if let errno = failure("overlay-removal"), facts.scratch == nil {
            findings.append(
                Finding(
                    area, "scratch-in-memory", .warning,
                    "programs cannot remove directories of the image (\(symbol(errno))): the kernel's tmpfs stores no "
                        + "extended attributes for users",
                    remedy: "set `scratch = /DIRECTORY` on a local ext4 or xfs in berth.conf, or use Linux 6.6"))
        }
        if failure("overlay") != nil {
            // If overlayfs does not work at all, the store is not the cause.
        } else if let errno = failure("overlay-on-store") {
            findings.append(
                Finding(
                    area, "overlay-on-store", .error,
                    "overlayfs cannot join directories of the store \(facts.store.path) (\(symbol(errno)))",
                    remedy: "put the store on a local ext4, xfs or tmpfs: BERTH_STORE, or `store =` in berth.conf"))
        } else if reached("overlay-on-store") {
            findings.append(Finding(area, "overlay-on-store", .ok, "overlayfs joins directories of the store"))
        }
        if let errno = failure("seccomp") {
            findings.append(
                Finding(
                    area, "seccomp", .warning, "the filter of --root cannot be loaded (\(symbol(errno)))",
                    remedy: errno == Errno.ENOENT || errno == Errno.EINVAL
                        ? "install both programs below one prefix: Scripts/install PREFIX"
                        : "the kernel needs CONFIG_SECCOMP_FILTER; otherwise use `--seccomp none`"))
        } else if reached("seccomp") {
            findings.append(Finding(area, "seccomp", .ok, "the filter of --root was loaded"))
        }
        if let (profile, place, fault) = facts.mandatorySeccomp {
            findings.append(
                fault.map {
                    Finding(
                        area, "site-seccomp", .error, "the profile \(profile) \($0): no task in a container of the plugin starts",
                        remedy: "correct the file, or `seccomp =` in \(place)")
                }
                    ?? Finding(
                        area, "site-seccomp", .ok,
                        "\(profile) holds for tasks in containers of the plugin and for root (\(place))"))
        }
        for mount in facts.siteMounts where mount.errno != 0 && !(mount.mayBeAbsent && mount.errno == Errno.ENOENT) {
            findings.append(
                Finding(
                    area, "site-mounts", .error, "\(mount.source) cannot be mounted (\(symbol(mount.errno)))",
                    remedy: mount.errno == Errno.ESTALE
                        ? "a stale handle: mount the file system again"
                        : "mount it on this node, or add nofail in \(mount.place)"))
        }
        return findings
    }

    /// One line for all mounts that work, and one for each that fails.
    private static func remoteMounts(_ facts: NodeFacts) -> [Finding] {
        let area = "file systems"
        func hint(_ path: String) -> String {
            "restore it, or umount -l \(path); until then, programs that access it hang or fail"
        }
        let bad = facts.remoteMounts.compactMap { mount -> Finding? in
            switch mount.answer {
            case .well: return nil
            case .failed(let errno):
                return Finding(
                    area, "remote", .warning, "\(mount.path) (\(mount.type)) is stale (\(symbol(errno)))",
                    remedy: hint(mount.path))
            case .none:
                return Finding(
                    area, "remote", .warning, "\(mount.path) (\(mount.type)) does not answer", remedy: hint(mount.path))
            }
        }
        guard bad.isEmpty else { return bad }
        let count = facts.remoteMounts.count
        return count == 0 ? [] : [Finding(area, "remote", .ok, "all \(count) network and FUSE mounts answer")]
    }

    // MARK: The store

    private static func store(_ facts: NodeFacts) -> [Finding] {
        let area = "store"
        let store = facts.store
        var findings: [Finding] = []
        let elsewhere = "set BERTH_STORE to a directory on a local disk, or `store =` in berth.conf"
        if let fault = facts.storeFault {
            let report = Report(refusing: "store", store.path, fault)
            findings.append(Finding(area, "place", .error, report.summary, remedy: report.hint ?? elsewhere))
        } else if !store.isWritable {
            findings.append(
                Finding(
                    area, "place", .warning,
                    "this user cannot write to \(store.path): its images run, but pulls fail",
                    remedy: elsewhere))
        } else if store.type == 0x794C_7630 {
            findings.append(
                Finding(
                    area, "place", .error, "\(store.path) is on overlayfs, on which most kernels cannot stack another",
                    remedy: elsewhere)
            )
        } else if let name = FileSystemType.remote(store.type) {
            findings.append(
                Finding(
                    area, "place", .warning,
                    "\(store.path) is on \(name): pulls and starts are slow, and all nodes write to it",
                    remedy: elsewhere))
        } else if facts.storeIsInHome, facts.slurm.directory != nil {
            findings.append(
                Finding(
                    area, "place", .warning, "\(store.path) is in the home directory, which most clusters share",
                    remedy: elsewhere))
        } else {
            findings.append(
                Finding(
                    area, "place", .ok,
                    store.path
                        + (store.exists
                            ? ""
                            : " (created by the first "
                                + "pull)")))
        }
        let gigabytes = store.space.available >> 30
        findings.append(
            gigabytes >= 20
                ? Finding(area, "space", .ok, "\(gigabytes) GiB free")
                : Finding(
                    area, "space", gigabytes >= 2 ? .warning : .error,
                    "\(gigabytes) GiB free; a GPU image needs 10 to 20",
                    remedy: "berth prune, or a larger disk"))
        if store.takesWhiteouts == false {
            findings.append(
                Finding(
                    area, "whiteouts", .warning,
                    "its file system cannot store whiteouts: images are flattened, and their root is read-only",
                    remedy: elsewhere))
        } else if store.takesWhiteouts == true {
            findings.append(Finding(area, "whiteouts", .ok, "whiteouts can be created"))
        }
        if let scratch = facts.scratch {
            if !scratch.exists || scratch.mode & 0o1777 != 0o1777 {
                findings.append(
                    Finding(
                        area, "scratch", .error,
                        "\(scratch.path) must be a directory that all users can write to "
                            + "(mode 1777)",
                        remedy: "mkdir -p \(scratch.path) && chmod 1777 \(scratch.path)"))
            } else if let name = FileSystemType.remote(scratch.type) {
                findings.append(
                    Finding(
                        area, "scratch", .error,
                        "\(scratch.path) is on \(name), which cannot hold an overlay's upper directory",
                        remedy: "set `scratch =` to a local directory, or to memory"))
            } else if let errno = facts.trials?.first(where: { $0.name == "scratch" })?.errno, errno != 0 {
                findings.append(
                    Finding(
                        area, "scratch", .error,
                        "this user cannot create a directory for containers in \(scratch.path) (\(symbol(errno)))",
                        remedy: "chmod 1777 \(scratch.path), and check its free space and inodes"))
            } else {
                findings.append(Finding(area, "scratch", .ok, scratch.path))
            }
        }
        return findings
    }

    // MARK: Limits

    private static func limits(_ facts: NodeFacts) -> [Finding] {
        let area = "limits"
        var findings: [Finding] = []
        let limit = facts.lockedMemory
        let wanted = LaunchPlan.lockedMemoryForRDMA
        let hasFabric = facts.fabrics.contains { $0.node.kind == .verbs }
        if limit.hard >= wanted || facts.raisesHardLimits {
            findings.append(
                limit.soft < wanted && facts.limitSources.slurmstepd != nil && hasFabric
                    ? Finding(
                        area, "memlock", .warning,
                        "the soft limit is \(bytes(limit.soft)); Berth raises it, other programs do not",
                        remedy: LimitCause.propagation.remedy)
                    : Finding(
                        area, "memlock", .ok,
                        "up to \(limit.hard == .max ? "unlimited" : bytes(limit.hard)) can be locked"))
        } else {
            let cause = LimitCause(wanted: wanted, own: limit, facts.limitSources)
            findings.append(
                Finding(
                    area, "memlock", hasFabric ? .error : .ok,
                    "\(bytes(limit.hard)) can be locked"
                        + (hasFabric ? ", too little for RDMA: NCCL would fall back to TCP" : ", enough without RDMA"),
                    remedy: hasFabric ? cause.remedy : nil))
        }
        findings.append(
            facts.openFiles.hard >= 16384
                ? Finding(area, "nofile", .ok, "\(facts.openFiles.hard) files can be open")
                : Finding(
                    area, "nofile", .warning,
                    "\(facts.openFiles.hard) files can be open; data loaders with many workers need more",
                    remedy: "LimitNOFILE=1048576 in slurmd's unit, or nofile in /etc/security/limits.conf"))
        guard let shared = facts.sharedMemory else {
            return findings + [
                Finding(
                    area, "/dev/shm", .error, "it does not exist: NCCL, MPI and data loaders need it",
                    remedy: "mount -t tmpfs -o mode=1777 tmpfs /dev/shm")
            ]
        }
        let size = shared.total
        if shared.available < size / 4 {
            findings.append(
                Finding(
                    area, "/dev/shm", .warning, "\(bytes(shared.available)) of \(bytes(size)) are free",
                    remedy: "remove the files of finished jobs; job_container/tmpfs gives each job its own"))
        } else if size < min(facts.memory / 4, 8 << 30) {
            findings.append(
                Finding(
                    area, "/dev/shm", .warning, "its size is \(bytes(size)), of \(bytes(facts.memory)) of memory",
                    remedy: "mount -o remount,size=50% /dev/shm"))
        } else {
            findings.append(Finding(area, "/dev/shm", .ok, "\(bytes(shared.available)) of \(bytes(size)) are free"))
        }
        return findings
    }

    // MARK: Formatting

    static func bytes(_ count: UInt64) -> String {
        if count == .max { return "unlimited" }
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] as [(String, UInt64)]
        where count >> shift > 0 {
            return "\(count >> shift) \(unit)"
        }
        return "\(count) bytes"
    }

    static func symbol(_ errno: Int32) -> String { SystemError(call: "", errno: errno, subject: "").name }
}
