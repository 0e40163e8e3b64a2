package import LinuxKernel

/// One change that devices make to a container, with its origin. CDI edits, driver discovery and site rules all produce
/// these.
package struct DeviceEdit: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
        /// A device node of the host.
        case node(DeviceNode, path: String)
        case bind(source: String, path: String, recursive: Bool, attributes: MountAttributes)
        case fileSystem(type: String, path: String, flags: MountFlags, data: String)
        /// `NAME=VALUE`. A default does not override a variable that something else sets.
        case variable(String, isDefault: Bool)
        case symlink(path: String, target: String)
        /// Libraries to add for the container's dynamic loader.
        case loader(LoaderUpdate)
        /// Mounts a file with this content over an existing one.
        case cover(path: String, [UInt8])
        /// Creates a small file.
        case file(path: String, [UInt8])
        /// Sets the mode of a directory if it exists.
        case mode(path: String, UInt32)
        /// A supplementary group for the command.
        case group(UInt32)
        /// A host program that the site allows specifications to run.
        case hook(HookCall)
    }

    package let action: Action
    package let origin: Origin

    package enum Origin: Equatable, Sendable {
        /// The device, file and line of a CDI specification.
        case cdi(String)
        /// Driver discovery or /dev, and the reason.
        case host(String)
        /// The file and line of berth.conf.
        case site(String)
        /// The command-line option.
        case option(String)
    }

    package init(_ action: Action, _ origin: Origin) {
        self.action = action
        self.origin = origin
    }

    /// The container path that the edit creates, if any.
    package var path: String? {
        switch action {
        case .node(_, let path), .bind(_, let path, _, _), .fileSystem(_, let path, _, _), .symlink(let path, _),
            .cover(let path, _), .file(let path, _):
            path
        default: nil
        }
    }
}

/// The input for the container's loader.
package struct LoaderUpdate: Equatable, Sendable {
    package var libraries: [LoaderCache.Library]
    /// Used only if the image lacks a library of that name.
    package var fallbacks: [LoaderCache.Library]
    /// Directories for a loader without a cache (musl).
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

/// A hook to run: https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks
package struct HookCall: Equatable, Sendable {
    package let path: String
    package let arguments: [String]
    package let environment: [String]
    /// The timeout in seconds.
    package let timeout: Int?
    /// `true` for `startContainer`, which runs in the container's root. Other hooks run on the host before the root
    /// changes.
    package let isInside: Bool

    package init(path: String, arguments: [String], environment: [String], timeout: Int?, isInside: Bool) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.timeout = timeout
        self.isInside = isInside
    }
}
