internal import CLinux

/// BPF device programs of cgroups: bpf(2).
package enum DevicePrograms {
    /// Checks and loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program. The corresponding call is `bpf(2)`, `BPF_PROG_LOAD`.
    package static func load(_ instructions: [UInt64]) throws(SystemError) -> OwnedFileDescriptor {
        let raw = try checked("bpf", "BPF_PROG_LOAD") {
            instructions.withUnsafeBufferPointer {
                berth_bpf_load_device_program($0.baseAddress, UInt32($0.count))
            }
        }
        return OwnedFileDescriptor(rawValue: raw)
    }

    /// Attaches a program to a cgroup. If the attached programs allow others, adds it to them; otherwise replaces the
    /// attached one. The corresponding call is `bpf(2)`, `BPF_PROG_ATTACH`.
    package static func attach(
        _ program: borrowing OwnedFileDescriptor, to cgroup: borrowing OwnedFileDescriptor
    ) throws(SystemError) {
        // BPF_F_ALLOW_MULTI, none, BPF_F_ALLOW_OVERRIDE: the flags must match those of the attached programs.
        for flags in [2, 0, 1] as [UInt32]
        where berth_bpf_attach_device_program(cgroup.rawValue, program.rawValue, flags) == 0 {
            return
        }
        throw SystemError.last("bpf", "BPF_PROG_ATTACH")
    }
}

extension OwnedFileDescriptor {
    /// Whether the mode and, for a device node, the device cgroup allow this process to read and write. The kernel's
    /// `inode_permission` checks both for access(2) as for open(2). Opens nothing, so it wakes no device. The
    /// corresponding call is `access(2)`.
    package static func mayReadAndWrite(_ path: String) -> Bool { accessError(path) == nil }

    /// Whether the device cgroup denies access. Modes return `EACCES` instead. The corresponding call is `access(2)`.
    package static func isRefusedByCgroup(_ path: String) -> Bool { accessError(path) == EPERM }

    private static func accessError(_ path: String) -> Int32? {
        do throws(SystemError) {
            try path.withCPath { (cPath) throws(SystemError) in
                try checked("access", path) { access(cPath, R_OK | W_OK) }
            }
            return nil
        } catch { return error.errno }
    }
}

extension ResourceLimit {
    /// Sets the limit of another process. The corresponding call is `prlimit(2)`.
    package func set(_ values: LimitValues, of process: Int32) throws(SystemError) {
        try checked("prlimit", rawValue) { berth_prlimit(process, number, values.soft, values.hard) }
    }
}
