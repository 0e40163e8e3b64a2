internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

extension LaunchPlanner {
    /// What the planner has to know where something is required; reading it costs a launch nothing otherwise.
    func requirementFacts(_ devices: HostDevices) throws(SystemError) -> RequirementFacts {
        guard !options.requirements.isEmpty || !request.policy.requirements.isEmpty else {
            return RequirementFacts()
        }
        return RequirementFacts(
            fabrics: try FabricDevices().devices.map { device in
                RequirementFacts.FabricDevice(
                    node: device.node, name: device.name, driver: device.driver,
                    port: device.isActive.map { $0 ? .active : .down } ?? .unknown)
            },
            ownGPUs: devices.gpus.count,
            // Without a /dev/shm there is none inside either.
            sharedMemory: try? OwnedFileDescriptor(opening: "/dev/shm", .path | .directory).space(),
            lockedMemory: .onThisHost())
    }

    func requireLibraries(
        _ plan: LaunchPlan, _ image: ContainerImage, _ facts: RequirementFacts
    ) throws(Failure) {
        let wanted =
            options.requirements.map { PlacedRequirement($0, .option("--require")) } + request.policy.requirements
        // An image that is not there yet has nothing to look at: `--dry-run`.
        guard wanted.contains(where: { $0.requirement == .nccl }), image.trees.allSatisfy({ $0.hasPrefix("/") }) else {
            return
        }
        let search = LibrarySearch(plan, trees: image.trees)
        let unmet = plan.unmetLibraries(wanted, facts, isFound: search.finds)
        if !unmet.isEmpty { throw .plan(.unmet(unmet)) }
    }

    /// RDMA pins its buffers: with a small limit NCCL and libfabric fail or fall back to TCP, often in silence.
    func warnOfLockedMemory(_ facts: HostFacts) {
        guard !facts.fabricNodes.isEmpty, !options.quiet,
            !options.limits.contains(where: { $0.limit == .lockedMemory }),
            let limit = facts.limits[.lockedMemory], limit.hard < LaunchPlan.lockedMemoryForRDMA,
            !facts.raisesHardLimits
        else { return }
        let cause = LimitCause(wanted: LaunchPlan.lockedMemoryForRDMA, own: limit, .onThisHost())
        Terminal.note(
            "warning: locked memory (memlock) is limited to \(limit.hard / 1024) KiB, too little for the RDMA devices here "
                + "(\(facts.fabricNodes[0])): \(cause.remedy)")
    }
}

extension LimitSources {
    static func onThisHost() -> LimitSources {
        guard let step = OtherProcess.ancestors().first(where: { $0.name == "slurmstepd" }) else {
            return LimitSources()
        }
        return LimitSources(
            slurmstepd: step.limit(.lockedMemory), slurmd: OtherProcess.named("slurmd")?.limit(.lockedMemory))
    }
}
