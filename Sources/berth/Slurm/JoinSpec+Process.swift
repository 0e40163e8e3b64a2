internal import Allocation
internal import Devices
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

/// What the plan's process differs in from a task that the plugin holds, whose environment has more in it than this process's,
/// such as its rank.
extension JoinSpec {
    /// What is to change in each task: its environment has more in it than this process's, such as its rank.
    mutating func add(_ process: ProcessPlan, outside: [String], isRoot: Bool = false) {
        // Before the limits, which may be on processes.
        if let first = process.firstProcess, !changes.contains(.continueInside) {
            changes.append(
                .becomeFirstProcess(init: first == .`init`, readOnly: isRoot ? LaunchPlan.readOnlyPaths : []))
        }
        // By their bytes: two names that look alike may be two variables.
        let names = Set(process.environment.map { Self.name($0).kernelBytes })
        for entry in outside where !names.contains(Self.name(entry).kernelBytes) {
            changes.append(.unsetVariable(Self.name(entry)))
        }
        let same = Set(outside.map(\.kernelBytes))
        for entry in process.environment where !same.contains(entry.kernelBytes) { changes.append(.setVariable(entry)) }
        for change in process.limits { add(change.limit, change.to.soft, change.to.hard) }
        // These are at their hard limit here, but Slurm would give each task the soft limit of the submitting shell.
        for limit in [ResourceLimit.lockedMemory, .stack, .openFiles]
        where !process.limits.contains(where: { $0.limit == limit }) {
            guard let now = try? StartingState.callersValue(of: limit) else { continue }  // unknown to this kernel
            add(limit, now.hard, now.hard)
        }
        if let kept = process.boundingCapabilities { changes.append(.keepCapabilities(kept)) }
        if process.noNewPrivileges { changes.append(.noNewPrivileges) }
        for filter in process.filters {
            changes.append(.filter(flags: filter.flags, instructions: filter.instructions))
        }
    }

    /// Slurm would set the submitting shell's soft limit again, unless it finds none to set.
    private mutating func add(_ limit: ResourceLimit, _ soft: UInt64, _ hard: UInt64) {
        changes.append(.unsetVariable("SLURM_RLIMIT_" + limit.rawValue.uppercased()))
        changes.append(.limit(number: limit.number, soft: soft, hard: hard))
    }

    /// Each task has its own list of GPUs, so each renumbers it by the GPUs that the container shows.
    mutating func renumber(_ selection: DeviceSelection, _ vendor: DeviceNode.Vendor?) {
        if selection.hostIndex == selection.containerIndex { return }
        renumbering = Renumbering(
            hostIndex: selection.hostIndex, containerIndex: selection.containerIndex, isAMD: vendor == .amd)
    }

    /// `--profile pytorch`: what no variable set before is each task's own number.
    /// - Parameter chosen: Variables that the user has set, which stay.
    mutating func addRanks(chosen: [LaunchOptions.Variable]) {
        for rank in PyTorchVariables.perTask where !chosen.contains(where: { $0.name == rank.name }) {
            // One that the job's environment brings is of another step.
            changes.append(.unsetVariable(rank.name))
            changes.append(.copyVariable(to: rank.name, from: rank.source))
        }
    }

    /// Of Slurm's PMIx: only the tasks have its variables.
    mutating func addPMIx() {
        for variable in PMIxVariables.perTask {
            changes.append(.copyVariable(to: variable.name, from: variable.source))
        }
    }

    static func name(_ entry: String) -> String { String(entry.prefix { $0 != "=" }) }
}
