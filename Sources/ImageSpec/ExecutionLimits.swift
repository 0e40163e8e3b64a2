extension ImageConfig.Execution {
    /// The maximum size of arguments and environment that execve(2) allows with any stack limit: three quarters of 8
    /// MiB. See `bprm_stack_limits` in the kernel's fs/exec.c.
    package static let maximumBytes = 6 << 20

    /// Why no container of the image can be started.
    package enum Excess: Equatable, Sendable {
        case variable(name: String, bytes: Int, limit: Int)
        case total(bytes: Int, limit: Int)
    }

    /// The excess over the limits of execve(2); `nil` if a container can be started. Arguments that are too long can be
    /// replaced at launch, but variables are always passed.
    ///
    /// - Parameter pageBytes: A string may take 32 pages including its final NUL (`MAX_ARG_STRLEN`).
    package func excess(pageBytes: Int) -> Excess? {
        let limit = 32 * pageBytes - 1
        for entry in env where entry.utf8.count > limit {
            let name = String(decoding: entry.utf8.prefix { $0 != UInt8(ascii: "=") }.prefix(64), as: UTF8.self)
            return .variable(name: name, bytes: entry.utf8.count, limit: limit)
        }
        // A pointer and a NUL for each string.
        let bytes = (env + entrypoint + cmd).reduce(0) { $0 + $1.utf8.count + 9 }
        let rest = (user ?? "").utf8.count + (workingDir ?? "").utf8.count
        return bytes + rest > Self.maximumBytes ? .total(bytes: bytes + rest, limit: Self.maximumBytes) : nil
    }
}

/// Limits for image documents when they are read and stored.
package enum DocumentLimits {
    /// The maximum size of a document, in bytes.
    package static let maximumBytes = 16 << 20
}
