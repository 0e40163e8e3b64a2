internal import LinuxKernel

/// Explains why mounting overlayfs with `userxattr` failed. Called only after a failure.
package enum OverlayAdvice {
    /// - Parameter release: The release of uname(2): `5.10.0-32-amd64`.
    /// - Returns: `nil` if the kernel is new enough.
    package static func tooOld(_ release: String) -> String? {
        let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).map { Int($0) ?? 0 }
        guard let major = numbers.first, let minor = numbers.dropFirst().first else { return nil }
        guard (major, minor) < (5, 11) else { return nil }
        return
            "this is Linux \(release): overlayfs for ordinary users, with user.* attributes, needs Linux 5.11"
    }

    static var hint: String {
        // If unreadable, do not mention the kernel's version.
        let release = (try? contents(of: "/proc/sys/kernel/osrelease", limit: 256)) ?? []  // unreadable: unknown
        return tooOld(String(decoding: release.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
            ?? "overlayfs in a user namespace needs Linux 5.11 or later, and a store that is not itself on overlayfs"
    }
}
