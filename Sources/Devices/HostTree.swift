package import LinuxKernel

/// The host's files below a prefix. The prefix is empty in production and a directory of fake files in tests.
package struct HostTree: Sendable {
    private let prefix: String

    /// - Parameter root: An absolute path.
    package init(root: String = "/") { prefix = root == "/" ? "" : root }

    /// The path with the prefix.
    package func path(_ path: String) -> String { prefix + path }

    /// Returns `nil` if the file is absent or unreadable, which callers treat alike.
    package func contents(_ path: String, limit: Int = 1 << 20) -> [UInt8]? {
        try? LinuxKernel.contents(of: prefix + path, limit: limit)  // absent or unreadable: `nil`
    }

    /// Returns `nil` only if the file is absent.
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
        try? FileStatus(of: prefix + path, followLinks: followLinks)  // absent: `nil`
    }

    /// The sorted names in a directory; empty if the directory is absent.
    package func names(_ path: String) throws(SystemError) -> [String] {
        (try OwnedFileDescriptor.entries(of: prefix + path) ?? []).map(\.displayPath).sorted()
    }

    /// Like `names`, for device directories. A directory that this user cannot read grants no device, so it is no
    /// error.
    func names(_ path: String, unreadable: inout [SystemError]) throws(SystemError) -> [String] {
        do throws(SystemError) { return try names(path) } catch {
            guard error.errno == Errno.EACCES else { throw error }
            unreadable.append(error)
            return []
        }
    }

    /// The target of a symbolic link as it is stored; `nil` if the path is not a link.
    package func link(_ path: String) -> String? {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")),
            let directory = try? OwnedFileDescriptor(  // absent: no link
                opening: prefix + path[..<slash] + "/", .path | .directory)
        else { return nil }
        let name = String(path[path.utf8.index(after: slash)...])
        return try? directory.linkTarget(name).displayPath  // no link
    }

    /// Follows links in the last component, at most eight.
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

    /// Whether the mode and the device cgroup allow this process to use a device node. Does not open it, because
    /// opening an idle GPU wakes it, which takes seconds. access(2) checks the cgroup as open(2) does, before the
    /// driver is involved. Does not check that the node has a driver.
    package func isGranted(_ node: DeviceNode) -> Bool { OwnedFileDescriptor.mayReadAndWrite(prefix + node.path) }

    /// The node with the prefix in its path.
    package func node(_ path: String) -> DeviceNode { DeviceNode(prefix + path) }
}
