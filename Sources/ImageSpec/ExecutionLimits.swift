extension ImageConfig.Execution {
    /// What execve(2) takes of arguments and environment together under any limit of the stack: three quarters of 8 MiB.
    /// See `bprm_stack_limits` in the kernel's fs/exec.c.
    package static let maximumBytes = 6 << 20

    /// Why no container of the image could be started.
    package enum Excess: Equatable, Sendable {
        case variable(name: String, bytes: Int, limit: Int)
        case total(bytes: Int, limit: Int)
    }

    /// What exceeds the limits of execve(2); `nil` where a container can be started. Arguments that are too long by
    /// themselves can be replaced at launch, variables are always passed.
    ///
    /// - Parameter pageBytes: A string may take 32 pages with the byte that ends it (`MAX_ARG_STRLEN`).
    package func excess(pageBytes: Int) -> Excess? {
        let limit = 32 * pageBytes - 1
        for entry in env where entry.utf8.count > limit {
            let name = String(decoding: entry.utf8.prefix { $0 != UInt8(ascii: "=") }.prefix(64), as: UTF8.self)
            return .variable(name: name, bytes: entry.utf8.count, limit: limit)
        }
        // A pointer and a byte at the end for each.
        let bytes = (env + entrypoint + cmd).reduce(0) { $0 + $1.utf8.count + 9 }
        let rest = (user ?? "").utf8.count + (workingDir ?? "").utf8.count
        return bytes + rest > Self.maximumBytes ? .total(bytes: bytes + rest, limit: Self.maximumBytes) : nil
    }
}

/// Documents of images, as they are read and as they are kept in the store.
package enum DocumentLimits {
    /// Of one document, in bytes.
    package static let maximumBytes = 16 << 20
}
