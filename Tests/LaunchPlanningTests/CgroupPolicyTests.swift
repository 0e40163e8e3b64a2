import Devices
import LaunchPlanning
import LinuxKernel
import Testing

/// Who is confined, to what, and where nobody is.
@Suite struct CgroupPolicyTests {
    static func cgroupPolicy(
        _ host: HostFacts = Sample.root, site: SitePolicy = SitePolicy(), enforce: String? = nil,
        _ change: (inout LaunchOptions) -> Void = { _ in }
    ) throws -> CgroupPolicy? {
        let request = try enforce.map { try EnforcementRequest(parsing: $0) }
        return try Sample.plan(site: site, host: host) { options in
            options.enforcement = request
            change(&options)
        }.cgroupPolicy
    }

    @Test func theWordsAreRead() throws {
        let all = try EnforcementRequest(parsing: "devices, memory cpu,pids=7")
        #expect(all.devices && all.memory && all.cpus && all.processes == 7)
        #expect(try EnforcementRequest(parsing: "none") == .nothing)
    }

    /// No option makes the site's profile hold, nor leaves it out.
    @Test func onlyAFileEnforcesAProfile() throws {
        #expect(try EnforcementRequest(parsing: "seccomp,pids=7", option: "enforce").seccomp)
        #expect(throws: OptionError.self) { try EnforcementRequest(parsing: "seccomp") }
    }

    @Test(arguments: ["", "device", "pids", "pids=0", "pids=x", "none,devices", "memory=1"])
    func otherWordsAreRefused(_ text: String) {
        #expect(throws: OptionError.self) { try EnforcementRequest(parsing: text) }
    }

    @Test func memoryWithoutALimitIsNoted() throws {
        let request = try EnforcementRequest(parsing: "memory")
        let plan = try Sample.plan(host: Sample.root) { $0.enforcement = request }
        #expect(plan.cgroupPolicy == nil)
        #expect(plan.notes.contains { $0.hasPrefix("note: --enforce memory: ") })
    }

    @Test func nobodyAsksOutsideOfSlurm() throws {
        #expect(try Self.cgroupPolicy() == nil)
        #expect(try Self.cgroupPolicy(Sample.host) == nil)
    }

    @Test func anOrdinaryUserCanNot() throws {
        #expect(throws: PlanError.enforcementNeedsRoot) { try Self.cgroupPolicy(Sample.host, enforce: "devices") }
        #expect(try Self.cgroupPolicy(Sample.host, enforce: "none") == nil)
        var site = SitePolicy()
        site.enforcement = PlacedEnforcement(try EnforcementRequest(parsing: "devices"), place: "berth.conf:2")
        #expect(try Self.cgroupPolicy(Sample.host, site: site) == nil, "what the site enforces needs its privilege")
        #expect(try Self.cgroupPolicy(site: site)?.origin == .site("berth.conf:2"))
        #expect(try Self.cgroupPolicy(site: site, enforce: "none") == nil)
    }

    @Test func asRootInATaskOfSlurmsItsOwnCgroupIsTightened() throws {
        var host = Sample.root
        host.environment.append("SLURM_PROCID=0")
        let cgroupPolicy = try #require(try Self.cgroupPolicy(host))
        #expect(cgroupPolicy.onlyInPlace)
        #expect(cgroupPolicy.devices != nil)
        #expect(cgroupPolicy.memory == nil && cgroupPolicy.cpus == nil && cgroupPolicy.processes == nil)
        #expect(try Self.cgroupPolicy(host, enforce: "devices")?.onlyInPlace == false)
        #expect(try Self.cgroupPolicy(host, enforce: "none") == nil)
    }

    @Test func theNodesAreThoseOfThePlan() throws {
        var host = Sample.root
        host.grantedGPUs = ["/dev/nvidia3", "/dev/nvidia6"]
        host.gpuControlNodes = ["/dev/nvidiactl"]
        host.fabricNodes = ["/dev/infiniband/uverbs0"]
        host.terminal = "/dev/pts/3"
        let cgroupPolicy = try #require(
            try Self.cgroupPolicy(host, enforce: "devices") {
                $0.gpus = .positions([1])
                $0.devices = [DeviceRequest(hostPath: "/dev/fuse", containerPath: "/x")]
                $0.mounts = [
                    MountRequest(kind: .bind(source: "/dev", recursive: true), target: "/hostdev"),
                    MountRequest(kind: .bind(source: "/dev/kvm", recursive: true), target: "/dev/kvm"),
                ]
            })
        let nodes = try #require(cgroupPolicy.devices)
        #expect(nodes.contains("/dev/kvm"), "a node given with -v")
        #expect(cgroupPolicy.deviceDirectories == ["/dev/fuse"], "what --device names")
        let shown: [DeviceNode] = ["/dev/nvidia6", "/dev/nvidiactl", "/dev/infiniband/uverbs0", "/dev/fuse"]
        #expect(shown.allSatisfy(nodes.contains))
        #expect(!nodes.contains("/dev/nvidia3") && !nodes.contains("/dev") && !nodes.contains("/dev/shm"))
        #expect(nodes.contains("/dev/pts/3"))
    }

    @Test func theLimitsAreTheAllocations() throws {
        var host = Sample.root
        #expect(try Self.cgroupPolicy(host, enforce: "memory,cpu") == nil, "nothing was allocated")
        host.environment += ["SLURM_CPUS_ON_NODE=8", "SLURM_MEM_PER_CPU=1024"]
        let perCPU = try #require(try Self.cgroupPolicy(host, enforce: "memory,cpu,pids=99"))
        #expect(perCPU.memory == 8 << 30 && perCPU.cpus == 8 && perCPU.processes == 99 && perCPU.devices == nil)
        var other = Sample.root
        other.environment += ["SLURM_MEM_PER_GPU=2048", "SLURM_GPUS_ON_NODE=4"]
        #expect(try Self.cgroupPolicy(other, enforce: "memory")?.memory == 8 << 30)
        other.environment[other.environment.count - 1] = "SLURM_GPUS_ON_NODE=99999999999999999"
        #expect(try Self.cgroupPolicy(other, enforce: "memory") == nil, "no number of GPUs")
        host.environment.append("SLURM_CPUS_PER_TASK=2")
        host.memoryLimit = 1 << 30
        let perNode = try #require(try Self.cgroupPolicy(host, enforce: "memory,cpu"))
        #expect(perNode.memory == 1 << 30 && perNode.cpus == 2)
    }
}
