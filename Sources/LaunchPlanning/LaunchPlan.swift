package import Devices
package import LinuxKernel

/// Everything that will be done to start the command, decided before anything is done: a value to print, to compare
/// with a golden file, and to interpret in order.
package struct LaunchPlan: Equatable, Sendable {
    package var steps: [PlannedStep]
    package var process: ProcessPlan
    /// Comes before the steps: inside, cgroups are read-only.
    package var cgroupPolicy: CgroupPolicy?
    /// What options mean here that people know from elsewhere, and what could be done in part only; one line each.
    package var notes: [String] = []

    /// Those that are made for the container.
    package var namespaces: NamespaceKinds {
        for step in steps { if case .createNamespaces(let kinds, _) = step.action { return kinds } }
        return []
    }

    package init(steps: [PlannedStep], process: ProcessPlan, cgroupPolicy: CgroupPolicy? = nil) {
        self.steps = steps
        self.process = process
        self.cgroupPolicy = cgroupPolicy
    }
}

/// One step, and why it is there.
package struct PlannedStep: Equatable, Sendable {
    package let action: PlanAction
    package let origin: Origin
    package init(_ action: PlanAction, _ origin: Origin) {
        self.action = action
        self.origin = origin
    }
}

/// Where a part of the plan comes from.
package enum Origin: Equatable, Sendable {
    case berth
    case image
    case option(String)
    case site(String)
    case grant(String)
    /// File, line and device of a CDI specification.
    case cdi(String)
    case host
}

package enum PlanAction: Equatable, Sendable {
    /// New namespaces; with a map of one user and one group when a user namespace is among them.
    case createNamespaces(NamespaceKinds, IDMap?)
    /// Mounts of the host still appear inside, ours never outside: `MS_SLAVE` on everything.
    case receivePropagationOnly
    /// The place for the overlay's upper directory and for what the launcher itself writes.
    case scratch(Scratch)
    /// The image as the future root.
    case root(RootFilesystem)
    /// A directory inside, made if it is missing; what stands there instead and is no directory gives way.
    case systemDirectory(String, mode: UInt32)
    /// A directory inside, made with its parents where missing.
    case directory(String, mode: UInt32)
    /// The user's home inside, of mode 700; an image that has no place for it runs without.
    case home(String)
    case bind(BindMount)
    /// An empty mount point, made if it is missing: a file where `source` is one, else a directory. It may lie in an earlier
    /// mount, and is the only thing that a launch makes in a directory of the host; nothing is ever replaced.
    case mountPoint(String, source: String?)
    /// A fresh file system, such as tmpfs or devpts.
    case mount(type: String, target: String, flags: MountFlags, data: String)
    /// An empty directory of the scratch's over `path`, for device nodes: one file system less to make than a tmpfs.
    case deviceDirectory(String)
    /// A symbolic link inside, in place of whatever has its name.
    case symlink(String, target: String)
    /// A copy of a host file inside, for small files that programs may replace.
    case copy(source: String, target: String)
    /// More lines at the end of a small file inside.
    case append(String, target: String)
    /// Lines of /etc/resolv.conf in place of others.
    case resolver(ResolverSettings)
    /// `/etc/passwd` and `/etc/group` of the image, joined with the caller's names.
    case accounts(Accounts)
    /// A small file of our own inside, in place of what has its name.
    case file([UInt8], String)
    /// Our own content over a file that is there already and can not be replaced, such as one of /proc.
    case cover(String, [UInt8])
    /// The mode of a directory that Berth itself made; others are left alone.
    case mode(String, UInt32)
    /// More libraries for the container's dynamic loader.
    case loader(LoaderUpdate)
    /// A program of the host that the site allows; see `HookCall`.
    case hook(HookCall)
    /// From here on nothing inside can be written but mounts that are writable themselves.
    case sealRoot
    case pivot
    case hostname(String)
    /// Whatever is mounted at the place goes.
    case unmount(String)
}

package struct IDMap: Equatable, Sendable {
    package let insideUser: UInt32
    package let outsideUser: UInt32
    package let insideGroup: UInt32
    package let outsideGroup: UInt32
    package init(insideUser: UInt32, outsideUser: UInt32, insideGroup: UInt32, outsideGroup: UInt32) {
        self.insideUser = insideUser
        self.outsideUser = outsideUser
        self.insideGroup = insideGroup
        self.outsideGroup = outsideGroup
    }
}

