internal import CLinux

/// Refers to a process by descriptor, which guards against PID reuse: pidfd_open(2).
package struct ProcessHandle: ~Copyable {
    private let handle: OwnedFileDescriptor

    package init(_ processID: Int) throws(SystemError) {
        handle = OwnedFileDescriptor(
            rawValue: try checked("pidfd_open", "\(processID)") { berth_pidfd_open(Int32(clamping: processID)) })
    }

    /// Duplicates a descriptor of the process. The corresponding call is `pidfd_getfd(2)`.
    package func descriptor(_ number: Int32) throws(SystemError) -> OwnedFileDescriptor {
        let raw = handle.rawValue
        return OwnedFileDescriptor(
            rawValue: try checked("pidfd_getfd", "\(number)") { berth_pidfd_getfd(raw, number) })
    }
}

extension OwnedFileDescriptor {
    /// Whether this may be a socket from `LocalSockets.bundle`.
    package var isBundle: Bool { berth_is_bundle(rawValue) == 1 }
}

extension Identity {
    /// Until the next execve(2), prevents processes of the user namespace that this process is about to join from
    /// tracing it and from opening its files below `/proc/PID`. The corresponding call is `prctl(2)`,
    /// `PR_SET_DUMPABLE`.
    package static func hideFromTracing() throws(SystemError) {
        try checked("prctl", "PR_SET_DUMPABLE") { berth_prctl(4, 0, 0, 0, 0) }
    }
}

extension Processes {
    /// Executes this program again from a read-only mount of its file or a sealed copy in memory, unless this user could not
    /// write to the file anyway.
    ///
    /// In a container, a script whose interpreter is `/proc/self/exe` starts this program again, where other processes of the
    /// container can open its file: CVE-2019-5736.
    package static func continueSealed() throws(SystemError) {
        let program = try OwnedFileDescriptor(opening: "/proc/self/exe", .readOnly)
        if berth_is_sealed(program.rawValue) == 1 || program.isOnReadOnlyMount {
            // Executed by the number of a descriptor, it would have that as its name. `RunningContainer` knows launchers by it.
            _ = "berth".withCString { berth_prctl(15 /* PR_SET_NAME */, UInt(bitPattern: $0), 0, 0, 0) }
            return
        }
        let status = try program.status()
        guard Identity.isRoot || status.userID == Identity.userID else { return }
        let words = [try ownPath()] + arguments().dropFirst()
        // Costs no copy, and takes CAP_SYS_ADMIN and Linux 5.12.
        if Identity.isRoot, let mount = readOnlyMount(of: program) {
            _ = execute(mount.procPath, arguments: words, environment: environment())  // the copy can be executed
        }
        let copy = OwnedFileDescriptor(rawValue: try checked("memfd_create", "berth") { berth_memfd_program("berth") })
        try copy.writeAll(try program.readAll(limit: 256 << 20))
        try checked("fcntl", "F_ADD_SEALS") { berth_seal(copy.rawValue) }
        throw execute(copy.procPath, arguments: words, environment: environment())
    }

    private static func readOnlyMount(of program: borrowing OwnedFileDescriptor) -> OwnedFileDescriptor? {
        guard let mount = try? Mounts.detachedCopy(of: program, recursive: false),  // refused: a copy takes its place
            (try? Mounts.setAttributes(.readOnly, on: mount, recursive: false)) != nil,  // likewise
            mount.isOnReadOnlyMount
        else { return nil }
        return mount
    }
}
