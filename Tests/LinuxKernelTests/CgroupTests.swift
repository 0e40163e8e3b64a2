@testable import LinuxKernel
import Testing

/// The directories of a process's cgroups.
@Suite struct CgroupTests {
    struct Host: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let cgroups: String
        let mounts: String
        var devices: String?
        var unified: String?
    }

    static let hosts: [Host] = [
        Host(testDescription: "nothing", cgroups: "", mounts: ""),
        Host(
            testDescription: "version 2", cgroups: "0::/system.slice/slurmstepd.scope/job_1/step_0/user/task_0\n",
            mounts: "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            unified: "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_1/step_0/user/task_0"),
        Host(
            testDescription: "version 1 and 2", cgroups: "5:devices:/slurm/uid_1/job_2\n4:cpu,cpuacct:/\n0::/\n",
            mounts: """
                31 30 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw
                32 30 0:28 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
                33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
                """, devices: "/sys/fs/cgroup/devices/slurm/uid_1/job_2", unified: "/sys/fs/cgroup/unified"),
        Host(
            testDescription: "a part of a hierarchy", cgroups: "5:devices:/docker/abc/x\n0::/docker/abc\n",
            mounts: """
                31 30 0:27 /docker/abc /sys/fs/cgroup/unified ro - cgroup2 cgroup ro
                32 30 0:28 /docker/abc /sys/fs/cgroup/devices ro - cgroup cgroup ro,devices
                """, devices: "/sys/fs/cgroup/devices/x", unified: "/sys/fs/cgroup/unified"),
        Host(
            testDescription: "out of reach", cgroups: "5:devices:/docker/abcd\n0::/../x\n",
            mounts: """
                31 30 0:27 /docker/abc /sys/fs/cgroup/unified ro - cgroup2 cgroup ro
                32 30 0:28 /docker/abc /sys/fs/cgroup/devices ro - cgroup cgroup ro,devices
                """),
        Host(
            testDescription: "the last mount covers the first", cgroups: "0::/a\n",
            mounts: """
                31 30 0:27 / /first rw - cgroup2 cgroup rw
                35 30 0:27 / /second rw - cgroup2 cgroup rw
                """, unified: "/second/a"),
        Host(
            testDescription: "not of this form", cgroups: "x\n0:\n5:devices:/\n", mounts: "x\n1 2 3 4 5 6 -\n- cgroup\n"
        ),
    ]

    @Test(arguments: hosts) func theDirectoriesAreFound(_ host: Host) {
        let found = CgroupMembership(cgroups: host.cgroups, mounts: host.mounts)
        #expect(found.place(of: "devices")?.directory == host.devices)
        #expect(found.unified?.directory == host.unified)
    }

    @Test func thisProcessIsInSome() throws {
        _ = try CgroupMembership()
        #expect(throws: SystemError.self) { try CgroupMembership(of: "4194305") }
    }

    @Test func theLimitsOfAnotherProcessAreRead() throws {
        let text = """
            Limit                     Soft Limit           Hard Limit           Units
            Max open files            1024                 1048576              files
            Max locked memory         8388608              unlimited            bytes
            """
        #expect(OtherProcess.limit(.lockedMemory, in: text) == LimitValues(soft: 8 << 20, hard: .max))
        #expect(OtherProcess.limit(.openFiles, in: text) == LimitValues(soft: 1024, hard: 1 << 20))
        #expect(OtherProcess.limit(.stack, in: text) == nil)
        #expect(OtherProcess.limit(.lockedMemory, in: "Max locked memory  x y\n") == nil)
        let own = try ResourceLimit.lockedMemory.current()
        let parent = try #require(OtherProcess.ancestors().first)
        #expect(OtherProcess(parent.processID)?.name == parent.name)
        let this = try #require(OtherProcess(Int(Processes.ownID)))
        #expect(this.limit(.lockedMemory) == own)
        for limit in ResourceLimit.allCases { #expect(this.limit(limit) == (try limit.current()), "\(limit)") }
        #expect(OtherProcess.named("no such name") == nil)
    }

    @Test func aNodeIsNotRefusedWithoutReason() {
        #expect(!OwnedFileDescriptor.isRefusedByCgroup("/dev/null"))
        #expect(!OwnedFileDescriptor.isRefusedByCgroup("/dev/absent"))
    }
}
