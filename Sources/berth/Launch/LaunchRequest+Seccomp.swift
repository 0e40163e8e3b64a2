internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig
internal import Store

extension LaunchRequest {
    /// The filters of system calls for the command: the one that the site demands of root, and those that the user chose. The
    /// one of `--root` comes with it, unless the user wants none.
    func seccompFilters() throws(Failure) -> [SeccompFilter] {
        // Tasks of the plugin get it from slurmstepd's side, where no user has a say.
        let mandatory = caller.isRoot && audience != .tasksOfPlugin ? try mandatoryFilter() : nil
        let chosen = try chosenFilters().filter { $0.name != mandatory?.name }
        // First: one of the user's may refuse to load further ones.
        return [mandatory].compactMap { $0 } + chosen
    }

    /// The profile that the site enforces.
    func mandatoryFilter() throws(Failure) -> SeccompFilter? {
        try policy.mandatorySeccomp.map { (wanted) throws(Failure) in
            try profiles(capabilities: []).filter(wanted.profile, .site(wanted.place))
        }
    }

    /// Where what the user asked for does not replace it.
    var noteOfMandatoryFilter: String? {
        guard let wanted = policy.mandatorySeccomp, caller.isRoot || audience == .tasksOfPlugin, let choice = options.seccomp
        else { return nil }
        switch choice {
        case .builtIn(.standard) where wanted.profile == "default": return nil
        case .file(wanted.profile): return nil
        default:
            return "the seccomp profile \(wanted.profile) of the site holds as well, whatever is chosen [\(wanted.place)]"
        }
    }

    private func chosenFilters() throws(Failure) -> [SeccompFilter] {
        let fakesRoot = options.root && !caller.isRoot
        if options.seccomp == SeccompChoice.none { return [] }
        var filters = fakesRoot ? [try SeccompRecords.filter(.fakeroot, .option("--root"))] : []
        let profiles = profiles(capabilities: options.containerCapabilities(isRoot: caller.isRoot))
        switch options.seccomp {
        case nil, SeccompChoice.none?:
            guard let setting = configuration.seccomp, setting.value != "none" else { break }
            filters.append(try profiles.filter(setting.value, .site(setting.place)))
        case .builtIn(.fakeroot):
            guard fakesRoot else {
                throw .options(
                    .refused(
                        option: "--seccomp fakeroot",
                        reason: caller.isRoot
                            ? "root changes owners and users, and needs no filter that pretends to"
                            : "a user who is not root inside has nothing to pretend",
                        remedy: caller.isRoot ? "leave it out" : "add --root"))
            }
        case .builtIn(.standard): filters.append(try SeccompRecords.filter(.standard, .option("--seccomp")))
        case .file(let path): filters.append(try profiles.compiled(path, .option("--seccomp")))
        }
        return filters
    }

    /// Those that a running container's processes are held to, for a process that enters it. A profile of the user's may be
    /// another one by now.
    ///
    /// - Parameter own: The filters of the process itself: kept if the container's have the same names.
    static func filters(
        of label: ContainerLabel, keeping own: [SeccompFilter]? = nil
    ) throws(Failure) -> [SeccompFilter] {
        if let own, ContainerLabel.filterNames(own) == label.filter { return own }
        var filters: [SeccompFilter] = []
        for name in label.filter.split(separator: "+") {
            guard let known = SeccompChoice.BuiltIn(rawValue: String(name)) else {
                throw .report(
                    Report(
                        "the container runs under a seccomp profile that is a file, which cannot be loaded again",
                        hint: "use --seccomp default, or none, for containers to be entered"))
            }
            filters.append(try SeccompRecords.filter(known, .host))
        }
        return filters
    }

    private func profiles(capabilities: [String]) -> SeccompProfileSource {
        let storePath = settings.storePath
        return SeccompProfileSource(
            storePath: storePath, owner: configuration.sharedStores.first { $0.path == storePath }?.owner,
            userID: caller.userID, environment: caller.environment, capabilities: capabilities)
    }
}

