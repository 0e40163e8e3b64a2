package import Devices
package import LinuxKernel

/// What the user asked for on the command line of `berth run`, already in the field's terms but not yet held against
/// the host or the image.
package struct LaunchOptions: Equatable, Sendable {
    package enum PullPolicy: String, CaseIterable, Sendable { case missing, always, newer, never }

    /// How the plan is printed instead of being carried out.
    package enum DryRun: String, Sendable { case text, oci }

    package enum GPURequest: Equatable, Sendable {
        /// The nodes that the scheduler granted: those that open.
        case granted
        /// Every node of the host that opens; asks for at least one.
        case all
        case none
        /// The first so many of the granted nodes, as CUDA counts them; fewer are an error.
        case count(Int)
        /// Positions within the granted nodes, as CUDA counts them, from 0.
        case positions([Int])
        /// UUIDs, PCI addresses and positions among the granted.
        case names([String])
    }

    package struct Limit: Equatable, Sendable {
        package let limit: ResourceLimit
        package let soft: UInt64
        /// `nil`: the same as soft.
        package let hard: UInt64?
        package init(limit: ResourceLimit, soft: UInt64, hard: UInt64?) {
            self.limit = limit
            self.soft = soft
            self.hard = hard
        }
    }

    package enum Variable: Equatable, Sendable {
        case set(name: String, value: String)
        /// `-e NAME`: the host's value, if it has one, wins over the image's.
        case fromHost(name: String)
        /// `--expand-env NAME=TEXT`: `VariableReferences` in the text name variables of the container, or else of the host.
        case expanded(name: String, text: String)
        /// `--unsetenv NAME`.
        case unset(name: String)

        package var name: String {
            switch self {
            case .set(let name, _), .fromHost(let name), .expanded(let name, _), .unset(let name): name
            }
        }
    }

    /// `--file`: experiment files, whose options come before those of the command line.
    package var files: [String] = []
    /// With `--file`, the arguments behind the options: the image and the command, or the command alone.
    package var operands: [String] = []
    /// Which of the parsed arguments are `--file` and its value.
    var fileArguments: [Range<Int>] = []
    package var image = ""
    /// Empty: the image's own command.
    package var command: [String] = []
    package var mounts: [MountRequest] = []
    package var variables: [Variable] = []
    package var environmentFiles: [String] = []
    /// `--cleanenv`: of the host's variables only those of the job pass.
    package var cleansEnvironment = false
    package var workingDirectory: String?
    /// `--here`: the caller's directory, mounted at the same place.
    package var here: String?
    package var entrypoint: String?
    package var gpus: GPURequest = .granted
    package var devices: [DeviceRequest] = []
    /// Devices of CDI specifications.
    package var cdiDevices: [QualifiedName] = []
    /// `nil`: what the site says, else `auto`.
    package var fabric: Fabric?
    /// `nil`: what the site or the image says.
    package var profile: LaunchProfile?
    /// Slurm's client programs and what they need.
    package var slurm = false
    package var limits: [Limit] = []
    package var requirements: [Requirement] = []
    package var enforcement: EnforcementRequest?
    package var readOnly = false
    package var root = false
    /// `--no-root`: oneself inside, also where the site makes users root.
    package var deniesRoot = false
    /// Slurm executes the command, which is not known here.
    package var commandIsSlurms = false
    /// `UID[:GID]` or names, as the image's USER; root's alone, see `settleUser`.
    package var user: String?
    package var home: Bool?
    /// `--group-add`: names or numbers; root's alone.
    package var groups: [String] = []
    package var capabilities = CapabilityChange()
    /// `--security-opt no-new-privileges=false`.
    package var allowsNewPrivileges = false
    /// `nil`: what the site says; none where it says nothing.
    package var seccomp: SeccompChoice?
    package var hostname: String?
    /// Lines of /etc/hosts.
    package var hosts = ""
    package var resolver = ResolverSettings()
    /// Of a `/dev/shm` of the container's own, in bytes.
    package var sharedMemorySize: UInt64?
    /// Namespaces of the container's own that are the host's otherwise.
    package var unshare: NamespaceKinds = []
    /// Process 1 of a PID namespace of the container's own is an init, and not the command.
    package var usesInit = false
    /// `--pid host`, written out; of interest to `--init`, while options are read.
    var sharesProcesses = false
    /// How many of the caller's descriptors above the standard streams the command gets.
    package var preservedDescriptors = 0
    package var pull: PullPolicy = .missing
    package var platform: String?
    package var store: String?
    /// Of the container, for people and other commands.
    package var name: String?
    package var dryRun: DryRun?
    package var quiet = false
    package var verbose = false
    /// One line for each option that is accepted and changes nothing.
    package var notes: [String] = []

    package init() {}
}

/// A filter of system calls.
package enum SeccompChoice: Equatable, Sendable {
    /// Not even the one that `--root` brings.
    case none
    /// One that Berth comes with.
    case builtIn(BuiltIn)
    /// A profile as Docker writes them; absolute.
    case file(String)

    package enum BuiltIn: String, CaseIterable, Sendable { case standard = "default", fakeroot }
}

/// Variables for one kind of program, made of the scheduler's.
package enum LaunchProfile: String, CaseIterable, Sendable {
    case none, pytorch
}

/// A mount that the user or the site asks for.
package struct MountRequest: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// A file or directory of the host; absolute.
        case bind(source: String, recursive: Bool)
        /// A fresh tmpfs; the size in bytes, the mode as in chmod.
        case tmpfs(size: UInt64?, mode: UInt32)
        /// Nothing is mounted; what is there already goes.
        case unmount
    }

    package var kind: Kind
    package var target: String
    package var readOnly: Bool
    /// Passed over in silence where the source does not exist; only a site and Pyxis' `nofail` can ask for that.
    package var optional: Bool
    /// Besides read-only.
    package var attributes: MountAttributes = []
    /// `MS_PRIVATE` and its like; empty where nothing is said.
    package var propagation: MountFlags = []
    /// Further options of a tmpfs, such as `huge=within_size`.
    package var data: [String] = []

    package init(kind: Kind, target: String, readOnly: Bool = false, optional: Bool = false) {
        self.kind = kind
        self.target = target
        self.readOnly = readOnly
        self.optional = optional
    }
}

/// A device node of the host to show inside: Docker's `--device HOST[:CONTAINER[:PERMISSIONS]]`.
package struct DeviceRequest: Equatable, Sendable {
    package let hostPath: String
    package let containerPath: String
    package init(hostPath: String, containerPath: String) {
        self.hostPath = hostPath
        self.containerPath = containerPath
    }
}
