@testable import Allocation
import Foundation
@testable import LinuxKernel
import TestSupport
import Testing

@Suite struct CgroupLimitsTests {
    static func limits(_ cgroups: String, _ mounts: String, _ files: [String: String]) -> CgroupLimits {
        CgroupLimits(CgroupMembership(cgroups: cgroups, mounts: mounts)) { files[$0] }
    }

    @Test func theTightestOnTheWayUpCountsAndIsNamed() {
        let base = "/sys/fs/cgroup/system.slice/job_7/step_0"
        let found = Self.limits(
            "0::/system.slice/job_7/step_0\n", "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            [
                base + "/memory.max": "max", "/sys/fs/cgroup/system.slice/job_7/memory.max": "1073741824",
                "/sys/fs/cgroup/system.slice/memory.max": "2147483648", base + "/pids.max": "100",
                "/sys/fs/cgroup/system.slice/pids.max": "4096", base + "/cpu.max": "150000 100000",
                "/sys/fs/cgroup/system.slice/cpu.max": "max 100000",
            ])
        #expect(found.memory == CgroupLimits.Limit(value: "1073741824", cgroup: "/system.slice/job_7"))
        #expect(found.processes == CgroupLimits.Limit(value: "100", cgroup: "/system.slice/job_7/step_0"))
        #expect(found.cpuQuota == CgroupLimits.Limit(value: "1.50", cgroup: "/system.slice/job_7/step_0"))
    }

    @Test func versionOneHasEachControllerInItsOwnPlace() {
        let found = Self.limits(
            "4:memory:/a/b\n3:cpu,cpuacct:/c\n2:pids:/\n0::/\n",
            """
            30 25 0:26 / /cg/memory rw - cgroup cgroup rw,memory
            31 25 0:27 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct
            32 25 0:28 / /cg/pids rw - cgroup cgroup rw,pids
            33 25 0:29 / /cg/unified rw - cgroup2 cgroup2 rw
            """,
            [
                "/cg/memory/a/memory.limit_in_bytes": "4096", "/cg/memory/memory.limit_in_bytes": "9223372036854771712",
                "/cg/cpu/c/cpu.cfs_quota_us": "-1", "/cg/cpu/c/cpu.cfs_period_us": "100000",
            ])
        #expect(found.memory == CgroupLimits.Limit(value: "4096", cgroup: "/a"))
        #expect(found.cpuQuota == nil)
        #expect(found.processes == nil)
    }

    @Test func whereNothingCanBeReadNothingIsLimited() {
        let found = Self.limits("0::/x\n", "", [:])
        #expect(found.memory == nil && found.cpuQuota == nil && found.processes == nil)
    }

    // MARK: Slurm's files

    static func slurm(_ files: [String: String]) throws -> (SlurmConfiguration, TemporaryDirectory) {
        let directory = try TemporaryDirectory()
        for (name, text) in files {
            let parent = name.split(separator: "/").dropLast().joined(separator: "/")
            try directory.makeDirectory(parent)
            try directory.write(text, to: name)
        }
        return (SlurmConfiguration(root: directory.path, named: "/site/slurm.conf"), directory)
    }

    @Test func theDirectoryIsTheFirstThatHasOne() throws {
        #expect(try Self.slurm([:]).0.directory == nil)
        #expect(try Self.slurm(["run/slurm/conf/slurm.conf": ""]).0.directory == "/run/slurm/conf")
        #expect(
            try Self.slurm(["run/slurm/conf/slurm.conf": "", "etc/slurm/slurm.conf": ""]).0.directory == "/etc/slurm")
        #expect(try Self.slurm(["site/slurm.conf": "", "etc/slurm/slurm.conf": ""]).0.directory == "/site")
    }

    @Test func valuesAreReadAsSlurmReadsThem() throws {
        let (slurm, directory) = try Self.slurm([
            "etc/slurm/slurm.conf": """
            # TaskPlugin=none
            taskplugin = task/cgroup # the constraint
            PropagateResourceLimitsExcept="MEMLOCK"
            """,
            "etc/slurm/cgroup.conf": "ConstrainDevices=YES\nConstrainRAMSpace=no\n",
            "etc/slurm/plugstack.conf":
                "# include no.conf\ninclude plugstack.conf.d/*.conf\ninclude /etc/slurm/plugstack.conf\nrequired /a.so\n",
            "etc/slurm/plugstack.conf.d/berth.conf": "required\t/b/spank_berth.so berth=/b # c\nrequired\n",
            "etc/slurm/plugstack.conf.d/old.conf.off": "required /d.so\n",
        ])
        #expect(slurm.value(of: "TaskPlugin", in: "slurm.conf") == "task/cgroup")
        #expect(slurm.value(of: "PropagateResourceLimitsExcept", in: "slurm.conf") == "MEMLOCK")
        #expect(slurm.value(of: "Absent", in: "slurm.conf") == nil)
        #expect(slurm.isSet("ConstrainDevices", in: "cgroup.conf") == true)
        #expect(try slurm.plugstack() == [["required", "/a.so"], ["required", "/b/spank_berth.so", "berth=/b"]])
        #expect(slurm.isSet("ConstrainRAMSpace", in: "cgroup.conf") == false)
        #expect(slurm.isSet("ConstrainCores", in: "cgroup.conf") == false)
        #expect(slurm.isSet("ConstrainDevices", in: "absent.conf") == nil)
        _ = directory
    }

    @Test(arguments: [
        ("", nil, false), ("ProctrackType=proctrack/cgroup", "ConstrainCores=yes", false),
        ("", "SignalChildrenProcesses=yes", true), ("ProctrackType = proctrack/linuxproc", nil, true),
        ("proctracktype=proctrack/pgid", "SignalChildrenProcesses=no", true),
    ] as [(String, String?, Bool)])
    func whatIsSignalledIsSlurmsChoice(_ slurm: String, _ cgroup: String?, _ isEvery: Bool) throws {
        var files = ["etc/slurm/slurm.conf": slurm]
        files["etc/slurm/cgroup.conf"] = cgroup
        let (found, directory) = try Self.slurm(files)
        #expect(found.signalsEveryProcess == isEvery)
        _ = directory
    }

    @Test func whatCannotBeReadIsNotAbsent() throws {
        let (slurm, directory) = try Self.slurm([
            "etc/slurm/slurm.conf": "",
            "etc/slurm/plugstack.conf": "include plugstack.conf.d/*.conf\ninclude absent.d/*.conf\ninclude none.conf\n",
        ])
        #expect(try slurm.plugstack() == [])
        try directory.link("etc/slurm/plugstack.conf.d", to: "plugstack.conf.d")
        #expect { try slurm.plugstack() } throws: {
            let error = $0 as? SystemError
            return error?.name == "ELOOP" && error?.subject.contains("/etc/slurm/plugstack.conf.d") ?? false
        }
    }
}
