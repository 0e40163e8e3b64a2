package import Allocation
package import Devices
package import LaunchPlanning
package import LinuxKernel

/// What `berth doctor` reads from the node. The results depend on these values alone.
package struct NodeFacts: Equatable, Sendable {
    /// A trial of the launcher in a process of its own: the name of the step, and its errno or 0.
    package struct Trial: Equatable, Sendable {
        package let name: String
        package let errno: Int32
        package init(_ name: String, _ errno: Int32) {
            self.name = name
            self.errno = errno
        }
    }

    package struct Place: Equatable, Sendable {
        package var path: String
        /// Whether the directory exists. Otherwise the other values are those of the nearest one above it.
        package var exists: Bool
        package var type: UInt64
        package var space: FileSystemSpace
        package var isWritable: Bool
        /// `nil` if it was not tried.
        package var takesWhiteouts: Bool?
        package var mode: UInt32
        package init(
            path: String, exists: Bool = true, type: UInt64 = 0xEF53,
            space: FileSystemSpace = FileSystemSpace(total: 1 << 40, available: 1 << 39), isWritable: Bool = true,
            takesWhiteouts: Bool? = true, mode: UInt32 = 0o755
        ) {
            self.path = path
            self.exists = exists
            self.type = type
            self.space = space
            self.isWritable = isWritable
            self.takesWhiteouts = takesWhiteouts
            self.mode = mode
        }
    }

    package struct NVIDIA: Equatable, Sendable {
        /// For example `550.54.14`; `nil` if no driver is loaded.
        package var driver: String?
        /// The number of GPUs that the driver lists, and their nodes.
        package var gpus = 0
        package var nodes: [DeviceNode] = []
        package var refused: [DeviceNode] = []
        package var hasControl = false
        package var hasUVM = false
        package var library: String?
        /// Whether /proc/devices lists IMEX, the number of channel nodes, and how many of them open.
        package var hasIMEX = false
        package var channels = 0
        package var openChannels = 0
        package var hasPeerMemory = false
        package init() {}
    }

    package struct AMD: Equatable, Sendable {
        package var hasKFD = false
        /// The readable GPUs of the compute driver's list, and whether all are readable.
        package var gpus = 0
        package var isWhole = true
        package var granted: [DeviceNode] = []
        /// The nodes that a mode or owner denies rather than a device cgroup.
        package var refusedByMode: [DeviceNode] = []
        package init() {}
    }

    /// The CDI specifications of this node, compiled.
    package struct CDI: Equatable, Sendable {
        package var refused: [DeviceRegistry.Refused] = []
        package var conflicts: [String] = []
        package var specifications: [Specification] = []
        /// GPU nodes that no specification contains; empty if there are no specifications.
        package var unknownNodes: [DeviceNode] = []
        package init() {}
    }

    package struct Specification: Equatable, Sendable {
        package let path: String
        package let isOfNVIDIA: Bool
        /// Whether it mounts a library of the loaded driver's version.
        package let namesDriver: Bool
        package init(path: String, isOfNVIDIA: Bool, namesDriver: Bool) {
            self.path = path
            self.isOfNVIDIA = isOfNVIDIA
            self.namesDriver = namesDriver
        }
    }

    package struct Slurm: Equatable, Sendable {
        package var directory: String?
        /// Whether slurm.conf and cgroup.conf are readable.
        package var isReadable = false
        package var taskPlugin: String?
        package var trackingPlugin: String?
        package var propagateExcept: String?
        package var propagate: String?
        package var container: String?
        package var constrainsDevices: Bool?
        package var hasGres = false
        /// The lines of plugstack.conf that load Berth's plugin.
        package var plugin: String?
        package var slurmd: LimitValues?
        package var hasMunge = false
        package init() {}
    }

    package struct CredentialFile: Equatable, Sendable {
        package let path: String
        package let isReadable: Bool
        package let isPrivate: Bool
        /// The helpers it names, and whether each is in PATH.
        package let helpers: [Helper]
        package struct Helper: Equatable, Sendable {
            package let name: String
            package let isThere: Bool
            package init(name: String, isThere: Bool) {
                self.name = name
                self.isThere = isThere
            }
        }
        package init(path: String, isReadable: Bool = true, isPrivate: Bool = true, helpers: [Helper] = []) {
            self.path = path
            self.isReadable = isReadable
            self.isPrivate = isPrivate
            self.helpers = helpers
        }
    }

    package struct SiteMount: Equatable, Sendable {
        package let source: String
        package let place: String
        package let errno: Int32
        package let mayBeAbsent: Bool
        package init(source: String, place: String, errno: Int32, mayBeAbsent: Bool) {
            self.source = source
            self.place = place
            self.errno = errno
            self.mayBeAbsent = mayBeAbsent
        }
    }

    package var isRoot = false
    package var kernel = ""
    package var isInJob = false
    /// `nil` if the launcher did not start.
    package var trials: [Trial]?
    /// Which host setting disables user namespaces.
    package var namespaceAdvice = ""
    /// The error in the configuration and its remedy.
    package var configuration: (what: String, hint: String)?
    /// The seccomp profile that the site enforces, and why root cannot use it.
    package var mandatorySeccomp: (profile: String, place: String, fault: String?)?
    package var siteMounts: [SiteMount] = []
    package var remoteMounts: [RemoteMount] = []
    package var store = Place(path: "/var/lib/berth")
    package var storeIsInHome = false
    /// Why launches and pulls refuse the store.
    package var storeFault: UntrustedPath?
    package var scratch: Place?
    package var nvidia = NVIDIA()
    package var amd = AMD()
    package var cdi = CDI()
    package var fabrics: [FabricDevices.Device] = []
    package var refusedFabrics: [DeviceNode] = []
    /// The nodes that a device cgroup denies. A mode may deny others.
    package var constrained: [DeviceNode] = []
    /// Existing but unreadable directories and files of devices and of Slurm.
    package var unreadable: [SystemError] = []
    package var hasConnectionManager = false
    package var topologyFile: String?
    package var lockedMemory = LimitValues(soft: .max, hard: .max)
    package var openFiles = LimitValues(soft: 1024, hard: 1 << 20)
    package var limitSources = LimitSources()
    package var raisesHardLimits = false
    package var sharedMemory: FileSystemSpace?
    package var memory: UInt64 = 0
    package var hasUnifiedCgroups = false
    package var hasSeparateCgroups = false
    package var cgroupLimits: CgroupLimits?
    package var slurm = Slurm()
    package var credentials: [CredentialFile] = []

    package init() {}

    package static func == (one: NodeFacts, other: NodeFacts) -> Bool { "\(one)" == "\(other)" }
}
