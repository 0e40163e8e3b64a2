internal import CLinux

/// The kinds of namespaces: `CLONE_NEW*` of namespaces(7).
package struct NamespaceKinds: OptionSet, Sendable, Hashable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }
    /// Written out because the standard library's generic version is not specialized across modules.
    package init(arrayLiteral elements: NamespaceKinds...) {
        self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue })
    }
    package static func | (one: Self, other: Self) -> Self { Self(rawValue: one.rawValue | other.rawValue) }
    package func contains(_ other: Self) -> Bool { rawValue & other.rawValue == other.rawValue }
    package static let user = NamespaceKinds(rawValue: BERTH_CLONE_NEWUSER)
    package static let mount = NamespaceKinds(rawValue: BERTH_CLONE_NEWNS)
    package static let hostname = NamespaceKinds(rawValue: BERTH_CLONE_NEWUTS)
    package static let network = NamespaceKinds(rawValue: BERTH_CLONE_NEWNET)
    package static let ipc = NamespaceKinds(rawValue: BERTH_CLONE_NEWIPC)
    package static let process = NamespaceKinds(rawValue: BERTH_CLONE_NEWPID)
}

extension NamespaceKinds {
    /// Names below `/proc/PID/ns`. The user namespace comes first, because it grants the right to enter the others. The
    /// PID namespace is missing: a process cannot enter one, only its children can.
    package static let names: [(kind: NamespaceKinds, name: String)] = [
        (.user, "user"), (.mount, "mnt"), (.hostname, "uts"), (.network, "net"), (.ipc, "ipc"),
    ]
}

package enum Namespaces {
    /// Moves this process to new namespaces. A new user namespace requires a single-threaded process.
    ///
    /// The corresponding call is `unshare(2)`.
    package static func create(_ kinds: NamespaceKinds) throws(SystemError) {
        try checked("unshare", kinds.contains(.user) ? "user namespace" : "mount namespace") {
            berth_unshare(kinds.rawValue)
        }
    }

    /// Enters a namespace. The corresponding call is `setns(2)`.
    package static func join(
        _ namespace: borrowing OwnedFileDescriptor, _ kind: NamespaceKinds
    ) throws(SystemError) {
        try checked("setns", namespace.procPath) { berth_setns(namespace.rawValue, kind.rawValue) }
    }

    /// Maps the caller's user and group into the user namespace that it has just created: user_namespaces(7). Denies
    /// `setgroups` first, because the kernel otherwise rejects an unprivileged group map.
    package static func mapIDs(
        insideUser: UInt32, outsideUser: UInt32, insideGroup: UInt32, outsideGroup: UInt32
    ) throws(SystemError) {
        try write("deny", to: "/proc/self/setgroups")
        try write("\(insideUser) \(outsideUser) 1", to: "/proc/self/uid_map")
        try write("\(insideGroup) \(outsideGroup) 1", to: "/proc/self/gid_map")
    }

    /// Continues as process 1 of the new PID namespace. The calling process stays outside; it forwards signals, stops
    /// when the command stops, and exits with its status.
    ///
    /// - Parameter broadcaster: A process that signals every process of the container itself, so that its signals are not
    ///   forwarded.
    package static func becomeFirstProcess(broadcaster: Int32?) throws(SystemError) {
        try checked("fork", "PID namespace") { berth_become_first_process(broadcaster ?? 0) }
    }

    /// Called last before the command is executed: makes this process exit when the process outside does.
    ///
    /// - Parameter init: Whether process 1 stays to reap orphans and forward signals, with the command as its child.
    package static func finishFirstProcess(init: Bool) throws(SystemError) {
        try checked("prctl", "PR_SET_PDEATHSIG") { berth_end_with_parent() }
        if `init` { try checked("fork", "init") { berth_leave_init_behind() } }
    }

    /// Starts the loopback interface, which is down in a new network namespace. The corresponding call is `ioctl(2)`,
    /// `SIOCSIFFLAGS`.
    package static func startLoopback() throws(SystemError) { try checked("ioctl", "lo") { berth_loopback_up() } }

    /// The directory of this process's namespaces. Open it before pivot_root, because the container's /proc cannot be
    /// trusted.
    package static func own() throws(SystemError) -> OwnedFileDescriptor {
        try OwnedFileDescriptor(opening: "/proc/self/ns", .path | .directory)
    }

    /// Opens a namespace of the process that owns the directory. The descriptor keeps the namespace alive.
    package static func current(
        _ name: String, in own: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor {
        try own.open(name, .readOnly)
    }

    /// Opens a namespace of another process of the same user.
    package static func ofProcess(_ processID: Int32, _ name: String) throws(SystemError) -> OwnedFileDescriptor {
        try OwnedFileDescriptor(opening: "/proc/\(processID)/ns/\(name)", .readOnly)
    }

    /// The corresponding call is `sethostname(2)`. Lengths are in bytes.
    package static func setHostname(_ name: String) throws(SystemError) {
        let bytes = Array(name.utf8)
        try name.withCPath { (cName) throws(SystemError) in
            _ = try checked("sethostname", name) { sethostname(cName, bytes.count) }
        }
    }

    private static func write(_ text: String, to path: String) throws(SystemError) {
        let file = try OwnedFileDescriptor(opening: path, .writeOnly)
        do throws(SystemError) { try file.writeAll(Array(text.utf8)) } catch {
            throw SystemError(call: "write", errno: error.errno, subject: path)
        }
    }
}
