package import LinuxKernel

/// A container that runs on this node, found by the label of its mounts.
///
/// Nothing keeps a list of running containers. The kernel has one: the mounts of every process, in mountinfo(5).
package struct RunningContainer: Sendable {
    package let label: ContainerLabel
    /// The oldest process first. Those that still are the launcher come last: their environment is not the container's.
    package fileprivate(set) var processes: [OtherProcess]
    package let mounts: [UInt8]
    /// What `/proc/PID/ns/mnt` of its first process reads.
    fileprivate let space: [UInt8]
    /// The owner of its processes, as the kernel shows it.
    package let userID: UInt32
    /// Of a container that was found to be entered: its processes may end before that.
    fileprivate var pinned: Pinned?

    fileprivate struct Pinned {
        let namespaces: [(kind: NamespaceKinds, descriptor: DescriptorBox)]
        let processes: DescriptorBox?
    }

    /// Whether no process of it has become its command yet.
    package var isStarting: Bool { processes.first?.isLauncher ?? true }

    /// Those of this user, in the order of their first processes' start; as root, all users'. The container that this process
    /// is in itself is not among them.
    package static func all() throws(SystemError) -> [RunningContainer] {
        try scan { _ in true }
    }

    /// The first of this user's containers that `matches` knows by its label, with its namespaces open: they stay when its
    /// processes end. One that has ended meanwhile is none.
    package static func find(_ matches: (ContainerLabel) -> Bool) throws(SystemError) -> RunningContainer? {
        for var container in try scan(matches) {
            do throws(SystemError) { container.pinned = try container.open() } catch {
                if error.errno == Errno.ESRCH { continue }
                throw error
            }
            return container
        }
        return nil
    }

    private static func scan(_ matches: (ContainerLabel) -> Bool) throws(SystemError) -> [RunningContainer] {
        let all = try OwnedFileDescriptor(opening: "/proc", .readOnly | .directory)
        let own = try all.linkTarget("self/ns/mnt")
        let isRoot = Identity.isRoot
        var spaces: [[UInt8]] = [own]
        /// Of each space, its container's place in `found`; `nil` where it is none.
        var places: [Int?] = [nil]
        var found: [RunningContainer] = []
        for name in try all.entries() {
            guard let digit = name.first, (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(digit),
                let number = Int(name.displayPath),
                // Of a process that ends meanwhile everything below is gone, and that is all right.
                let directory = try? all.open(name, .readOnly | .directory),
                let status = try? directory.status(), isRoot || status.userID == Identity.userID,
                let space = try? directory.linkTarget("ns/mnt")
            else { continue }
            if let known = spaces.firstIndex(of: space) {
                guard let place = places[known], let process = OtherProcess(number, in: directory) else { continue }
                let later = found[place].processes.firstIndex { process < $0 } ?? found[place].processes.count
                found[place].processes.insert(process, at: later)
                continue
            }
            spaces.append(space)
            places.append(nil)
            guard let mounts = try? directory.open("mountinfo", .readOnly).readAll(),
                let label = label(in: mounts), matches(label), let process = OtherProcess(number, in: directory)
            else { continue }
            places[places.count - 1] = found.count
            found.append(
                RunningContainer(
                    label: label, processes: [process], mounts: mounts, space: space, userID: status.userID))
        }
        return merged(found.sorted { $0.processes[0] < $1.processes[0] })
    }

    /// A process inside may have made a mount namespace of its own, with the same mounts and the same label (bubblewrap,
    /// `unshare -m`): its processes are the container's. A label that another user copied is another container's.
    private static func merged(_ found: [RunningContainer]) -> [RunningContainer] {
        var result: [RunningContainer] = []
        for container in found {
            let first = result.firstIndex {
                !container.label.launch.isEmpty && $0.label.launch == container.label.launch
                    && $0.userID == container.userID
            }
            if let first { result[first].processes += container.processes } else { result.append(container) }
        }
        return result
    }

    /// The label of the first mount that has one; blanks in it are `\040`.
    static func label(in mounts: [UInt8]) -> ContainerLabel? {
        for line in mounts.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "))
            guard let dash = fields.firstIndex(where: { $0.elementsEqual("-".utf8) }), fields.count > dash + 2,
                fields[dash + 2].starts(with: "berth:".utf8)
            else { continue }
            return ContainerLabel(String(decoding: Mounts.unescaped(fields[dash + 2]), as: UTF8.self))
        }
        return nil
    }
}

