package import Devices
package import LinuxKernel

/// The image as the planner needs it: no JSON, no registry, only what was recorded when it was unpacked.
package struct ContainerImage: Equatable, Sendable {
    /// The trees of the store, lowest first; one for a flattened image or a `dir:` source.
    package var trees: [String]
    /// Whether the trees may be joined or covered by an overlay.
    package var overlay: Bool
    package var environment: [String]
    /// Variables that hold only where the host has none of that name: those of a SIF file.
    package var defaults: [String] = []
    package var entrypoint: [String]
    package var command: [String]
    /// `USER`, empty where the image has none.
    package var user: String
    /// `WORKDIR`, empty where the image has none.
    package var workingDirectory: String
    /// For messages and for `BERTH_IMAGE`.
    package var name: String
    /// `sha256:…` of the manifest; empty for `dir:`.
    package var digest: String
    /// Whether packages are installed with APT in it; looked up only where the user is root inside without being root.
    package var usesAPT = false

    package init(
        trees: [String], overlay: Bool = true, environment: [String] = [], entrypoint: [String] = [],
        command: [String] = [], user: String = "", workingDirectory: String = "", name: String = "", digest: String = ""
    ) {
        self.trees = trees
        self.overlay = overlay
        self.environment = environment
        // `ENTRYPOINT [""]` in a Dockerfile takes the base image's away.
        self.entrypoint = entrypoint == [""] ? [] : entrypoint
        self.command = command
        self.user = user
        self.workingDirectory = workingDirectory
        self.name = name
        self.digest = digest
    }
}

/// What the planner may know of the host, read once before planning.
package struct HostFacts: Equatable, Sendable {
    package var userID: UInt32
    package var groupID: UInt32
    /// User 0 of another namespace than the initial one is an ordinary user.
    package var isInInitialUserNamespace: Bool
    package var accounts: Accounts
    package var environment: [String]
    /// Whether `HOME` names a directory that this caller can use.
    package var hasHome = true
    package var limits: LimitTable
    /// The terminal that standard input is, if it is one.
    package var terminal: String?
    /// The memory that this job may use, in bytes, where a scheduler or cgroup says so.
    package var memoryLimit: UInt64?
    /// Device nodes of the GPUs that were granted, in the order in which CUDA counts them.
    package var grantedGPUs: [DeviceNode]
    /// Nodes that every GPU needs besides its own.
    package var gpuControlNodes: [DeviceNode]
    /// Nodes of the fabrics that anybody on the host may use.
    package var fabricNodes: [DeviceNode]
    /// What devices bring along besides: CDI's edits, the driver's files, the fabric's variables.
    package var deviceEdits: [DeviceEdit] = []
    /// Of system calls, compiled, for the command.
    package var filters: [SeccompFilter] = []
    /// Whether a hard limit can be raised: root's `CAP_SYS_RESOURCE`.
    package var raisesHardLimits: Bool
    /// Read only where something is required; empty elsewhere.
    package var requirements: RequirementFacts

    package init(
        userID: UInt32, groupID: UInt32, isInInitialUserNamespace: Bool = true, accounts: Accounts,
        environment: [String],
        limits: LimitTable = [:], terminal: String? = nil, memoryLimit: UInt64? = nil,
        grantedGPUs: [DeviceNode] = [], gpuControlNodes: [DeviceNode] = [], fabricNodes: [DeviceNode] = [],
        raisesHardLimits: Bool = false, requirements: RequirementFacts = RequirementFacts()
    ) {
        self.userID = userID
        self.groupID = groupID
        self.isInInitialUserNamespace = isInInitialUserNamespace
        self.accounts = accounts
        self.environment = environment
        self.limits = limits
        self.terminal = terminal
        self.memoryLimit = memoryLimit
        self.grantedGPUs = grantedGPUs
        self.gpuControlNodes = gpuControlNodes
        self.fabricNodes = fabricNodes
        self.raisesHardLimits = raisesHardLimits
        self.requirements = requirements
    }

    /// Root of the host.
    package var isRoot: Bool { userID == 0 && isInInitialUserNamespace }

    /// The value of a variable of the host's environment.
    package func variable(_ name: String) -> String? {
        let prefix = name + "="
        return environment.first { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.utf8.count)) }
    }
}

