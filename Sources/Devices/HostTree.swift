package import LinuxKernel

/// The host's files below a prefix: `/` in earnest, a made-up tree in tests.
package struct HostTree: Sendable {
    private let prefix: String

    /// - Parameter root: Absolute.
    package init(root: String = "/") { prefix = root == "/" ? "" : root }

    /// The path under which the kernel knows it.
    package func path(_ path: String) -> String { prefix + path }

    /// Nothing where the file is absent or unreadable: what a driver does not show is not there.
    package func contents(_ path: String, limit: Int = 1 << 20) -> [UInt8]? {
        try? LinuxKernel.contents(of: prefix + path, limit: limit)
    }

    /// Nothing where the file is absent only.
    func readable(_ path: String, limit: Int = 1 << 20) throws(SystemError) -> String? {
        do throws(SystemError) {
            return String(decoding: try LinuxKernel.contents(of: prefix + path, limit: limit), as: UTF8.self)
        } catch {
            if error.isAbsence { return nil }
            throw error
        }
    }

    package func text(_ path: String) -> String? { contents(path).map { String(decoding: $0, as: UTF8.self) } }

    package func exists(_ path: String) -> Bool { status(path) != nil }

    package func status(_ path: String, followLinks: Bool = true) -> FileStatus? {
        try? FileStatus(of: prefix + path, followLinks: followLinks)  // absent is an answer
    }

    /// The names in a directory, sorted; nothing where there is none.
    package func names(_ path: String) throws(SystemError) -> [String] {
        (try OwnedFileDescriptor.entries(of: prefix + path) ?? []).map(\.displayPath).sorted()
    }

    /// The same for directories of device nodes. One that this user may not read grants nothing, so a launch can go on.
    func names(_ path: String, unreadable: inout [SystemError]) throws(SystemError) -> [String] {
        do throws(SystemError) { return try names(path) } catch {
            guard error.errno == Errno.EACCES else { throw error }
            unreadable.append(error)
            return []
        }
    }

    /// Where a symbolic link points, as it is written; `nil` for what is none.
    package func link(_ path: String) -> String? {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")),
            let directory = try? OwnedFileDescriptor(opening: prefix + path[..<slash] + "/", .path | .directory)  // absent: no link
        else { return nil }
        let name = String(path[path.utf8.index(after: slash)...])
        return try? directory.linkTarget(name).displayPath  // no link
    }

    /// The file behind links of its last component, at most eight.
    package func resolved(_ path: String) -> String {
        var path = path
        for _ in 0..<8 {
            guard let target = link(path) else { break }
            let directory = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) } ?? ""
            path = target.hasPrefix("/") ? target : Self.normalized(directory + "/" + target)
        }
        return path
    }

    static func normalized(_ path: String) -> String {
        var components: [Substring] = []
        for component in path.split(separator: "/") where component != "." {
            if component == ".." { _ = components.popLast() } else { components.append(component) }
        }
        return "/" + components.joined(separator: "/")
    }

    /// Whether this process may use a device node: the mode says so, and so does the device cgroup. Nothing is opened, as
    /// the first opening wakes a GPU that nobody keeps awake, which takes seconds; access(2) asks the cgroup as open(2)
    /// does, before the driver hears of it. Whether there is a driver behind the node is not asked.
    package func isGranted(_ node: DeviceNode) -> Bool { OwnedFileDescriptor.mayReadAndWrite(prefix + node.path) }

    /// The node under the path by which the kernel knows it.
    package func node(_ path: String) -> DeviceNode { DeviceNode(prefix + path) }
}