/// The filters that Berth comes with: compiled when it was built, installed beside the image tool.
enum SeccompRecords {
    /// - Throws: `EINVAL` for a record that this version does not read.
    static func builtIn(_ name: SeccompChoice.BuiltIn) throws(SystemError) -> SeccompFilter {
        let path = try ImageTool.directory() + "seccomp/" + name.rawValue
        do throws(SystemError) {
            let bytes = try contents(of: path, limit: 1 << 20)
            if let filter = SeccompFilter(decoding: bytes, key: name.rawValue, name: name.rawValue) { return filter }
        } catch {
            throw SystemError(call: error.call, errno: error.errno, subject: path)
        }
        throw SystemError(call: "read", errno: Errno.EINVAL, subject: path)
    }

    static func filter(_ name: SeccompChoice.BuiltIn, _ origin: Origin) throws(Failure) -> SeccompFilter {
        do throws(SystemError) {
            var filter = try builtIn(name)
            filter.origin = origin
            return filter
        } catch {
            throw .report(
                Report(
                    error.errno == Errno.EINVAL
                        ? "the seccomp filter \(error.subject) is damaged or of another version of Berth"
                        : "cannot read the seccomp filter \(error.subject): \(error.sentence)",
                    hint: "install PREFIX/bin/berth and PREFIX/libexec/berth from one build (Scripts/install PREFIX)"))
        }
    }
}

/// Profiles in files, compiled by the image tool once for each state of the file and for what it depends on. The records are
/// left in a store.
struct SeccompProfileSource {
    let storePath: String
    /// Who may own the store besides root and the caller.
    let owner: UInt32?
    let userID: UInt32
    /// For the image tool.
    let environment: [String]
    /// What conditions of the profile are judged by.
    let capabilities: [String]

    /// - Parameter value: Of `seccomp =`: `default`, or a path.
    func filter(_ value: String, _ origin: Origin) throws(Failure) -> SeccompFilter {
        value == "default" ? try SeccompRecords.filter(.standard, origin) : try compiled(value, origin)
    }

    func compiled(_ path: String, _ origin: Origin) throws(Failure) -> SeccompFilter {
        let release = (try? contents(of: "/proc/sys/kernel/osrelease", limit: 256)) ?? []  // without /proc: the same all along
        let conditions = ";\(RawText.string(release.dropLast()[...]));\(capabilities.joined(separator: ","))"
        let state = try Self.state(of: path, origin)
        let key = state + conditions
        let name = "seccomp-\(userID)-\(Self.hash(path + conditions))~\(Self.hash(key))"
        if let bytes = DeviceRecords.read(name, store: storePath, owner: owner),
            var filter = SeccompFilter(decoding: bytes, key: key, name: path)
        {
            filter.origin = origin
            return filter
        }
        let bytes = try ImageTool.compile(
            ["seccomp", path, "--record", key] + capabilities.flatMap { ["--capability", $0] }, environment: environment)
        guard var filter = SeccompFilter(decoding: bytes, key: key, name: path) else {
            throw .report(
                Report(
                    "the seccomp filter of \(path) is of another version of Berth",
                    hint: "install PREFIX/bin/berth and PREFIX/libexec/berth from one build"))
        }
        // A file that has changed meanwhile is right, and not to be kept.
        if try Self.state(of: path, origin) == state { DeviceRecords.write(bytes, name, store: storePath, owner: owner) }
        filter.origin = origin
        return filter
    }

    /// Another text, another size or another time make another state.
    private static func state(of path: String, _ origin: Origin) throws(Failure) -> String {
        let fault: UntrustedPath?
        let status: FileStatus
        do throws(SystemError) {
            status = try FileStatus(of: path)
            fault = try Trust().fault(on: path)
        } catch {
            throw .report(
                Report(
                    "cannot read the seccomp profile \(path): \(error.sentence)",
                    hint: origin == .option("--seccomp")
                        ? "--seccomp takes none, default, or the path of a profile"
                        : "correct `seccomp =` [\(origin.summary)]"))
        }
        if let fault {
            throw .report(
                Report(
                    refusing: "seccomp profile", path, fault,
                    hint: "a profile belongs to root or to its user, and no one else may write it"))
        }
        return
            "\(path);\(status.device),\(status.inode),\(status.size),\(status.modified.seconds).\(status.modified.nanoseconds)"
            + ",\(status.changed.seconds).\(status.changed.nanoseconds)"
    }

    /// For a record's name; the record has the whole key.
    private static func hash(_ text: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }
}
