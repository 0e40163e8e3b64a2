/// The cgroups that a process is in, and where they are mounted: cgroups(7), both versions.
package struct CgroupMembership: Equatable, Sendable {
    package struct Place: Equatable, Sendable {
        /// Of version 1; empty in version 2.
        package let controllers: [String]
        /// As `/proc/PID/cgroup` has it.
        package let path: String
        /// Where it can be opened.
        package let directory: String

        package init(controllers: [String], path: String, directory: String) {
            self.controllers = controllers
            self.path = path
            self.directory = directory
        }
    }

    /// Version 1, a hierarchy each.
    package let separate: [Place]
    /// Version 2.
    package let unified: Place?

    package func place(of controller: String) -> Place? { separate.first { $0.controllers.contains(controller) } }

    /// - Throws: `SystemError` where /proc can not be read, or the process is gone.
    package init(of process: String = "self") throws(SystemError) {
        let cgroups = try contents(of: "/proc/\(process)/cgroup", limit: 1 << 20)
        let mounts = try contents(of: "/proc/self/mountinfo", limit: 16 << 20)
        self.init(cgroups: String(decoding: cgroups, as: UTF8.self), mounts: String(decoding: mounts, as: UTF8.self))
    }

    package init(separate: [Place], unified: Place?) {
        self.separate = separate
        self.unified = unified
    }

    /// The lines of /proc/PID/cgroup, `HIERARCHY:CONTROLLERS:PATH`, and those of /proc/PID/mountinfo.
    init(cgroups: String, mounts: String) {
        let mounted = mounts.split(separator: "\n").compactMap { CgroupMount(line: $0) }
        var separate: [Place] = []
        var unified: Place?
        for line in cgroups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let path = String(fields[2])
            let controllers = fields[1].split(separator: ",").map(String.init)
            // The last one, as it covers the others.
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

/// A line of mountinfo that mounts a hierarchy.
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

    /// A part of a hierarchy may be mounted, as in a container; what lies outside can not be reached.
    func directory(of path: String) -> String? {
        if root == "/" { return path == "/" ? point : point + path }
        if path == root { return point }
        return path.hasPrefix(root + "/") ? point + path.dropFirst(root.utf8.count) : nil
    }
}
