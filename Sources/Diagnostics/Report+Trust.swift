package import LinuxKernel

extension Report {
    /// A file that decides what runs, and that another user could have written.
    ///
    /// - Parameters:
    ///   - kind: What the file is: `store`, `configuration`.
    ///   - hint: For a wrong owner; a wrong mode has the same remedy everywhere.
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
            self.init(
                "refusing to use \(kind) \(path): \(place)writable by other users (mode \(String(permissions, radix: 8)))",
                hint: "chmod go-w \(fault.path)")
        }
    }
}
