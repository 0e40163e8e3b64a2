internal import LinuxKernel

enum ContainerShell {
    /// The first shell that the container has, for a process that stands in it; `nil` if it has none.
    ///
    /// - Parameter preferred: The user's own, by its path outside.
    static func path(preferring preferred: String?) -> String? {
        var candidates: [String] = []
        if let preferred, let name = preferred.split(separator: "/").last, preferred.hasPrefix("/") {
            candidates = [preferred, "/bin/\(name)", "/usr/bin/\(name)"]
        }
        candidates += ["/bin/bash", "/usr/bin/bash", "/bin/sh"]
        return candidates.first { (try? FileStatus(of: $0))?.kind == .regular }  // absent: the next
    }
}
