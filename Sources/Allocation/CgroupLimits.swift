package import LinuxKernel

/// The limits of a process's cgroups. Each is the lowest one between its cgroup and the root.
package struct CgroupLimits: Equatable, Sendable {
    package struct Limit: Equatable, Sendable {
        /// Bytes, processes, or CPUs with two decimals.
        package let value: String
        /// The path of the cgroup with that limit.
        package let cgroup: String
    }

    package let memory: Limit?
    package let cpuQuota: Limit?
    package let processes: Limit?

    package init(_ membership: CgroupMembership) {
        self.init(membership) { path in
            guard let bytes = try? contents(of: path, limit: 256) else { return nil }  // absent at the root
            return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        }
    }

    init(_ membership: CgroupMembership, read: (String) -> String?) {
        func tightest(_ controller: String, _ value: (String) -> Double?) -> (Double, String)? {
            let place = membership.place(of: controller) ?? membership.unified
            guard let place else { return nil }
            var directory = place.directory
            var path = place.path
            var best: (Double, String)?
            while true {
                if let found = value(directory), found < best?.0 ?? .infinity { best = (found, path) }
                guard path.utf8.count > 1, let slash = path.lastIndex(of: "/"),
                    let cut = directory.lastIndex(of: "/")
                else { return best }
                path = slash == path.startIndex ? "/" : String(path[..<slash])
                directory = String(directory[..<cut])
            }
        }
        let isUnified = { (controller: String) in membership.place(of: controller) == nil }
        memory = tightest("memory") { directory in
            let name = isUnified("memory") ? "memory.max" : "memory.limit_in_bytes"
            return read(directory + "/" + name).flatMap { UInt64($0) }.flatMap { $0 < 1 << 60 ? Double($0) : nil }
        }.map { Limit(value: "\(UInt64($0.0))", cgroup: $0.1) }
        processes = tightest("pids") { directory in
            read(directory + "/pids.max").flatMap { UInt64($0) }.map { Double($0) }
        }.map { Limit(value: "\(UInt64($0.0))", cgroup: $0.1) }
        cpuQuota = tightest("cpu") { directory in
            if isUnified("cpu") {
                let words = read(directory + "/cpu.max")?.split(separator: " ").map { UInt64($0) } ?? []
                guard words.count == 2, let quota = words[0], let period = words[1], period > 0 else { return nil }
                return Double(quota) / Double(period)
            }
            guard let quota = read(directory + "/cpu.cfs_quota_us").flatMap({ UInt64($0) }),
                let period = read(directory + "/cpu.cfs_period_us").flatMap({ UInt64($0) }), period > 0
            else { return nil }
            return Double(quota) / Double(period)
        }.map { limit in
            let hundredths = UInt64(limit.0 * 100)
            return Limit(
                value: "\(hundredths / 100).\(String(hundredths % 100 + 100).dropFirst())", cgroup: limit.1)
        }
    }
}
