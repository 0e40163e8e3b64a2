package import LinuxKernel

/// The site's and the user's configuration: `/etc/berth/berth.conf` and `~/.config/berth/berth.conf`.
///
/// Lines are `name = value`; `#` starts a comment; `mount` may repeat and is an fstab(5) line.
/// docs/reference/configuration.md describes all settings.
package struct SiteConfiguration: Equatable, Sendable {
    package struct Mount: Equatable, Sendable {
        package let source: String
        package let target: String
        package let type: String
        package let options: [String]
        /// The file and line.
        package let place: String
    }

    /// A setting that another module parses, with its file and line.
    package struct Setting: Equatable, Sendable {
        package let name: String
        package let value: String
        package let file: String
        package let line: Int
        package var place: String { "\(file):\(line)" }
    }

    package var mounts: [Mount] = []
    /// All lines in the order of their precedence, for explanations and `berth config`.
    package internal(set) var settings: [Setting] = []
    /// Lines of `scratch` and `mount` with an unset variable. Only launches report them.
    package internal(set) var unresolved: [ConfigurationError] = []
    /// `NAME=SOFT[:HARD]`, as `--ulimit` takes it.
    package var limits: [Setting] = []
    /// Words of `--require`.
    package var requirements: [Setting] = []
    /// Words of `--enforce`.
    package var enforcement: Setting?
    /// Nodes that the Slurm plugin allows every task in addition to its granted devices.
    package var allowedDevices: [String] = []
    package var home = false
    /// Whether an ordinary user is root in the container by default.
    package var root = false
    package var store: String?
    package var scratch: String?
    package var scratchLimit: String?
    package var insecureRegistries: [String] = []
    /// Mirrors to try before the registries, in this order.
    package var mirrors: [Mirror] = []
    /// Which registries and repositories are permitted.
    package internal(set) var registries = RegistryPolicy()
    /// How long the first task of a step waits for the other tasks when it is ready, in milliseconds.
    package var joinWait = 1000

    /// Whether launches are recorded.
    package var record = false
    /// The directory of the records; `nil` means the user's state directory.
    package var recordDirectory: String?
    /// Variables and options whose values a record omits, in addition to those that look like secrets.
    package var mask: [String] = []

    /// The store that an administrator fills with `berth pull --system`; searched before the other shared stores.
    package var systemStore: SharedStore?
    package var otherSharedStores: [SharedStore] = []
    /// A directory on shared storage through which nodes share downloaded blobs.
    package var blobCache: String?
    /// The defaults of `berth prune`: the maximum size in bytes, and how long to keep unused images, in seconds.
    package var keepStorage: UInt64?
    package var pruneUntil: Int64?
    package var layerLimits: [LayerLimit] = []
    /// The directories of CDI specifications in ascending priority; empty means those of the CDI specification.
    package var cdiDirectories: [String] = []
    /// Programs that CDI specifications may run as hooks.
    package var cdiHooks: [String] = []
    /// A name of `Fabric`.
    package var fabric: String?
    package var fabricRules: [FabricLine] = []
    package var profile: String?
    /// `none`, `default` or the absolute path of a profile.
    package var seccomp: Setting?
    /// From the site's own file and its drop-ins. Other files do not change them.
    package internal(set) var enforcementOfSite: Setting?
    package internal(set) var seccompOfSite: Setting?
    /// The content of the site's file if `BERTH_CONFIG` named a descriptor, because a pipe can be read only once.
    package internal(set) var textByDescriptor: [UInt8]?

    /// `fabric-mount`, `fabric-library` or `fabric-variable`.
    package struct FabricLine: Equatable, Sendable {
        package enum Kind: Equatable, Sendable {
            case mount(source: String, target: String)
            case library(String)
            case variable(String)
        }
        package let fabric: String
        package let kind: Kind
        /// The file and line.
        package let place: String
    }

    package init() {}
}