/// The limits in force. An array, as a dictionary costs a launch more than all its look-ups.
package struct LimitTable: Equatable, Sendable, ExpressibleByDictionaryLiteral {
    private var entries: [LimitEntry] = []

    private struct LimitEntry: Equatable, Sendable {
        let limit: ResourceLimit
        let values: LimitValues
    }

    package init(dictionaryLiteral elements: (ResourceLimit, LimitValues)...) {
        for (limit, values) in elements { self[limit] = values }
    }

    package subscript(limit: ResourceLimit) -> LimitValues? {
        get { entries.first { $0.limit == limit }?.values }
        set {
            entries.removeAll { $0.limit == limit }
            if let newValue { entries.append(LimitEntry(limit: limit, values: newValue)) }
        }
    }
}

/// The caller's names, as the host's name service gives them.
package struct Accounts: Equatable, Sendable {
    package struct Group: Equatable, Sendable {
        package let name: String
        package let id: UInt32
        package init(name: String, id: UInt32) {
            self.name = name
            self.id = id
        }
    }

    /// Ids as they are inside the container.
    package var userName: String
    package var userID: UInt32
    package var groupID: UInt32
    package var fullName: String
    package var home: String
    /// The host's; empty where it is not known.
    package var shell: String
    package var groups: [Group]
    /// Lines of the host's passwd(5) that the container's must have as well.
    package var others: [String] = []

    package init(
        userName: String, userID: UInt32, groupID: UInt32, fullName: String = "", home: String, shell: String = "",
        groups: [Group]
    ) {
        self.userName = userName
        self.userID = userID
        self.groupID = groupID
        self.fullName = fullName
        self.home = home
        self.shell = shell
        self.groups = groups
    }
}

/// The site's say, from its configuration file.
package struct SitePolicy: Equatable, Sendable {
    package struct Mount: Equatable, Sendable {
        package let request: MountRequest
        /// File and line, for explanations.
        package let place: String
        package init(request: MountRequest, place: String) {
            self.request = request
            self.place = place
        }
    }

    package var mounts: [Mount] = []
    package var mountHome = false
    package var scratchDirectory: String?
    /// In bytes; the cap of a tmpfs scratch.
    package var scratchLimit: UInt64?
    /// Where `home`, `scratch` and `scratch-limit` stand.
    package var homePlace = "home"
    package var scratchPlace = "scratch"
    package var scratchLimitPlace = "scratch-limit"
    /// Defaults, as far as the hard limits allow.
    package var limits: [PlacedLimit] = []
    package var requirements: [PlacedRequirement] = []
    package var enforcement: PlacedEnforcement?
    /// The seccomp profile that no option leaves out: `default` or a path, and its line.
    package var mandatorySeccomp: PlacedProfile?
    package init() {}
}

/// A limit of the site's, and the line that has it.
package struct PlacedLimit: Equatable, Sendable {
    package let limit: LaunchOptions.Limit
    package let place: String
    package init(_ limit: LaunchOptions.Limit, place: String) {
        self.limit = limit
        self.place = place
    }
}

package struct PlacedEnforcement: Equatable, Sendable {
    package let request: EnforcementRequest
    package let place: String
    package init(_ request: EnforcementRequest, place: String) {
        self.request = request
        self.place = place
    }
}

package struct PlacedProfile: Equatable, Sendable {
    package let profile: String
    package let place: String
    package init(_ profile: String, place: String) {
        self.profile = profile
        self.place = place
    }
}

/// A request that the host, the image or the grant does not allow.
package enum PlanError: Error, Equatable, Sendable {
    case noCommand(image: String, entrypointIsDropped: Bool = false)
    case gpuNotGranted(position: Int, granted: Int)
    case tooFewGPUs(requested: Int, granted: Int)
    case noGPUs
    case relativeWorkingDirectory(String)
    /// `--expand-env NAME=TEXT`.
    case unresolvedVariable(String, String, VariableReferences.Fault)
    /// Only root has cgroups changed.
    case enforcementNeedsRoot
    /// At least one.
    case unmet([UnmetRequirement])
}
