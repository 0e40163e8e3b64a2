package import LinuxKernel

extension SystemError {
    /// `Permission denied (EACCES)`.
    package var sentence: String { "\(reason) (\(name))" }
}

extension Report {
    package init(_ error: SystemError) {
        if let hint = Self.shortage(error) {
            let what =
                switch error.call {
                case "pthread_create": "start a thread"
                case "mmap": "reserve \(error.subject)"
                default: "start \(error.subject)"
                }
            self.init("cannot \(what): \(error.sentence)", hint: hint)
            return
        }
        self.init("\(error.call) \(error.subject): \(error.sentence)", hint: Self.hint(for: error))
    }

    /// The remedy for a failure to create threads or processes or to reserve address space.
    package static func shortage(_ error: SystemError) -> String? {
        guard ["pthread_create", "posix_spawn", "mmap"].contains(error.call) else { return nil }
        return switch error.errno {
        case Errno.EAGAIN where error.call != "mmap":
            "the limit on processes and threads is reached: see `ulimit -u`, the cgroup's pids.max, and `ulimit -v`"
        case Errno.ENOMEM, Errno.EAGAIN: "a memory limit is reached: see `ulimit -v` and the memory limit of the job"
        case Errno.EPERM:
            "a seccomp filter denies clone3(2) with EPERM: let it return ENOSYS, so that programs fall back to clone(2)"
        default: nil
        }
    }

    /// Calls that seccomp filters deny with `EPERM`.
    private static let filtered = [
        "openat2", "open_tree", "move_mount", "mount_setattr", "renameat2", "mount", "umount2", "pivot_root", "unshare",
        "setns", "posix_spawn", "memfd_create", "bpf", "prctl", "capset", "sethostname",
    ]

    /// The remedy for an `errno`. For ENOSPC, it also depends on the file system of the path.
    ///
    /// - Parameter place: The path, if the error's own subject is not absolute.
    package static func hint(for error: SystemError, at place: String? = nil) -> String? {
        let path = error.subject.hasPrefix("/") && !error.subject.hasPrefix("/proc/") ? error.subject : place
        if error.errno == Errno.ENOSPC, let path, FileSystemSpace.hasNoInodes(at: path) {
            return
                "the file system of \(path) has space but no free inodes (df -i): remove files there, or put the store "
                + "elsewhere with BERTH_STORE or `store =` in berth.conf"
        }
        return switch error.errno {
        case Errno.ENOSPC:
            "the file system is full: free space, or put the store elsewhere with BERTH_STORE or `store =` in "
                + "berth.conf"
        case Errno.EDQUOT: "your disk quota is used up: free space, or put the store elsewhere with BERTH_STORE"
        case Errno.ENOSYS:
            "the kernel lacks this call, or a seccomp filter hides it: Berth needs Linux 5.11 or later"
        case Errno.EROFS: "the file system is read-only; choose a writable store with BERTH_STORE"
        case Errno.EMFILE: "raise the limit on open files (ulimit -n); 256 is usually enough"
        case Errno.EFBIG: "the file size limit is reached: ulimit -f unlimited"
        case Errno.EPERM where filtered.contains(error.call):
            "a seccomp filter denies this call, such as that of an older Docker or systemd-nspawn around Berth (use "
                + "--security-opt seccomp=unconfined there)"
        case Errno.EACCES: "check its owner and mode, and those of the directories above"
        default: nil
        }
    }
}