/// Why a configuration file, or a line of it, is unusable.
package struct ConfigurationError: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        case unreadable(SystemError)
        /// Another user could have written the file. `isOwn` is true for the user's own file.
        case untrusted(UntrustedPath, isOwn: Bool)
        case unknownName(String)
        case badValue(name: String, value: String, expected: String)
        case notAnAssignment
        /// A variable of `store`, `scratch` or `mount` is unset, or its value cannot be part of a path.
        case unsetVariable(setting: String, variable: String)
        /// The file contains a NUL byte: it is UTF-16 or binary.
        case notText
        /// Reading would block: a FIFO, a socket or a device.
        case notAFile
    }
    package let file: String
    package let line: Int
    package let reason: Reason

    package init(file: String, line: Int, reason: Reason) {
        self.file = file
        self.line = line
        self.reason = reason
    }

    func isOf(_ name: String) -> Bool {
        if case .unsetVariable(name, _) = reason { true } else { false }
    }
}

extension SiteConfiguration {
    struct Refusal: Error { let reason: ConfigurationError.Reason }

    mutating func set(_ name: String, _ text: String, _ source: Source, _ line: Int) throws(Refusal) {
        var value = text
        if PathVariables.settings.contains(name) {
            do throws(PathVariables.Fault) { value = try PathVariables.expand(text, with: source.variables) } catch {
                return try refuse(name, text, source, line, error)
            }
        }
        try assign(name, value, source, line)
        if name == "scratch" { unresolved.removeAll { $0.isOf(name) } }
        settings.append(Setting(name: name, value: value, file: source.file, line: line))
    }

    private mutating func refuse(
        _ name: String, _ text: String, _ source: Source, _ line: Int, _ fault: PathVariables.Fault
    ) throws(Refusal) {
        switch fault {
        case .unknown(let word):
            throw Refusal(
                reason: .badValue(
                    name: name, value: text, expected: "\(PathVariables.form); \"\(word)\" is none of them"))
        case .unset(let variable):
            let reason = ConfigurationError.Reason.unsetVariable(setting: name, variable: variable)
            // All commands need the store. Only launches need the others, and a mount with nofail is optional.
            if name == "store" { throw Refusal(reason: reason) }
            var form = SiteConfiguration()
            try form.set(name, text, Source(file: source.file, level: source.level), line)
            if form.mounts.contains(where: { $0.options.contains("nofail") }) { return }
            unresolved.append(ConfigurationError(file: source.file, line: line, reason: reason))
        }
    }

    private mutating func assign(
        _ name: String, _ value: String, _ source: Source, _ line: Int
    ) throws(Refusal) {
        let file = source.file
        func bad(_ expected: String) -> Refusal {
            Refusal(reason: .badValue(name: name, value: value, expected: expected))
        }
        switch name {
        case "mount":
            guard let mount = Mount(fstab: value, place: "\(file):\(line)") else { throw bad(Mount.form) }
            if let option = mount.unknownOption {
                let kind = mount.type == "tmpfs" ? "tmpfs" : "bind mount"
                throw bad("\(Mount.form); \"\(option)\" is no option of a \(kind)")
            }
            if isRootPath(mount.target) { throw bad("\(Mount.form), where TARGET is a path below /") }
            mounts.append(mount)
        case "ulimit":
            guard value.contains("=") else { throw bad("NAME=SOFT[:HARD]") }
            // The user's value of a limit overrides the site's.
            let limit = value.prefix { $0 != "=" }
            limits.removeAll { $0.value.prefix { $0 != "=" } == limit }
            limits.append(Setting(name: name, value: value, file: file, line: line))
        case "enforce":
            enforcement = Setting(name: name, value: value, file: file, line: line)
            if source.level == .site { enforcementOfSite = enforcement }
        case "seccomp":
            guard value == "none" || value == "default" || Self.path(value) != nil else {
                throw bad("none, default, or the absolute path of a profile")
            }
            seccomp = Setting(name: name, value: value, file: file, line: line)
            if source.level == .site { seccompOfSite = seccomp }
        case "allow-device":
            guard let path = Self.path(value), path.hasPrefix("/dev/") else { throw bad("/dev/NODE") }
            allowedDevices.append(path)
        case "require": requirements.append(Setting(name: name, value: value, file: file, line: line))
        case "home":
            guard value == "yes" || value == "no" else { throw bad("yes or no") }
            home = value == "yes"
        case "root":
            guard value == "yes" || value == "no" else { throw bad("yes or no") }
            root = value == "yes"
        case "store":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            store = path
        case "scratch":
            guard value == "memory" || Self.path(value) != nil else { throw bad("memory, or " + Self.onePath) }
            scratch = value == "memory" ? nil : Self.path(value)
        case "scratch-limit":
            guard Self.bytes(value) != nil else { throw bad("bytes, with k, m, g or t") }
            scratchLimit = value
        case "insecure-registry":
            guard Self.isRegistry(value) else { throw bad("HOST[:PORT], without http:// and without a path") }
            insecureRegistries.append(value.lowercased())
        case "mirror":
            guard let mirror = Mirror(value, isSites: source.level == .site) else {
                throw bad("REGISTRY MIRROR, each HOST[:PORT]; a path may follow the second")
            }
            mirrors.append(mirror)
        case "registries":
            guard let rules = RegistryPolicy.Rule.parse(value, source.level, "\(file):\(line)") else {
                throw bad(RegistryPolicy.form)
            }
            registries.rules += rules
        case "join-wait":
            guard let milliseconds = Int(value), (0...600_000).contains(milliseconds) else {
                throw bad("milliseconds from 0 to 600000")
            }
            joinWait = milliseconds
        default:
            if try setStorage(name, value, bad) { return }
            if try !setDevices(name, value, bad, "\(file):\(line)") { throw Refusal(reason: .unknownName(name)) }
        }
    }

