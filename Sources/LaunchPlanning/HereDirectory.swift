internal import LinuxKernel

/// The current directory as `--here` mounts it: at the same place inside, and the working directory.
enum HereDirectory {
    /// - Parameter cwd: The caller's, empty where it is gone.
    static func path(_ cwd: String) throws(OptionError) -> String {
        guard cwd.hasPrefix("/") else { throw .noWorkingDirectory(".") }
        var components: [Substring] = []
        // A `PWD` may hold `..`; what counts is where the mount comes to lie.
        for component in cwd.split(separator: "/") {
            switch component {
            case ".": break
            case "..": if !components.isEmpty { components.removeLast() }
            default: components.append(component)
            }
        }
        let path = "/" + components.joined(separator: "/")
        if hidesImage(components) { throw .hidesImage(path) }
        return path
    }

    /// Whether a mount there takes away files that programs of an image need.
    private static func hidesImage(_ components: [Substring]) -> Bool {
        guard let first = components.first else { return true }
        switch first {
        // Nothing of a user's own lies here.
        case "bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr": return true
        case "dev": return components.count < 3 || components[1] != "shm"
        case "var": return components.count < 2 || (components.count == 2 && components[1] != "tmp")
        case "opt", "run": return components.count == 1
        default: return false
        }
    }
}
