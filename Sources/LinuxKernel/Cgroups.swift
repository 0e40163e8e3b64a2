/// The cgroups of a process and their mount points, for both versions of cgroups(7).
package struct CgroupMembership: Equatable, Sendable {
    package struct Place: Equatable, Sendable {
        /// The controllers of a version 1 hierarchy; empty in version 2.
        package let controllers: [String]
        /// The path in `/proc/PID/cgroup`.
        package let path: String
        /// The directory in the mounted hierarchy.
        package let directory: String

        package init(controllers: [String], path: String, directory: String) {
            self.controllers = controllers
            self.path = path
            self.directory = directory
        }
    }

    /// The version 1 cgroups, one per hierarchy.
    package let separate: [Place]
    /// The version 2 cgroup.
    package let unified: Place?

    package func place(of controller: String) -> Place? { separate.first { $0.controllers.contains(controller) } }

    /// - Throws: `SystemError` if /proc is unreadable or the process has exited.
    package init(of process: String = "self") throws(SystemError) {
        let cgroups = try contents(of: "/proc/\(process)/cgroup", limit: 1 << 20)
        let mounts = try contents(of: "/proc/self/mountinfo", limit: 16 << 20)
        self.init(cgroups: String(decoding: cgroups, as: UTF8.self), mounts: String(decoding: mounts, as: UTF8.self))
    }

    package init(separate: [Place], unified: Place?) {
        self.separate = separate
        self.unified = unified
    }

    /// Parses /proc/PID/cgroup, `HIERARCHY:CONTROLLERS:PATH`, and /proc/PID/mountinfo.
    init(cgroups: String, mounts: String) {
        let mounted = mounts.split(separator: "\n").compactMap { CgroupMount(line: $0) }
        var separate: [Place] = []
        var unified: Place?
        for line in cgroups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let path = String(fields[2])
            let controllers = fields[1].split(separator: ",").map(String.init)
            // The last mount covers earlier ones.
            let mount = mounted.last { mount in
                fields[0] == "0" ? mount.isUnified : !mount.isUnified && controllers.allSatisfy(mount.options.contains)
            }
            guard let directory = mount?.directory(of: path) else { continue }
            let place = Place(controllers: controllers, path: path, directory: directory)
            if fields[0] == "0" { unified = place } else { separate.append(place) }
        }
        self.separate = separate
        self.unified = unified
    }
}

/// A line of mountinfo for a cgroup hierarchy.
private struct CgroupMount {
    let root: String
    let point: String
    let isUnified: Bool
    let options: [String]

    init?(line: Substring) {
        let fields = line.split(separator: " ").map(String.init)
        guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3,
            ["cgroup", "cgroup2"].contains(fields[dash + 1])
        else { return nil }
        root = fields[3]
        point = fields[4]
        isUnified = fields[dash + 1] == "cgroup2"
        options = fields[dash + 3].split(separator: ",").map(String.init)
    }

    /// A container may mount only a part of a hierarchy. Returns `nil` for paths outside of it.
    func directory(of path: String) -> String? {
        if root == "/" { return path == "/" ? point : point + path }
        if path == root { return point }
        return path.hasPrefix(root + "/") ? point + path.dropFirst(root.utf8.count) : nil
    }
}