extension RunningContainer {
    /// Its oldest process that still runs; `nil` where all have ended.
    package func pin() -> ContainerProcess? {
        for process in processes {
            // The number may be another process's by now.
            guard let directory = try? OwnedFileDescriptor(opening: "/proc/\(process.processID)", .readOnly | .directory),
                (try? directory.linkTarget("ns/mnt")) == space,
                OtherProcess(process.processID, in: directory)?.startTicks == process.startTicks
            else { continue }
            return ContainerProcess(process: process, directory: DescriptorBox(directory))
        }
        return nil
    }

    /// The namespaces of its first process that are not this process's own.
    ///
    /// - Throws: `ESRCH` where the container has ended.
    package func namespaces() throws(SystemError) -> [(kind: NamespaceKinds, descriptor: DescriptorBox)] {
        try open().namespaces
    }

    /// The PID namespace of its first process, where it is not this process's own. Only children can be in it.
    package func processNamespace() throws(SystemError) -> DescriptorBox? { try open().processes }

    private func open() throws(SystemError) -> Pinned {
        if let pinned { return pinned }
        while let process = pin() {
            do throws(SystemError) {
                return Pinned(namespaces: try process.namespaces(), processes: try process.processNamespace())
            } catch {
                // Of a process that ended in between; the next one is the oldest then.
                if process.isRunning { throw error }
            }
        }
        throw SystemError(call: "open", errno: Errno.ESRCH, subject: "/proc")
    }

    /// Device nodes of the host that are mounted inside, by their places there.
    package var devices: [String] {
        var nodes: [String] = []
        for line in mounts.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
            guard fields.count > 4, fields[4].starts(with: "/dev/".utf8) else { continue }
            nodes.append(String(decoding: Mounts.unescaped(fields[4]), as: UTF8.self))
        }
        return nodes
    }
}

extension OtherProcess {
    /// A process of Berth's on its way to becoming a command.
    fileprivate var isLauncher: Bool { name == "berth" }

    /// Older, and the container's own rather than the launcher.
    fileprivate static func < (one: OtherProcess, other: OtherProcess) -> Bool {
        if one.isLauncher != other.isLauncher { return other.isLauncher }
        return (one.startTicks, one.processID) < (other.startTicks, other.processID)
    }
}

extension RunningContainer {
    /// Whether a user may mean this one: by its name, `JOB.STEP`, `JOB` or the number of one of its processes.
    package func answers(to text: String) -> Bool {
        guard !text.isEmpty else { return false }
        if text == label.name || text == label.step || text == label.job { return true }
        guard let number = Int(text) else { return false }
        return processes.contains { $0.processID == number }
    }

    /// The job or step of Slurm's in whose control group its first process is; `nil` outside of one, or if it has ended.
    package var cgroupJob: String? {
        (try? pin()?.cgroupJob()) ?? nil  // ended
    }

    /// Its name, else its step, else its first process.
    package var shownName: String {
        !label.name.isEmpty ? label.name : !label.step.isEmpty ? label.step : "\(processes[0].processID)"
    }
}

extension RunningContainer {
    /// How many tasks of a step are in it: different values of Slurm's rank in its processes' environments.
    package var tasks: Int {
        var ranks: [String] = []
        for process in processes {
            // Gone, or not to be read: it counts with the others.
            guard let bytes = try? contents(of: "/proc/\(process.processID)/environ") else { continue }
            for entry in bytes.split(separator: 0) where entry.starts(with: "SLURM_PROCID=".utf8) {
                let rank = String(decoding: entry, as: UTF8.self)
                if !ranks.contains(rank) { ranks.append(rank) }
            }
        }
        return max(1, ranks.count)
    }
}
