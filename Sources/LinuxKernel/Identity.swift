internal import CLinux

/// The user and privileges of this process.
package enum Identity {
    package static var userID: UInt32 { geteuid() }
    package static var groupID: UInt32 { getegid() }

    /// Whether this process is root of the host: user 0 of the initial user namespace.
    ///
    /// The kernel treats user 0 of another one (`unshare -Ur`, rootless Podman) as an ordinary user.
    package static var isRoot: Bool { geteuid() == 0 && isInInitialUserNamespace }

    /// The initial user namespace has a fixed inode number, `PROC_USER_INIT_INO` of linux/proc_ns.h. Without /proc,
    /// assume that this is not a container.
    package static var isInInitialUserNamespace: Bool {
        guard let namespace = try? FileStatus(of: "/proc/self/ns/user") else { return true }  // no /proc
        return namespace.inode == 0xEFFF_FFFD
    }

    /// The effective user as a uid of the parent user namespace: inside `unshare -Ur`, the uid of the user who called
    /// it.
    package static var outerUserID: UInt32 {
        let own = geteuid()
        if isInInitialUserNamespace { return own }
        return mapped(own, by: "/proc/self/uid_map", from: 0, to: 1) ?? own
    }

    /// Converts a gid of the parent user namespace to one of this namespace; `nil` if it is not mapped.
    static func innerGroupID(_ outer: UInt32) -> UInt32? {
        isInInitialUserNamespace ? outer : mapped(outer, by: "/proc/self/gid_map", from: 1, to: 0)
    }

    /// Converts an ID between columns of a map of user_namespaces(7); `nil` if it is not mapped or `/proc` is missing.
    private static func mapped(_ id: UInt32, by path: String, from: Int, to: Int) -> UInt32? {
        guard let map = try? contents(of: path, limit: 65536) else { return nil }  // no /proc
        for line in ByteLines(map) {
            let fields = line.split(separator: UInt8(ascii: " ")).map {
                UInt64(String(decoding: $0, as: UTF8.self)) ?? 0
            }
            guard fields.count == 3, UInt64(id) >= fields[from], UInt64(id) - fields[from] < fields[2] else { continue }
            return UInt32(truncatingIfNeeded: fields[to] + UInt64(id) - fields[from])
        }
        return nil
    }

    /// The supplementary groups. The corresponding call is `getgroups(2)`.
    package static func supplementaryGroups() throws(SystemError) -> [UInt32] {
        let count = try checked("getgroups", "") { getgroups(0, nil) }
        var groups = [UInt32](repeating: 0, count: Int(count))
        let filled = try checked("getgroups", "") { getgroups(count, &groups) }
        return Array(groups.prefix(Int(filled)))
    }

    /// Sets the supplementary groups, which needs `CAP_SETGID`. The corresponding call is `setgroups(2)`.
    package static func join(_ groups: [UInt32]) throws(SystemError) {
        try checked("setgroups", "\(groups.count) groups") { setgroups(groups.count, groups) }
    }

    /// Switches to another user permanently, groups first. The corresponding calls are `setgroups(2)`, `setresgid(2)`,
    /// `setresuid(2)`.
    package static func become(user: UInt32, group: UInt32, supplementaryGroups: [UInt32]) throws(SystemError) {
        try become(group: group, supplementaryGroups: supplementaryGroups)
        try become(user: user)
    }

    package static func become(group: UInt32, supplementaryGroups: [UInt32]) throws(SystemError) {
        try join(supplementaryGroups)
        try checked("setresgid", "\(group)") { setresgid(group, group, group) }
    }

    package static func become(user: UInt32) throws(SystemError) {
        try checked("setresuid", "\(user)") { setresuid(user, user, user) }
    }

    /// Prevents execve(2) from granting privileges from now on. The corresponding call is `prctl(2)`,
    /// `PR_SET_NO_NEW_PRIVS`.
    package static func forbidNewPrivileges() throws(SystemError) {
        try checked("prctl", "PR_SET_NO_NEW_PRIVS") { berth_prctl(38, 1, 0, 0, 0) }
    }

    /// Installs a seccomp filter, an array of `struct sock_filter`. Needs `no_new_privs`, or `CAP_SYS_ADMIN` in the
    /// user namespace. The corresponding call is `seccomp(2)`.
    package static func load(filter: [UInt8], flags: UInt32) throws(SystemError) {
        try checked("seccomp", "") { filter.withUnsafeBytes { berth_load_filter(flags, $0.baseAddress, $0.count) } }
    }

    /// Returns the previous mask. The corresponding call is `umask(2)`.
    package static func setFileCreationMask(_ mask: UInt32) -> UInt32 { umask(mask) }
}
