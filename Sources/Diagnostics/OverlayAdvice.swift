internal import LinuxKernel

/// Why overlayfs can not be mounted the way Berth does it, with `userxattr`. Looks only after a failure.
package enum OverlayAdvice {
    /// - Parameter release: As uname(2) has it: `5.10.0-32-amd64`.
    /// - Returns: `nil` where the kernel is not to blame.
    package static func tooOld(_ release: String) -> String? {
        let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).map { Int($0) ?? 0 }
        guard let major = numbers.first, let minor = numbers.dropFirst().first else { return nil }
        guard (major, minor) < (5, 11) else { return nil }
        return
            "this is Linux \(release): overlayfs that users may mount, and whose marks they may write, came with 5.11"
    }

    static var hint: String {
        // Unreadable: the kernel is not blamed.
        let release = (try? contents(of: "/proc/sys/kernel/osrelease", limit: 256)) ?? []
        return tooOld(String(decoding: release.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
            ?? "overlayfs in a user namespace needs Linux 5.11 or later, and a store that is not itself on overlayfs; "
            + "see docs/how-to/troubleshooting.md"
    }
}
