/// The container edits of a CDI specification, field by field:
/// https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md#oci-edits
///
/// Each edit keeps its line in the file, so that a plan can name its origin.
package struct ContainerEdits: Equatable, Sendable {
    package struct Variable: Equatable, Sendable {
        package let line: Int
        /// `NAME=VALUE`.
        package let entry: String
        package init(line: Int, entry: String) {
            self.line = line
            self.entry = entry
        }
    }

    package struct DeviceNode: Equatable, Sendable {
        package let line: Int
        /// The container path.
        package let path: String
        /// The host path; empty means the same as `path`.
        package let hostPath: String
        /// The type of the host's node: `b`, `c`, `u`, `p`, or empty.
        package let type: String
        package let major: Int64
        package let minor: Int64
        package let fileMode: UInt32?
        /// A subset of `rwm`, `none`, or empty for all.
        package let permissions: String
        package let uid: UInt32?
        package let gid: UInt32?

        package init(
            line: Int, path: String, hostPath: String = "", type: String = "", major: Int64 = 0, minor: Int64 = 0,
            fileMode: UInt32? = nil, permissions: String = "", uid: UInt32? = nil, gid: UInt32? = nil
        ) {
            self.line = line
            self.path = path
            self.hostPath = hostPath
            self.type = type
            self.major = major
            self.minor = minor
            self.fileMode = fileMode
            self.permissions = permissions
            self.uid = uid
            self.gid = gid
        }

        package var source: String { hostPath.isEmpty ? path : hostPath }
    }

    package struct NetDevice: Equatable, Sendable {
        package let line: Int
        package let hostInterfaceName: String
        package let name: String
        package init(line: Int, hostInterfaceName: String, name: String) {
            self.line = line
            self.hostInterfaceName = hostInterfaceName
            self.name = name
        }
    }

    package struct Mount: Equatable, Sendable {
        package let line: Int
        package let hostPath: String
        package let containerPath: String
        package let type: String
        package let options: [String]
        /// `DT_SONAME` of a shared library, read when the specification was compiled; empty for other files.
        package let soname: String

        package init(
            line: Int, hostPath: String, containerPath: String, type: String = "", options: [String] = [],
            soname: String = ""
        ) {
            self.line = line
            self.hostPath = hostPath
            self.containerPath = containerPath
            self.type = type
            self.options = options
            self.soname = soname
        }
    }

    package struct Hook: Equatable, Sendable {
        package let line: Int
        package let hookName: String
        package let path: String
        package let args: [String]
        package let env: [String]
        /// The timeout in seconds.
        package let timeout: Int?

        package init(
            line: Int, hookName: String, path: String, args: [String] = [], env: [String] = [], timeout: Int? = nil
        ) {
            self.line = line
            self.hookName = hookName
            self.path = path
            self.args = args
            self.env = env
            self.timeout = timeout
        }
    }

    package struct IntelRdt: Equatable, Sendable {
        package let line: Int
        package let closID: String
        package let l3CacheSchema: String
        package let memBwSchema: String
        package let schemata: [String]
        package let enableMonitoring: Bool

        package init(
            line: Int, closID: String = "", l3CacheSchema: String = "", memBwSchema: String = "",
            schemata: [String] = [], enableMonitoring: Bool = false
        ) {
            self.line = line
            self.closID = closID
            self.l3CacheSchema = l3CacheSchema
            self.memBwSchema = memBwSchema
            self.schemata = schemata
            self.enableMonitoring = enableMonitoring
        }
    }

    package var env: [Variable] = []
    package var deviceNodes: [DeviceNode] = []
    package var netDevices: [NetDevice] = []
    package var mounts: [Mount] = []
    package var hooks: [Hook] = []
    package var intelRdt: IntelRdt?
    package var additionalGids: [UInt32] = []

    package init() {}

    package var isEmpty: Bool {
        env.isEmpty && deviceNodes.isEmpty && netDevices.isEmpty && mounts.isEmpty && hooks.isEmpty && intelRdt == nil
            && additionalGids.isEmpty
    }
}
