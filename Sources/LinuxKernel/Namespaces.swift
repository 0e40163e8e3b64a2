internal import CLinux

/// Kinds of namespaces, the `CLONE_NEW*` of namespaces(7).
package struct NamespaceKinds: OptionSet, Sendable, Hashable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }
    /// Spelled out because the standard library's is generic, and specialised for nobody across modules.
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
    /// Names below `/proc/PID/ns`, the user namespace first: only its rights allow to enter the others. No process can enter
    /// another PID namespace; only its children do.
    package static let names: [(kind: NamespaceKinds, name: String)] = [
        (.user, "user"), (.mount, "mnt"), (.hostname, "uts"), (.network, "net"), (.ipc, "ipc"),
    ]
}

package enum Namespaces {
    /// Leaves the current namespaces for new ones. A new user namespace needs a single-threaded process.
    ///
    /// The corresponding call is `unshare(2)`.
    package static func create(_ kinds: NamespaceKinds) throws(SystemError) {
        try checked("unshare", kinds.contains(.user) ? "user namespace" : "mount namespace") {
            berth_unshare(kinds.rawValue)
        }
    }

    /// Enters the namespace that the descriptor names. The corresponding call is `setns(2)`.
    package static func join(
        _ namespace: borrowing OwnedFileDescriptor, _ kind: NamespaceKinds
    ) throws(SystemError) {
        try checked("setns", namespace.procPath) { berth_setns(namespace.rawValue, kind.rawValue) }
    }

    /// Maps the caller's one user and one group into the user namespace it has just created: user_namespaces(7).
    /// `setgroups` must be denied first, or the kernel refuses an unprivileged group map.
    package static func mapIDs(
        insideUser: UInt32, outsideUser: UInt32, insideGroup: UInt32, outsideGroup: UInt32
    ) throws(SystemError) {
        try write("deny", to: "/proc/self/setgroups")
        try write("\(insideUser) \(outsideUser) 1", to: "/proc/self/uid_map")
        try write("\(insideGroup) \(outsideGroup) 1", to: "/proc/self/gid_map")
    }

    /// Continues as process 1 of the PID namespace that was created. The caller's process stays outside: it passes signals
    /// on, stops when the command stops, and ends as it ends.
    package static func becomeFirstProcess() throws(SystemError) {
        try checked("fork", "PID namespace") { berth_become_first_process() }
    }

    /// The last thing before the command: it ends when the process outside does, whoever it is by now.
    ///
    /// - Parameter init: Whether process 1 stays, to reap orphans and pass signals on, with the command as its child.
    package static func finishFirstProcess(init: Bool) throws(SystemError) {
        try checked("prctl", "PR_SET_PDEATHSIG") { berth_end_with_parent() }
        if `init` { try checked("fork", "init") { berth_leave_init_behind() } }
    }

    /// A new network namespace has a loopback interface that is down. The corresponding call is `ioctl(2)`,
    /// `SIOCSIFFLAGS`.
    package static func startLoopback() throws(SystemError) { try checked("ioctl", "lo") { berth_loopback_up() } }

    /// The directory in which this process's namespaces can be opened, by its real path: to be had before pivot_root, as
    /// the container's /proc may be anything, and used afterwards.
    package static func own() throws(SystemError) -> OwnedFileDescriptor {
        try OwnedFileDescriptor(opening: "/proc/self/ns", .path | .directory)
    }

    /// A handle on the namespace in which the owner of that directory is now, by its name there, that keeps it alive.
    package static func current(
        _ name: String, in own: borrowing OwnedFileDescriptor
    ) throws(SystemError) -> OwnedFileDescriptor {
        try own.open(name, .readOnly)
    }

    /// A namespace of another process of the same user.
    package static func ofProcess(_ processID: Int32, _ name: String) throws(SystemError) -> OwnedFileDescriptor {
        try OwnedFileDescriptor(opening: "/proc/\(processID)/ns/\(name)", .readOnly)
    }

    /// The corresponding call is `sethostname(2)`; lengths are bytes.
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
