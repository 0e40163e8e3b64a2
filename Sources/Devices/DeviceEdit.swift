package import LinuxKernel

/// One change that devices make to a container, decided and explained: what CDI's edits, the driver's own discovery
/// and the site's rules come down to.
package struct DeviceEdit: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
        /// A device node of the host.
        case node(DeviceNode, path: String)
        case bind(source: String, path: String, recursive: Bool, attributes: MountAttributes)
        case fileSystem(type: String, path: String, flags: MountFlags, data: String)
        /// `NAME=VALUE`; `isDefault` gives way to whoever else sets it.
        case variable(String, isDefault: Bool)
        case symlink(path: String, target: String)
        /// More libraries for the container's dynamic loader.
        case loader(LoaderUpdate)
        /// A file of the host, shown with another content.
        case cover(path: String, [UInt8])
        /// A small file inside.
        case file(path: String, [UInt8])
        /// The mode of a directory inside, where it is there.
        case mode(path: String, UInt32)
        /// A group that the command is to be in.
        case group(UInt32)
        /// A program of the host, run by the site's leave.
        case hook(HookCall)
    }

    package let action: Action
    package let origin: Origin

    package enum Origin: Equatable, Sendable {
        /// Which device of which file and line.
        case cdi(String)
        /// Found beside the driver or in /dev, and why it is wanted.
        case host(String)
        /// File and line of berth.conf.
        case site(String)
        /// Which option of the command line.
        case option(String)
    }

    package init(_ action: Action, _ origin: Origin) {
        self.action = action
        self.origin = origin
    }

    /// The place inside that the edit fills, if it fills one.
    package var path: String? {
        switch action {
        case .node(_, let path), .bind(_, let path, _, _), .fileSystem(_, let path, _, _), .symlink(let path, _),
            .cover(let path, _), .file(let path, _):
            path
        default: nil
        }
    }
}

/// What to tell the container's loader.
package struct LoaderUpdate: Equatable, Sendable {
    package var libraries: [LoaderCache.Library]
    /// Only where the image has none of that name.
    package var fallbacks: [LoaderCache.Library]
    /// Directories for a loader without a cache: musl's.
    package var folders: [String]
    package var compatibility: CUDACompatibility?

    package init(
        libraries: [LoaderCache.Library] = [], fallbacks: [LoaderCache.Library] = [], folders: [String] = [],
        compatibility: CUDACompatibility? = nil
    ) {
        self.libraries = libraries
        self.fallbacks = fallbacks
        self.folders = folders
        self.compatibility = compatibility
    }
}

/// A hook to run: the runtime-spec's, https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks
package struct HookCall: Equatable, Sendable {
    package let path: String
    package let arguments: [String]
    package let environment: [String]
    /// In seconds.
    package let timeout: Int?
    /// `startContainer`: in the container's own root; otherwise on the host's, before the root changes.
    package let isInside: Bool

    package init(path: String, arguments: [String], environment: [String], timeout: Int?, isInside: Bool) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.timeout = timeout
        self.isInside = isInside
    }
}
