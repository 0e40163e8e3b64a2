package import LinuxKernel

extension Report {
    /// A file that decides what runs, but that another user could have written.
    ///
    /// - Parameters:
    ///   - kind: `store`, `configuration`, `hook`.
    ///   - hint: The remedy for a wrong owner.
    package init(refusing kind: String, _ path: String, _ fault: UntrustedPath, hint: String? = nil) {
        let place = fault.path == path ? "" : "\(fault.path) is "
        switch fault.reason {
        case .owner(let owner):
            let expected = fault.expected.map { $0 == 0 ? "root" : "\($0)" }
            self.init(
                "refusing to use \(kind) \(path): \(place)owned by uid \(owner), expected "
                    + expected.joined(separator: " or "),
                hint: hint ?? "change the owner with chown, or use a file of your own")
        case .mode(let permissions):
            let writers = permissions & 0o002 != 0 ? "other users" : "its group"
            self.init(
                "refusing to use \(kind) \(path): \(place)writable by \(writers) (mode "
                    + "\(String(permissions, radix: 8)))",
                hint: Self.remedy(for: fault, permissions))
        }
    }

    /// Suggests chmod only to a user who can change the mode, and not for shared directories such as /tmp.
    private static func remedy(for fault: UntrustedPath, _ permissions: UInt32) -> String {
        if permissions & 0o1000 != 0 { return "use a directory of your own below \(fault.path)" }
        if let owner = fault.owner, owner != Identity.userID, !Identity.isRoot {
            return "ask uid \(owner), who owns \(fault.path), for chmod go-w, or use a path of your own"
        }
        return "chmod go-w \(fault.path)"
    }
}
