internal import LinuxKernel

/// The memory limit of this process's cgroups in bytes: cgroups(7), both versions.
package enum CgroupMemory {
    /// The lowest limit between this process's cgroup and the root; `nil` if there is none or all are unreadable.
    package static var limit: UInt64? {
        guard let bytes = try? contents(of: "/proc/self/cgroup", limit: 65536) else { return nil }  // no cgroups
        return limit(cgroups: String(decoding: bytes, as: UTF8.self)) { path in
            guard let bytes = try? contents(of: path, limit: 64) else { return nil }  // absent at the hierarchy's root
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// The lines of /proc/PID/cgroup: `HIERARCHY:CONTROLLERS:PATH`.
    static func limit(cgroups: String, read: (String) -> String?) -> UInt64? {
        var smallest: UInt64?
        for line in cgroups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let base: String
            let file: String
            if fields[1].split(separator: ",").contains("memory") {
                (base, file) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            } else if fields[0] == "0" {
                (base, file) = ("/sys/fs/cgroup", "memory.max")
            } else {
                continue
            }
            var components = fields[2].split(separator: "/")
            while true {
                let path = ([base] + components.map(String.init) + [file]).joined(separator: "/")
                if let value = read(path).flatMap({ UInt64($0.filter { !$0.isWhitespace }) }), value < 1 << 60 {
                    smallest = min(smallest ?? value, value)
                }
                if components.popLast() == nil { break }
            }
        }
        return smallest
    }
}
