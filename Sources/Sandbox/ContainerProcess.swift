package import LinuxKernel

/// A process of a container, pinned by descriptor: what is read below `/proc/PID` is this process's or an error, whoever has
/// its number by then.
package struct ContainerProcess: Sendable {
    package let process: OtherProcess
    /// `/proc/PID`.
    let directory: DescriptorBox

    package var isRunning: Bool { OtherProcess(process.processID, in: directory.descriptor) != nil }

    /// The namespaces that are not this process's own, the user namespace first; without the PID namespace.
    package func namespaces() throws(SystemError) -> [(kind: NamespaceKinds, descriptor: DescriptorBox)] {
        let here = try OwnedFileDescriptor(opening: "/proc/self", .readOnly | .directory)
        var found: [(NamespaceKinds, DescriptorBox)] = []
        for (kind, name) in NamespaceKinds.names
        where try directory.descriptor.linkTarget("ns/\(name)") != here.linkTarget("ns/\(name)") {
            // A magic link: followed, it is the namespace itself.
            found.append((kind, DescriptorBox(try directory.descriptor.open("ns/\(name)", .readOnly))))
        }
        return found
    }

    /// The PID namespace that is not this process's own, which only children can be in.
    package func processNamespace() throws(SystemError) -> DescriptorBox? {
        let here = try OwnedFileDescriptor(opening: "/proc/self", .readOnly | .directory)
        guard try directory.descriptor.linkTarget("ns/pid") != here.linkTarget("ns/pid") else { return nil }
        return DescriptorBox(try directory.descriptor.open("ns/pid", .readOnly))
    }

    /// `NAME=VALUE` each, as it was started.
    package func environment() throws(SystemError) -> [String] {
        try read("environ").split(separator: 0).map { RawText.string($0) }
    }

    package func arguments() throws(SystemError) -> [String] {
        var words = try read("cmdline").split(separator: 0, omittingEmptySubsequences: false)
        if words.last?.isEmpty == true { words.removeLast() }
        return words.map { RawText.string($0) }
    }

    /// Its root directory, with everything that is mounted there. A magic link: followed, it is the directory itself.
    package func root() throws(SystemError) -> DescriptorBox {
        DescriptorBox(try directory.descriptor.open("root", .path | .directory))
    }

    /// Its working directory as a path inside; to be resolved there and never here.
    package func workingDirectory() throws(SystemError) -> String {
        RawText.string(try directory.descriptor.linkTarget("cwd")[...])
    }

    /// Every limit that the kernel shows, by `/proc/PID/limits`: prlimit(2) would want a capability.
    package func limits() throws(SystemError) -> [(limit: ResourceLimit, values: LimitValues)] {
        let text = String(decoding: try read("limits"), as: UTF8.self)
        return ResourceLimit.allCases.compactMap { limit in
            OtherProcess.limit(limit, in: text).map { (limit, $0) }
        }
    }

    /// Of its control group, the job and step of Slurm's: `7` or `7.0`; `nil` outside of one.
    package func cgroupJob() throws(SystemError) -> String? {
        FileHolder.job(inCgroup: String(decoding: try read("cgroup"), as: UTF8.self))
    }

    package func credentials() throws(SystemError) -> ContainerCredentials {
        let text = try read("status")
        guard let found = ContainerCredentials(status: text) else {
            throw SystemError(call: "read", errno: Errno.ESRCH, subject: "/proc/\(process.processID)/status")
        }
        return found
    }

    /// What it keeps open so that no collection removes the files that the container runs from: the leases of Berth, by the
    /// name of their files, or the socket in which several of them wait. Empty where it has closed them, or the kernel gives
    /// them to no other process (`ptrace_scope` 3). At most `mostLeases`: another user's process may have any number of such files.
    package func leases() -> [DescriptorBox] {
        guard let handle = try? ProcessHandle(process.processID), isRunning,  // before Linux 5.6: without
            let files = try? directory.descriptor.open("fd", .readOnly | .directory),  // ended
            let names = try? files.entries()  // likewise
        else { return [] }
        var found: [DescriptorBox] = []
        for name in names where found.count < Self.mostLeases {
            guard let number = Int32(name.displayPath), number > 2,
                let target = try? files.linkTarget(name)  // closed
            else { continue }
            let isSocket = target.starts(with: "socket:".utf8)
            let path = target.displayPath
            guard isSocket || path.hasSuffix("/lease") || path.hasSuffix("/lease (deleted)"),
                let copy = try? handle.descriptor(number)  // closed meanwhile
            else { continue }
            guard isSocket ? copy.isBundle : (try? copy.status().kind) == .regular else { continue }  // not to be told: no lease
            found.append(DescriptorBox(copy))
        }
        return found
    }

    /// A launch hands on this many single leases; more go into one socket.
    package static let mostLeases = 64

    private func read(_ name: String) throws(SystemError) -> [UInt8] {
        try directory.descriptor.open(name, .readOnly).readAll()
    }
}

/// Who a process is and what it may do: proc_pid_status(5). Numbers as the reader's user namespace counts.
package struct ContainerCredentials: Equatable, Sendable {
    package let userID: UInt32
    package let groupID: UInt32
    package let groups: [UInt32]
    /// The bounding set, by the numbers of capabilities(7).
    package let bounding: [Int]
    package let noNewPrivileges: Bool

    init?(status: [UInt8]) {
        var values: [String: [String]] = [:]
        for line in ByteLines(status) {
            let parts = line.split(separator: UInt8(ascii: ":"), maxSplits: 1)
            guard parts.count == 2 else { continue }
            values[String(decoding: parts[0], as: UTF8.self)] = parts[1].split(whereSeparator: {
                $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ")
            }).map { String(decoding: $0, as: UTF8.self) }
        }
        guard let users = values["Uid"], let groups = values["Gid"], users.count == 4, groups.count == 4,
            let user = UInt32(users[1]), let group = UInt32(groups[1]),
            let bounding = values["CapBnd"]?.first.flatMap({ UInt64($0, radix: 16) })
        else { return nil }
        (userID, groupID) = (user, group)
        noNewPrivileges = values["NoNewPrivs"] != ["0"]
        self.groups = (values["Groups"] ?? []).compactMap { UInt32($0) }
        self.bounding = (0..<64).filter { bounding >> UInt64($0) & 1 == 1 }
    }
}