package enum Scratch: Equatable, Sendable {
    /// A tmpfs that dies with the container; its pages count against the job's memory. `limit` in bytes.
    case memory(limit: UInt64?)
    /// A fresh directory below `path`; it is removed by the next launch or by `berth prune` once nothing uses it.
    case directory(path: String)
    /// A named container's own directory, which stays.
    case container(path: String)
}

package enum RootFilesystem: Equatable, Sendable {
    /// Trees of the store, lowest first, joined by overlayfs.
    case overlay(lower: [String])
    /// One tree shown read-only as it is, where the kernel or the file system can not do an overlay.
    case tree(String)
}

package struct BindMount: Equatable, Sendable {
    package let source: String
    /// The source where it is a node of the host's, or a directory of some; `nil` for all that is not below `/dev`.
    package let node: DeviceNode?
    package var target: String
    package var recursive: Bool
    package var attributes: MountAttributes
    /// Passed over where the source does not exist, or where a read-only rootfs has no place for it.
    package var optional: Bool
    /// Nothing but a device node, or a directory of some, is meant: Docker's `--device /dev/infiniband`.
    package var device: Bool
    /// `MS_PRIVATE` and its like, set once it is attached; empty where nothing is said.
    package var propagation: MountFlags = []

    package init(
        source: String, target: String, recursive: Bool = true, attributes: MountAttributes = [],
        optional: Bool = false,
        device: Bool = false
    ) {
        self.source = source
        node = DeviceNode(inDev: source)
        self.target = target
        self.recursive = recursive
        self.attributes = attributes
        self.optional = optional
        self.device = device
    }

    /// - Parameter target: `nil`: the same place as on the host.
    package init(_ node: DeviceNode, target: String? = nil, device: Bool = false) {
        source = node.path
        self.node = node
        self.target = target ?? node.path
        recursive = false
        attributes = []
        optional = false
        self.device = device
    }
}

/// What happens to the process itself, after the file system stands.
package struct ProcessPlan: Equatable, Sendable {
    package enum User: Equatable, Sendable {
        /// Whoever the process is already.
        case unchanged
        /// `--user`, or `USER` of the image's configuration, looked up inside: only where Berth runs as root.
        case named(String, Origin)
        /// Of a process that runs in the container: `berth exec` of root, in a container that has no user namespace.
        case like(user: UInt32, group: UInt32, supplementaryGroups: [UInt32])
    }

    package var arguments: [String]
    package var environment: [String]
    /// Of each of them, the raw value of a `VariableSource`.
    package var environmentSources: [UInt8]
    /// Variables of the image in whose place the host's stand.
    package var hiddenDefaults: [String] = []
    /// What the host has and the command does not get.
    package var dropped: [DroppedVariable] = []
    package var workingDirectory: String
    package var workingDirectoryOrigin: Origin
    package var limits: [LimitChange]
    package var user: User
    /// Groups to be in besides: only root can join one.
    package var additionalGroups: [UInt32]
    /// The same by name or number, looked up inside: `--group-add`.
    package var namedGroups: [String] = []
    /// `nil`: what the user namespace gives. Numbers as in capabilities(7).
    package var boundingCapabilities: [Int]?
    package var capabilitiesOrigin = Origin.berth
    /// Of a PID namespace of the container's own: what its process 1 is.
    package enum FirstProcess: Equatable, Sendable { case command, `init` }
    package var firstProcess: FirstProcess?
    /// Whether no program gains privilege by being executed: prctl(2), `PR_SET_NO_NEW_PRIVS`.
    package var noNewPrivileges = true
    /// Of system calls, in the order in which they are loaded.
    package var filters: [SeccompFilter] = []

    package init(
        arguments: [String], environment: [String], environmentSources: [UInt8] = [],
        workingDirectory: String, workingDirectoryOrigin: Origin,
        limits: [LimitChange], user: User, additionalGroups: [UInt32] = [], boundingCapabilities: [Int]?
    ) {
        self.arguments = arguments
        self.environment = environment
        self.environmentSources = environmentSources
        self.workingDirectory = workingDirectory
        self.workingDirectoryOrigin = workingDirectoryOrigin
        self.limits = limits
        self.user = user
        self.additionalGroups = additionalGroups
        self.boundingCapabilities = boundingCapabilities
    }
}

package struct LimitChange: Equatable, Sendable {
    package let limit: ResourceLimit
    package let from: LimitValues
    package let to: LimitValues
    package let origin: Origin
    package init(limit: ResourceLimit, from: LimitValues, to: LimitValues, origin: Origin) {
        self.limit = limit
        self.from = from
        self.to = to
        self.origin = origin
    }
}
