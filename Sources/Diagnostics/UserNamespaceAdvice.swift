internal import LinuxKernel

/// Explains why creating a user namespace failed. Called only after a failure.
package enum UserNamespaceAdvice {
    package static func hint(for errno: Int32) -> String {
        if number("/proc/sys/user/max_user_namespaces") == 0 {
            return
                "user namespaces are disabled: an administrator must set user.max_user_namespaces (sysctl) above 0"
        }
        if number("/proc/sys/kernel/unprivileged_userns_clone") == 0 {
            return "an administrator must allow them: sysctl kernel.unprivileged_userns_clone=1"
        }
        if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 {
            return "AppArmor restricts them: an administrator must install a profile that allows userns for berth, "
                + "or set sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        }
        switch errno {
        case Errno.ENOSPC:
            return
                "the limit on user namespaces is reached: sysctl user.max_user_namespaces, or a limit on nesting (32)"
        case Errno.EINVAL: return "this process has more than one thread, or the kernel has no user namespaces"
        default:
            return
                "a seccomp filter or security module may deny it; `unshare -Ur true` shows whether only Berth is "
                + "affected"
        }
    }

    private static func number(_ path: String) -> Int? {
        // A missing file restricts nothing.
        guard let bytes = try? contents(of: path, limit: 64) else { return nil }  // absent: no limit
        return Int(String(decoding: bytes.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
    }
}
