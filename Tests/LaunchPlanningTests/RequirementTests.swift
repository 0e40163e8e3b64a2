import Devices
@testable import LaunchPlanning
import LinuxKernel
import Testing

/// `--require`: what a plan on a host meets and what it does not.
@Suite struct RequirementTests {
    typealias Facts = RequirementFacts

    static func unmet(
        _ words: String, host: HostFacts = Sample.host, facts: Facts = Facts(), site: SitePolicy = SitePolicy(),
        _ change: (inout LaunchOptions) -> Void = { _ in }
    ) throws -> [UnmetRequirement.Reason] {
        // Before all else: words that mean nothing would require nothing, and every test would pass.
        let wanted = words.isEmpty ? [] : try Requirement.parse(words)
        var host = host
        host.requirements = facts
        do throws(PlanError) {
            _ = try Sample.plan(site: site, host: host) { options in
                options.requirements = wanted
                change(&options)
            }
            return []
        } catch {
            guard case .unmet(let unmet) = error else { throw error }
            return unmet.map(\.reason)
        }
    }

    // MARK: Words

    @Test func theWordsAreRead() throws {
        #expect(try Requirement.parse("rdma") == [.fabric(.rdma)])
        #expect(
            try Requirement.parse("gpu,gpu=4, imex efa,ib,cxi")
                == [.gpu(count: 1), .gpu(count: 4), .imex, .fabric(.efa), .fabric(.ib), .fabric(.cxi)])
        #expect(
            try Requirement.parse("memlock,memlock=unlimited,memlock=8g,shm=1T")
                == [.lockedMemory(.max), .lockedMemory(.max), .lockedMemory(8 << 30), .sharedMemory(1 << 40)])
    }

    @Test(arguments: [
        "", ",", "tcp", "rdma=1", "gpu=0", "gpu=x", "gpu=", "shm", "shm=0", "shm=x", "memlock=", "imex=1", "nccl=1",
    ])
    func otherWordsAreRefused(_ text: String) {
        #expect(throws: OptionError.self) { try Requirement.parse(text) }
    }

    @Test func aWordReadsBackAsItself() throws {
        for requirement in try Requirement.parse("rdma,ib,efa,cxi,gpu,gpu=3,memlock,memlock=4096,memlock=4097,shm=1,shm=100t,imex,nccl") {
            #expect(try Requirement.parse(requirement.word) == [requirement])
        }
    }

    @Test func severalOptionsAddUp() throws {
        let options = try LaunchOptions(
            parsing: ["--require", "gpu", "--require=rdma,imex", "debian"], workingDirectory: "/")
        #expect(options.requirements == [.gpu(count: 1), .fabric(.rdma), .imex])
    }

    // MARK: Libraries

    struct Libraries: Sendable, CustomTestStringConvertible {
        let devices: [Facts.FabricDevice]
        var plugin: String?
        let found: [String]
        let reason: UnmetRequirement.Reason?
        var testDescription: String { "\(devices.map(\.name)) \(plugin ?? "") \(found)" }
        init(
            _ devices: [Facts.FabricDevice], plugin: String? = nil, _ found: [String],
            _ reason: UnmetRequirement.Reason? = nil
        ) { (self.devices, self.plugin, self.found, self.reason) = (devices, plugin, found, reason) }
    }

    static let libraries: [Libraries] = [
        Libraries([mellanox], ["libibverbs.so.1"]), Libraries([mellanox], ["libnccl-net.so"]),
        Libraries(
            [mellanox], [], .noLibrary(["libnccl-net.so", "libibverbs.so.1", "libibverbs.so"], devices: ["mlx5_0"])),
        Libraries([efa], ["libnccl-net.so"]),
        Libraries([efa], ["libibverbs.so.1"], .noLibrary(["libnccl-net.so"], devices: ["rdmap0"])),
        Libraries([cxi], ["libibverbs.so.1"], .noLibrary(["libnccl-net.so"], devices: ["cxi0"])),
        Libraries(
            [efa], plugin: "aws-ofi", ["libnccl-net.so"], .noLibrary(["libnccl-net-aws-ofi.so"], devices: ["rdmap0"])),
        Libraries([efa], plugin: "aws-ofi,x", ["libnccl-net-x.so"]),
        Libraries([efa], plugin: "/opt/libmine.so", ["libmine.so"]),
        Libraries([efa], plugin: "none", ["libnccl-net.so"], .noLibrary([], devices: ["rdmap0"])),
        Libraries([mellanox], plugin: "none", ["libibverbs.so.1"]), Libraries([], [], .noFabric(others: [])),
    ]

    @Test(arguments: libraries) func NCCLFindsWhatItOpens(_ row: Libraries) throws {
        let host = Self.host(row.devices.map(\.node))
        let plan = try Sample.plan(host: host) { options in
            options.variables = row.plugin.map { [.set(name: "NCCL_NET_PLUGIN", value: $0)] } ?? []
        }
        let wanted = [PlacedRequirement(.nccl, .option("--require")), PlacedRequirement(.imex, .berth)]
        let unmet = plan.unmetLibraries(wanted, Facts(fabrics: row.devices)) { row.found.contains($0) }
        #expect(unmet == row.reason.map { [UnmetRequirement(.nccl, .option("--require"), $0)] } ?? [])
        // Devices that are there and not shown.
        let hidden = try Sample.plan().unmetLibraries(wanted, Facts(fabrics: [Self.efa])) { _ in true }
        #expect(hidden.map(\.reason) == [.fabricNotGranted([Self.efa.node])])
    }

    // MARK: GPUs

    @Test func gpusAreThoseShownAndThoseOfThisTask() throws {
        var host = Sample.host
        host.grantedGPUs = ["/dev/nvidia0", "/dev/nvidia3"]
        host.gpuControlNodes = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
        #expect(try Self.unmet("gpu=2", host: host, facts: Facts(ownGPUs: 2)) == [])
        #expect(try Self.unmet("gpu=3", host: host, facts: Facts(ownGPUs: 2)) == [.gpus(shown: 2, granted: 2)])
        #expect(
            try Self.unmet("gpu=2", host: host, facts: Facts(ownGPUs: 2)) { $0.gpus = .positions([1]) }
                == [.gpus(shown: 1, granted: 2)])
        #expect(
            try Self.unmet("gpu", host: host, facts: Facts(ownGPUs: 2)) { $0.gpus = .none }
                == [.gpus(shown: 0, granted: 2)])
        // A neighbour's in the same container is not this task's.
        #expect(try Self.unmet("gpu", host: host, facts: Facts(ownGPUs: 0)) == [.gpus(shown: 0, granted: 0)])
        #expect(try Self.unmet("gpu") == [.gpus(shown: 0, granted: 0)])
    }

    // MARK: Fabrics

    static let mellanox = Facts.FabricDevice(
        node: "/dev/infiniband/uverbs0", name: "mlx5_0", driver: "mlx5_core", port: .active)
    static let efa = Facts.FabricDevice(node: "/dev/infiniband/uverbs1", name: "rdmap0", driver: "efa", port: .active)
    static let cxi = Facts.FabricDevice(node: "/dev/cxi0", name: "cxi0", driver: "cxi_ss1")

    static func host(_ nodes: [DeviceNode], memlock: UInt64 = .max) -> HostFacts {
        var host = Sample.host
        host.fabricNodes = nodes
        host.limits[.lockedMemory] = LimitValues(soft: 65536, hard: memlock)
        return host
    }

    struct Fabric: Sendable, CustomTestStringConvertible {
        let words: String
        let devices: [Facts.FabricDevice]
        let granted: [DeviceNode]
        let reason: UnmetRequirement.Reason?
        var testDescription: String { "\(words) of \(devices.map(\.name)), granted \(granted)" }
        init(
            _ words: String, _ devices: [Facts.FabricDevice], granted: [DeviceNode],
            _ reason: UnmetRequirement.Reason? = nil
        ) {
            (self.words, self.devices, self.granted, self.reason) = (words, devices, granted, reason)
        }
    }

    static let fabrics: [Fabric] = [
        Fabric("rdma", [mellanox], granted: [mellanox.node]),
        Fabric("rdma", [efa], granted: [efa.node]),
        Fabric("ib", [mellanox, efa], granted: [mellanox.node]),
        Fabric("efa", [mellanox, efa], granted: [efa.node]),
        Fabric("rdma", [], granted: [], .noFabric(others: [])),
        Fabric("ib", [efa], granted: [efa.node], .noFabric(others: ["rdmap0"])),
        Fabric("efa", [mellanox], granted: [mellanox.node], .noFabric(others: ["mlx5_0"])),
        Fabric("rdma", [cxi], granted: [], .noFabric(others: ["cxi0"])),
        Fabric("rdma", [mellanox], granted: [], .fabricNotGranted([mellanox.node])),
        Fabric("efa", [mellanox, efa], granted: [mellanox.node], .fabricNotGranted([efa.node])),
        // sysfs says nothing of a device in a virtual machine of some kinds.
        Fabric("rdma", [Facts.FabricDevice(node: mellanox.node)], granted: [mellanox.node]),
        Fabric(
            "ib", [Facts.FabricDevice(node: mellanox.node, name: "mlx5_0", driver: "mlx5_core", port: .down)],
            granted: [mellanox.node], .portsDown(["mlx5_0"])),
        Fabric("cxi", [cxi], granted: [cxi.node]),
        Fabric("cxi", [mellanox], granted: [mellanox.node], .noFabric(others: ["mlx5_0"])),
    ]

    @Test(arguments: fabrics) func aFabricHasToBeThereGrantedAndUp(_ fabric: Fabric) throws {
        let unmet = try Self.unmet(
            fabric.words, host: Self.host(fabric.granted), facts: Facts(fabrics: fabric.devices))
        #expect(unmet == [fabric.reason].compactMap { $0 })
    }

    @Test func aDirectoryOfNodesShowsThem() throws {
        let unmet = try Self.unmet("rdma", host: Self.host([]), facts: Facts(fabrics: [Self.mellanox])) {
            $0.devices = [DeviceRequest(hostPath: "/dev/infiniband", containerPath: "/dev/infiniband")]
        }
        #expect(unmet == [])
    }

    @Test func rdmaNeedsLockedMemoryToo() throws {
        let facts = Facts(fabrics: [Self.mellanox])
        let small = LimitValues(soft: 8 << 20, hard: 8 << 20)
        let host = Self.host([Self.mellanox.node], memlock: 8 << 20)
        #expect(try Self.unmet("rdma", host: host, facts: facts) == [.lockedMemory(small, .session)])
        var root = Sample.root
        root.fabricNodes = host.fabricNodes
        #expect(try Self.unmet("rdma", host: root, facts: facts) == [], "CAP_IPC_LOCK lifts the limit")
        #expect(
            try Self.unmet("efa", host: host, facts: Facts(fabrics: [Self.efa])) == [
                .fabricNotGranted([Self.efa.node])
            ])
    }

    // MARK: memlock

    @Test func lockedMemoryIsWhatThePlanMakesOfIt() throws {
        var host = Sample.host
        host.limits[.lockedMemory] = LimitValues(soft: 65536, hard: .max)
        #expect(try Self.unmet("memlock", host: host) == [], "the soft limit is raised")
        let option = LaunchOptions.Limit(limit: .lockedMemory, soft: 4096, hard: nil)
        #expect(
            try Self.unmet("memlock=1m", host: host) { $0.limits = [option] }
                == [.lockedMemoryChosen(LimitValues(soft: 4096, hard: 4096), .option("--ulimit"))])
        var site = SitePolicy()
        site.limits = [PlacedLimit(option, place: "berth.conf:3")]
        #expect(
            try Self.unmet("memlock=1m", host: host, site: site)
                == [.lockedMemoryChosen(LimitValues(soft: 4096, hard: 4096), .site("berth.conf:3"))])
        #expect(try Self.unmet("memlock=4k", host: host, site: site) == [])
    }

    struct Blame: Sendable {
        let own: LimitValues
        let sources: LimitSources
        let cause: LimitCause
    }

    static let small = LimitValues(soft: 65536, hard: 65536)
    static let large = LimitValues(soft: 65536, hard: .max)

    /// The table of what Slurm 22.05 was seen to do with the limits of daemon, shell and task.
    static let blames: [Blame] = [
        Blame(own: small, sources: LimitSources(), cause: .session),
        Blame(own: small, sources: LimitSources(slurmstepd: small), cause: .slurmd(small)),
        Blame(own: small, sources: LimitSources(slurmstepd: small, slurmd: small), cause: .slurmd(small)),
        Blame(own: small, sources: LimitSources(slurmstepd: small, slurmd: large), cause: .pam(slurmd: large)),
        Blame(
            own: small, sources: LimitSources(slurmstepd: large, slurmd: large), cause: .between(slurmstepd: large)),
        Blame(own: large, sources: LimitSources(slurmstepd: large, slurmd: large), cause: .propagation),
        Blame(own: large, sources: LimitSources(), cause: .session),
    ]

    @Test(arguments: blames) func whoKeepsTheLimitLowIsNamed(_ one: Blame) {
        #expect(LimitCause(wanted: .max, own: one.own, one.sources) == one.cause)
    }

    // MARK: /dev/shm, IMEX

    @Test func sharedMemoryHasToHaveRoom() throws {
        let space = FileSystemSpace(total: 64 << 30, available: 32 << 30)
        let facts = Facts(sharedMemory: space)
        #expect(try Self.unmet("shm=32g", facts: facts) == [])
        #expect(try Self.unmet("shm=33g", facts: facts) == [.sharedMemory(space)])
        #expect(try Self.unmet("shm=1g") == [.noSharedMemory])
        var host = Sample.host
        host.memoryLimit = 16 << 30
        #expect(try Self.unmet("shm=32g", host: host, facts: facts) == [.sharedMemoryAboveJob(limit: 16 << 30)])
        for (size, reason) in [
            (1 << 30, .sharedMemoryMount(size: 1 << 30, .option("--volume or --mount"))), (2 << 30, nil), (nil, nil),
        ] as [(UInt64?, UnmetRequirement.Reason?)] {
            let unmet = try Self.unmet("shm=2g", facts: Facts()) {
                $0.mounts = [MountRequest(kind: .tmpfs(size: size, mode: 0o1777), target: "/dev/shm")]
            }
            #expect(unmet == [reason].compactMap { $0 })
        }
    }

    @Test func aChannelOfIMEXHasToBeShown() throws {
        #expect(try Self.unmet("imex") == [.noChannel])
        let channel = "/dev/nvidia-caps-imex-channels/channel0"
        #expect(
            try Self.unmet("imex") { $0.devices = [DeviceRequest(hostPath: channel, containerPath: channel)] } == [])
    }

    @Test func allThatIsUnmetIsNamedWithItsOrigin() throws {
        var site = SitePolicy()
        site.requirements = [PlacedRequirement(.imex, .site("/etc/berth/berth.conf:9"))]
        var host = Sample.host
        host.requirements = Facts()
        #expect(
            throws: PlanError.unmet([
                UnmetRequirement(.gpu(count: 1), .option("--require"), .gpus(shown: 0, granted: 0)),
                UnmetRequirement(.imex, .site("/etc/berth/berth.conf:9"), .noChannel),
            ])
        ) {
            try Sample.plan(site: site, host: host) { $0.requirements = [.gpu(count: 1)] }
        }
    }

    // MARK: The site's limits

    @Test func theSitesLimitsAreDefaultsAsFarAsTheyMayBe() throws {
        var site = SitePolicy()
        site.limits = try ["memlock=unlimited", "nofile=4096:8192", "stack=8388608:unlimited"].enumerated().map {
            PlacedLimit(try LaunchOptions.Limit(parsing: $1), place: "berth.conf:\($0 + 1)")
        }
        var host = Sample.host
        let limits = try Sample.plan(site: site, host: host).process.limits
        #expect(limits.map(\.limit) == [.lockedMemory, .openFiles])
        #expect(limits[0].to == LimitValues(soft: 8 << 20, hard: 8 << 20), "the hard limit holds")
        #expect(limits[0].origin == .site("berth.conf:1"))
        #expect(limits[1].to == LimitValues(soft: 4096, hard: 8192))
        host.raisesHardLimits = true
        #expect(try Sample.plan(site: site, host: host).process.limits[0].to == LimitValues(soft: .max, hard: .max))
        let option = LaunchOptions.Limit(limit: .openFiles, soft: 100, hard: nil)
        let changed = try Sample.plan(site: site, host: host) { $0.limits = [option] }.process.limits
        #expect(changed.filter { $0.limit == .openFiles }.map(\.origin) == [.option("--ulimit")])
    }
}