    /// Parses the storage settings; returns `false` for other names.
    private mutating func setStorage(
        _ name: String, _ value: String, _ bad: (String) -> Refusal
    ) throws(Refusal) -> Bool {
        switch name {
        case "system-store", "shared-store":
            guard let shared = SharedStore(value) else {
                throw bad("an absolute path, optionally followed by owner=UID")
            }
            if name == "system-store" { systemStore = shared } else { otherSharedStores.append(shared) }
        case "blob-cache":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            blobCache = path
        case "keep-storage":
            guard let bytes = Self.bytes(value) else { throw bad("bytes, with k, m, g or t") }
            keepStorage = UInt64(bytes)
        case "record":
            guard value == "yes" || value == "no" else { throw bad("yes or no") }
            record = value == "yes"
        case "record-directory":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            recordDirectory = path
        case "mask":
            guard !value.isEmpty else { throw bad("names of variables, with * at the end for any ending") }
            mask += Self.words(value)
        case "prune-until":
            guard let seconds = Self.seconds(value) else { throw bad("a time such as 12h, 30d or 2w") }
            pruneUntil = seconds
        case "layer-limit":
            guard let limit = LayerLimit(value) else {
                throw bad("NAME=NUMBER, where NAME is one of " + LayerLimit.names.joined(separator: ", "))
            }
            layerLimits.removeAll { $0.name == limit.name }
            layerLimits.append(limit)
        default: return false
        }
        return true
    }

    /// Parses the device settings; returns `false` for other names.
    private mutating func setDevices(
        _ name: String, _ value: String, _ bad: (String) -> Refusal, _ place: String
    ) throws(Refusal) -> Bool {
        switch name {
        case "cdi-directory":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            cdiDirectories.append(path)
        case "cdi-hook":
            guard let path = Self.path(value) else { throw bad(Self.onePath) }
            cdiHooks.append(path)
        case "fabric":
            guard Self.fabrics.contains(value) else { throw bad("auto, none, ib or efa") }
            fabric = value
        case "fabric-mount", "fabric-library", "fabric-variable":
            guard let line = FabricLine(name, value, place: place) else {
                throw bad(
                    name == "fabric-mount"
                        ? "FABRIC SOURCE [TARGET], FABRIC being ib or efa and both paths absolute"
                        : name == "fabric-library"
                            ? "FABRIC LIBRARY, FABRIC being ib or efa and LIBRARY an absolute path"
                            : "FABRIC NAME=VALUE, FABRIC being ib or efa")
            }
            fabricRules.append(line)
        case "profile":
            guard value == "pytorch" || value == "none" else { throw bad("pytorch or none") }
            profile = value
        default: return false
        }
        return true
    }

    private static let fabrics = ["auto", "none", "ib", "efa"]
}
