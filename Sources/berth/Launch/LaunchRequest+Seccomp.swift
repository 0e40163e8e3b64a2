internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox
internal import SiteConfig
internal import Store

extension LaunchRequest {
    /// The filters of system calls for the command. The one of `--root` comes with it, unless the user wants none.
    func seccompFilters() throws(Failure) -> [SeccompFilter] {
        let fakesRoot = options.root && !caller.isRoot
        if options.seccomp == SeccompChoice.none { return [] }
        var filters = fakesRoot ? [try Self.builtIn(.fakeroot, .option("--root"))] : []
        switch options.seccomp {
        case nil, SeccompChoice.none?: filters += try siteFilters()
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
        case .builtIn(.standard): filters.append(try Self.builtIn(.standard, .option("--seccomp")))
        case .file(let path): filters.append(try compiled(path, .option("--seccomp")))
        }
        return filters
    }

    private func siteFilters() throws(Failure) -> [SeccompFilter] {
        guard let setting = configuration.seccomp, setting.value != "none" else { return [] }
        return [
            setting.value == "default"
                ? try Self.builtIn(.standard, .site(setting.place)) : try compiled(setting.value, .site(setting.place))
        ]
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
            filters.append(try builtIn(known, .host))
        }
        return filters
    }

    static func builtIn(_ name: SeccompChoice.BuiltIn, _ origin: Origin) throws(Failure) -> SeccompFilter {
        do throws(SystemError) {
            var filter = try SeccompRecords.builtIn(name)
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
}

// MARK: Profiles

extension LaunchRequest {
    /// Compiled by the image tool once for each state of the profile and for what it depends on, and left in the store.
    private func compiled(_ path: String, _ origin: Origin) throws(Failure) -> SeccompFilter {
        let release = (try? contents(of: "/proc/sys/kernel/osrelease", limit: 256)) ?? []  // without /proc: the same all along
        let capabilities = options.containerCapabilities(isRoot: caller.isRoot)
        let conditions = ";\(RawText.string(release.dropLast()[...]));\(capabilities.joined(separator: ","))"
        let state = try Self.state(of: path)
        let key = state + conditions
        let name = "seccomp-\(caller.userID)-\(Self.hash(path + conditions))~\(Self.hash(key))"
        let storePath = settings.storePath
        let owner = configuration.sharedStores.first { $0.path == storePath }?.owner
        if let bytes = DeviceRecords.read(name, store: storePath, owner: owner),
            var filter = SeccompFilter(decoding: bytes, key: key, name: path)
        {
            filter.origin = origin
            return filter
        }
        let bytes = try ImageTool.compile(
            ["seccomp", path, "--record", key] + capabilities.flatMap { ["--capability", $0] },
            environment: caller.environment)
        guard var filter = SeccompFilter(decoding: bytes, key: key, name: path) else {
            throw .report(
                Report(
                    "the seccomp filter of \(path) is of another version of Berth",
                    hint: "install PREFIX/bin/berth and PREFIX/libexec/berth from one build"))
        }
        // A file that has changed meanwhile is right, and not to be kept.
        if try Self.state(of: path) == state { DeviceRecords.write(bytes, name, store: storePath, owner: owner) }
        filter.origin = origin
        return filter
    }

    /// Another text, another size or another time make another state.
    private static func state(of path: String) throws(Failure) -> String {
        let fault: UntrustedPath?
        let status: FileStatus
        do throws(SystemError) {
            status = try FileStatus(of: path)
            fault = try Trust().fault(on: path)
        } catch {
            throw .report(
                Report(
                    "cannot read the seccomp profile \(path): \(error.sentence)",
                    hint: "--seccomp takes none, default, or the path of a profile"))
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
