internal import LinuxKernel
package import Sandbox

extension Report {
    package init(_ error: CgroupPolicyError) {
        switch error {
        case .noHierarchy(let controller):
            self.init(
                "cannot enforce \(Self.enforced(controller)): no cgroup hierarchy with the controller "
                    + "\"\(controller)\" is mounted",
                hint: "mount cgroups as systemd does, or remove it from --enforce and from `enforce =` in berth.conf")
        case .controllerMissing(let controller, let cgroup):
            self.init(
                "cannot enforce \(Self.enforced(controller)): the cgroup \(cgroup) does not have the controller "
                    + "\"\(controller)\"",
                hint:
                    "under Slurm set EnableControllers=yes in cgroup.conf; elsewhere run in a scope that delegates it: "
                    + "systemd-run --scope -p Delegate=yes")
        case .system(let controller, let cause):
            self.init(
                "cannot enforce \(Self.enforced(controller)): \(cause.call) \(cause.subject): \(cause.sentence)",
                hint: Self.hint(controller, cause.errno))
        }
    }

    private static func enforced(_ controller: String) -> String {
        switch controller {
        case "devices": "the device list"
        case "memory": "the memory limit"
        case "cpu": "the CPU limit"
        default: "the process limit"
        }
    }

    private static func hint(_ controller: String, _ errno: Int32) -> String? {
        switch errno {
        case Errno.EPERM where controller == "devices":
            "a parent cgroup has an exclusive device program, or CAP_BPF and CAP_SYS_ADMIN are missing, as for root "
                + "in a container"
        case Errno.EPERM, Errno.EACCES, Errno.EROFS: "this needs root of the host and writable cgroups"
        case Errno.EINVAL where controller == "devices":
            "the cgroup already has child cgroups, or the kernel lacks CONFIG_CGROUP_BPF"
        case Errno.EBUSY: "the cgroup already uses more memory than the limit"
        default: nil
        }
    }
}
