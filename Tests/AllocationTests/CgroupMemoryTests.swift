@testable import Allocation
import Testing

@Suite struct CgroupMemoryTests {
    struct Host: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let cgroups: String
        var files: [String: String] = [:]
        let limit: UInt64?
    }

    static let hosts: [Host] = [
        Host(testDescription: "none", cgroups: "", limit: nil),
        Host(testDescription: "not of this form", cgroups: "garbage\n0\n::\n", limit: nil),
        Host(
            testDescription: "version 2, the smallest on the way up",
            cgroups: "0::/system.slice/slurmstepd.scope/job_7/step_0\n",
            files: [
                "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max": "max\n",
                "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max": "1073741824\n",
                "/sys/fs/cgroup/system.slice/memory.max": "2147483648\n",
            ], limit: 1 << 30),
        Host(
            testDescription: "version 2, no limit", cgroups: "0::/a\n", files: ["/sys/fs/cgroup/a/memory.max": "max\n"],
            limit: nil),
        Host(
            testDescription: "version 1", cgroups: "5:cpu:/slurm/job_7\n4:memory:/slurm/uid_1/job_7\n",
            files: [
                "/sys/fs/cgroup/memory/slurm/uid_1/job_7/memory.limit_in_bytes": "536870912\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            ], limit: 512 << 20),
        Host(
            testDescription: "version 1, unlimited", cgroups: "4:memory:/\n",
            files: ["/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"], limit: nil),
        Host(
            testDescription: "version 1, joined controllers and a colon in the path", cgroups: "4:cpu,memory:/a:b\n",
            files: [
                "/sys/fs/cgroup/memory/a:b/memory.limit_in_bytes": "4096\n"
            ], limit: 4096),
        Host(
            testDescription: "both, version 1 has the controller", cgroups: "4:memory:/x\n0::/x\n",
            files: [
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "8192\n"
            ], limit: 8192),
    ]

    @Test(arguments: hosts) func theSmallestLimitCounts(_ host: Host) {
        #expect(CgroupMemory.limit(cgroups: host.cgroups, read: { host.files[$0] }) == host.limit)
    }
}
