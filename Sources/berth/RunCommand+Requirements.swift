internal import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

extension RunCommand {
    /// What the planner has to know where something is required; reading it costs a launch nothing otherwise.
    func requirementFacts(_ devices: HostDevices) -> RequirementFacts {
        guard !options.requirements.isEmpty || !site.requirements.isEmpty else {
            return RequirementFacts()
        }
        return RequirementFacts(
            fabrics: FabricDevices().devices.map { device in
                RequirementFacts.FabricDevice(
                    node: device.node, name: device.name, driver: device.driver,
                    port: device.isActive.map { $0 ? .active : .down } ?? .unknown)
            },
            ownGPUs: devices.gpus.count,
            // Without a /dev/shm there is none inside either.
            sharedMemory: try? OwnedFileDescriptor(opening: "/dev/shm", .path | .directory).space(),  // see above
            lockedMemory: .onThisHost())
    }

    /// RDMA pins its buffers: with a small limit NCCL and libfabric fail or fall back to TCP, often in silence.
    func warnOfLockedMemory(_ facts: HostFacts) {
        guard !facts.fabricNodes.isEmpty, !options.quiet,
            !options.limits.contains(where: { $0.limit == .lockedMemory }),
            let limit = facts.limits[.lockedMemory], limit.hard < LaunchPlan.lockedMemoryForRDMA,
            !facts.raisesHardLimits
        else { return }
        let blame = LimitBlame(wanted: LaunchPlan.lockedMemoryForRDMA, own: limit, .onThisHost())
        Terminal.note(
            "warning: locked memory (memlock) is limited to \(limit.hard / 1024) KiB, too little for the RDMA devices here "
                + "(\(facts.fabricNodes[0])): \(blame.remedy)")
    }
}

extension LimitWitnesses {
    static func onThisHost() -> LimitWitnesses {
        guard let step = OtherProcess.ancestors().first(where: { $0.name == "slurmstepd" }) else {
            return LimitWitnesses()
        }
        return LimitWitnesses(
            slurmstepd: step.limit(.lockedMemory), slurmd: OtherProcess.named("slurmd")?.limit(.lockedMemory))
    }
}

extension SitePolicy {
    mutating func add(limits: [SiteConfiguration.Setting]) throws(Failure) {
        for setting in limits {
            let limit = try Self.inFile(setting) { () throws(OptionError) in
                try LaunchOptions.Limit(parsing: setting.value, option: setting.name)
            }
            self.limits.append(PlacedLimit(limit, place: setting.place))
        }
    }

    mutating func add(requirements: [SiteConfiguration.Setting]) throws(Failure) {
        for setting in requirements {
            let words = try Self.inFile(setting) { () throws(OptionError) in
                try Requirement.parse(setting.value, option: setting.name)
            }
            self.requirements += words.map { PlacedRequirement($0, .site(setting.place)) }
        }
    }

    /// An option's value in a file: an error names the line rather than the option.
    static func inFile<Value>(
        _ setting: SiteConfiguration.Setting, _ body: () throws(OptionError) -> Value
    ) throws(Failure) -> Value {
        do throws(OptionError) { return try body() } catch {
            guard case .badValue(_, _, let expected) = error else { throw .options(error) }
            throw .configuration(
                ConfigurationError(
                    file: setting.file, line: setting.line,
                    reason: .badValue(name: setting.name, value: setting.value, expected: expected)))
        }
    }
}
