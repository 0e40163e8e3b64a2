internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// What a command has in common with the process that a container began with, read while that process runs.
struct ExecTarget {
    let container: RunningContainer
    let namespaces: [(kind: NamespaceKinds, descriptor: DescriptorBox)]
    /// A PID namespace of the container's own.
    let processes: DescriptorBox?
    let environment: [String]
    let workingDirectory: String
    let limits: [(limit: ResourceLimit, values: LimitValues)]
    let credentials: ContainerCredentials
    let leases: [DescriptorBox]
    /// Root enters what another user started.
    let isOfOtherUser: Bool
    private let job: String?

    /// - Throws: Where the process has ended meanwhile, too.
    init(_ process: ContainerProcess, _ container: RunningContainer) throws(SystemError) {
        self.container = container
        namespaces = try process.namespaces()
        processes = try process.processNamespace()
        environment = try process.environment()
        workingDirectory = try process.workingDirectory()
        limits = try process.limits()
        credentials = try process.credentials()
        job = try process.cgroupJob()
        leases = process.leases()
        isOfOtherUser = Identity.isRoot && namespaces.contains { $0.kind == .user }
        // Without it the container may have ended, and its mounts would come to life again in a process of its own.
        guard process.isRunning else {
            throw SystemError(call: "open", errno: Errno.ESRCH, subject: "/proc/\(process.process.processID)")
        }
    }

    /// What the command does not share with the container's own processes.
    func notes(_ process: ProcessPlan) -> [String] {
        var notes: [String] = []
        if isOfOtherUser {
            notes.append("note: this is a container of user \(credentials.userID); the command runs as that user")
        }
        if let job = job?.prefix(while: { $0 != "." }), job != Substring(Self.ownJob ?? "") {
            notes.append(
                "note: this session is outside job \(job): the job's limits on CPUs and memory do not hold for the command, and "
                    + "this session's cgroup decides which GPUs it can open")
        }
        let lower = limits.filter { wanted in
            let now = process.limits.first { $0.limit == wanted.limit }?.to
            return now.map { $0.hard < wanted.values.hard } ?? false
        }
        if !lower.isEmpty {
            notes.append(
                "note: limits lower than the container's, by this session's hard limits: "
                    + lower.map(\.limit.rawValue).joined(separator: ", "))
        }
        return notes
    }

    private static var ownJob: String? {
        guard let bytes = try? contents(of: "/proc/self/cgroup", limit: 1 << 20) else { return nil }  // no cgroups
        return FileHolder.job(inCgroup: String(decoding: bytes, as: UTF8.self)).map {
            String($0.prefix { $0 != "." })
        }
    }
}
