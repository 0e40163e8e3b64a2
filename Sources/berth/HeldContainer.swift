internal import Allocation
internal import Devices
internal import LaunchPlanning
internal import LinuxKernel

/// A container on its way to the tasks: descriptors and NUL-terminated words, the same for each. A word's first letter says
/// what it is; Plugin/join.c reads it.
struct HeldContainer {
    private(set) var descriptors: [DescriptorBox] = []
    private(set) var bytes: [UInt8] = []
    var phases: [(String, UInt64)] = []

    /// - Parameter leases: However many, one descriptor holds them: an image may have hundreds of layers.
    mutating func add(
        namespaces: [DescriptorBox], directory: DescriptorBox?, leases: [DescriptorBox]
    ) throws(SystemError) {
        for namespace in namespaces { add("N", namespace) }
        if let directory { add("D", directory) }
        if !leases.isEmpty { add("K", leases.count == 1 ? leases[0] : try LocalSockets.bundle(leases)) }
    }

    private mutating func add(_ word: String, _ descriptor: DescriptorBox? = nil) {
        bytes += word.kernelBytes
        bytes.append(0)
        if let descriptor { descriptors.append(descriptor) }
    }

    mutating func add(root: DescriptorBox) { add("R", root) }

    /// What is to change in each task: its environment has more in it than this process's, such as its rank.
    mutating func add(_ process: ProcessPlan, outside: [String]) {
        // By their bytes: two names that look alike may be two variables.
        let names = Set(process.environment.map { Self.name($0).kernelBytes })
        for entry in outside where !names.contains(Self.name(entry).kernelBytes) { add("-" + Self.name(entry)) }
        let same = Set(outside.map(\.kernelBytes))
        for entry in process.environment where !same.contains(entry.kernelBytes) { add("+" + entry) }
        for change in process.limits { add(change.limit, change.to.soft, change.to.hard) }
        // These are at their hard limit here, but Slurm would give each task the soft limit of the submitting shell.
        for limit in [ResourceLimit.lockedMemory, .stack, .openFiles]
        where !process.limits.contains(where: { $0.limit == limit }) {
            guard let now = try? StartingState.callersValue(of: limit) else { continue }  // unknown to this kernel
            add(limit, now.hard, now.hard)
        }
        if let kept = process.boundingCapabilities { add("C" + kept.map(String.init).joined(separator: ",")) }
        add("P")
    }

    /// Slurm would set the submitting shell's soft limit again, unless it finds none to set.
    private mutating func add(_ limit: ResourceLimit, _ soft: UInt64, _ hard: UInt64) {
        add("-SLURM_RLIMIT_" + limit.rawValue.uppercased())
        add("L\(limit.number) \(soft) \(hard)")
    }

    /// The tasks' lists of GPUs are each its own, and so may be the GPUs that they count: they are told which are shown. In
    /// front of the namespaces, while the nodes are the host's.
    mutating func count(_ decision: DeviceDecision, _ vendor: HostDevices.Vendor?) {
        if decision.counted == decision.shown { return }
        let nodes = decision.counted.map { decision.shown.contains($0) ? $0 : "-" + $0 }
        add((vendor == .amd ? "A" : "G") + nodes.joined(separator: ","))
    }

    /// `--profile pytorch`: what no variable set before is each task's own number.
    mutating func addRanks(_ process: ProcessPlan) {
        for rank in PyTorchVariables.perTask
        where !process.environment.contains(where: { $0.hasPrefix(rank.name + "=") }) {
            add("=\(rank.name)=\(rank.source)")
        }
    }

    /// Of Slurm's PMIx: only the tasks have its variables.
    mutating func addPMIx() {
        for variable in PMIxVariables.perTask { add("=\(variable.name)=\(variable.source)") }
    }

    static func name(_ entry: String) -> String { String(entry.prefix { $0 != "=" }) }
}
