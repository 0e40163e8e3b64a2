internal import Allocation
package import Devices
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
package import SiteConfig

extension NodeFacts {
    /// Reads the facts of this node as the current user.
    ///
    /// - Parameters:
    ///   - launcher: The program `berth`, which tries to create namespaces in a separate process. Security modules
    ///     decide by program, so another program could get another result.
    ///   - compile: Compiles the CDI specifications of these directories.
    package init(
        environment: @escaping (String) -> String?, store option: String?, launcher: String,
        compile: ([String]) -> DeviceRegistry = { _ in DeviceRegistry() }
    ) {
        self.init()
        isRoot = Identity.isRoot
        kernel = Self.line("/proc/sys/kernel/osrelease")
        isInJob = environment("SLURM_JOB_ID") != nil
        let home = environment("HOME") ?? "/"
        let entry = NameService.users.entry(id: Identity.outerUserID)
        let account = entry?.homeDirectory
        let site = readConfiguration(
            environment, SiteConfiguration.homes(environment: environment, accountHome: account), entry)
        let path = site.storePath(
            option: option, environment: environment, userID: Identity.userID, isRoot: isRoot, accountHome: account)
        remoteMounts = Self.remoteMounts(Self.lines("/proc/self/mountinfo"))
        store = place(path.hasPrefix("/") ? path : "/" + path, tryingWhiteouts: true)
        storeIsInHome = [home, account ?? "/"].contains { $0 != "/" && path.hasPrefix($0 + "/") }
        if store.exists {
            let owner = site.sharedStores.first { $0.path == store.path }?.owner
            storeFault = try? Trust(vouched: owner).fault(on: store.path)  // unreadable: reported as not writable
        }
        scratch = site.scratch.map { place($0, tryingWhiteouts: false) }
        if let setting = try? site.mandatorySeccomp() {  // a mistake is a finding of its own
            mandatorySeccomp = (setting.value, setting.place, Self.fault(ofProfile: setting.value))
        }
        siteMounts = site.mounts.filter { $0.type != "tmpfs" }.map { mount in
            SiteMount(
                source: mount.source, place: mount.place,
                errno: isSilent(mount.source) ? 110 : Self.errno(of: mount.source),  // ETIMEDOUT
                mayBeAbsent: mount.options.contains("nofail"))
        }
        trials = Self.trials(
            launcher, isSilent(store.path) ? "/" : Self.nearest(store.path),
            scratch: site.scratch.flatMap { isSilent($0) ? nil : $0 })
        namespaceAdvice = UserNamespaceAdvice.hint(for: 1)
        readDevices()
        let directories = site.cdiDirectories.isEmpty ? SpecificationFiles.directories : site.cdiDirectories
        cdi = CDI(compile(directories), driver: nvidia.driver, nodes: nvidia.nodes)
        readLimits()
        slurm = Slurm(named: environment("SLURM_CONF"), root: "")
        reading { (facts) throws(SystemError) in
            facts.slurm.plugin = try SlurmConfiguration(root: "", named: environment("SLURM_CONF")).plugstack()
                .first { $0[1].contains("spank_berth") }?.joined(separator: " ")
        }
        credentials = Self.credentials(environment, home)
    }

    private mutating func readConfiguration(
        _ environment: @escaping (String) -> String?, _ homes: [String], _ account: [String]?
    ) -> SiteConfiguration {
        do throws(ConfigurationError) {
            let site = try SiteConfiguration.read(environment: environment, homes: homes, account: account)
            if let report = site.faults.last.map({ Report($0) }) {
                configuration = (report.summary, report.hint ?? "")
            }
            return site
        } catch {
            let report = Report(error)
            configuration = (report.summary, report.hint ?? "berth.conf(5) lists all settings")
            return SiteConfiguration()
        }
    }

    /// Of a profile that only root may have written, as it is compiled by root.
    private static func fault(ofProfile path: String) -> String? {
        guard path.hasPrefix("/") else { return nil }
        do throws(SystemError) {
            let status = try FileStatus(of: path)
            if status.userID != 0 { return "is owned by uid \(status.userID), expected root" }
            return status.permissions & 0o022 == 0 ? nil : "can be written by others than its owner"
        } catch {
            return "cannot be read: \(error.sentence)"
        }
    }

    private mutating func readDevices() {
        reading { (facts) throws(SystemError) in facts.nvidia = try NVIDIA(HostTree()) }
        nvidia.refused = nvidia.nodes.filter { OwnedFileDescriptor.isRefusedByCgroup($0.path) }
        reading { (facts) throws(SystemError) in facts.amd = try AMD(HostTree()) }
        reading { (facts) throws(SystemError) in facts.fabrics = try FabricDevices().devices }
        refusedFabrics = fabrics.map(\.node).filter { !OwnedFileDescriptor.mayReadAndWrite($0.path) }
        reading { (facts) throws(SystemError) in facts.constrained = try DeviceConstraint.refused() }
        hasConnectionManager = Self.exists("/dev/infiniband/rdma_cm")
        topologyFile = Fabric.companions.first(where: Self.exists)
    }

    /// Reports an unreadable file as a result and continues.
    private mutating func reading(_ body: (inout NodeFacts) throws(SystemError) -> Void) {
        do throws(SystemError) { try body(&self) } catch {
            if !unreadable.contains(error) { unreadable.append(error) }
        }
    }

    private mutating func readLimits() {
        // getrlimit(2) fails only for an unknown limit.
        if let limit = try? ResourceLimit.lockedMemory.current() { lockedMemory = limit }  // unknown: keep the default
        if let limit = try? ResourceLimit.openFiles.current() { openFiles = limit }  // likewise
        raisesHardLimits = isRoot && Capabilities.holds(.systemResource)
        if let step = OtherProcess.ancestors().first(where: { $0.name == "slurmstepd" }) {
            limitSources.slurmstepd = step.limit(.lockedMemory)
        }
        limitSources.slurmd = OtherProcess.named("slurmd")?.limit(.lockedMemory)
        sharedMemory = try? OwnedFileDescriptor(opening: "/dev/shm", [.path, .directory]).space()  // absent: reported
        for line in Self.lines("/proc/meminfo") where line.hasPrefix("MemTotal:") {
            memory = (line.split(separator: " ").dropFirst().first.flatMap { UInt64($0) } ?? 0) << 10
        }
        let mounts = Self.lines("/proc/self/mountinfo")
        hasUnifiedCgroups = mounts.contains { $0.contains(" - cgroup2 ") }
        hasSeparateCgroups = mounts.contains { $0.contains(" - cgroup ") }
        cgroupLimits = (try? CgroupMembership()).map { CgroupLimits($0) }  // no /proc: unknown
    }

    // MARK: Places

    /// Whether accessing the path would wait for a server that does not answer.
    private func isSilent(_ path: String) -> Bool {
        remoteMounts.contains { $0.answer == .none && $0.holds(path) }
    }

    private func place(_ path: String, tryingWhiteouts: Bool) -> Place {
        isSilent(path)
            ? Place(path: path, exists: false, isWritable: false, takesWhiteouts: nil)
            : Self.place(path, tryingWhiteouts: tryingWhiteouts)
    }

    static func place(_ path: String, tryingWhiteouts: Bool) -> Place {
        let near = nearest(path)
        var place = Place(path: path, exists: near == path, takesWhiteouts: nil)
        guard let directory = try? OwnedFileDescriptor(opening: near, [.readOnly, .directory]) else {  // unreadable
            place.isWritable = false
            return place
        }
        // These cannot fail on an open directory.
        place.type = (try? directory.fileSystemType()) ?? 0  // cannot fail
        if let space = try? directory.space() { place.space = space }  // likewise
        place.mode = (try? directory.status().permissions) ?? 0  // likewise
        place.isWritable = OwnedFileDescriptor.mayReadAndWrite(near)
        if tryingWhiteouts, place.exists, place.isWritable {
            // In the drafts, where the store's next sweep removes leftovers.
            let drafts = try? directory.open("drafts", [.readOnly, .directory])  // absent: no store yet
            if let drafts {
                let name = ".doctor-\(Processes.ownID)"
                do throws(SystemError) {
                    try drafts.makeOverlayWhiteout(name)
                    try drafts.removeFile(name)
                    place.takesWhiteouts = true
                } catch {
                    place.takesWhiteouts = false
                }
            }
        }
        return place
    }

    /// The directory itself, or the nearest existing one above it.
    static func nearest(_ path: String) -> String {
        var components = path.split(separator: "/")
        while !components.isEmpty {
            let path = "/" + components.joined(separator: "/")
            if exists(path) { return path }
            components.removeLast()
        }
        return "/"
    }

    private static func trials(_ launcher: String, _ store: String, scratch: String?) -> [Trial]? {
        // A launcher that does not start is reported as a result.
        guard
            let ended = try? Processes.run(  // failed: `nil`
                launcher, arguments: ["berth", "probe", store] + (scratch.map { [$0] } ?? []), environment: [],
                output: .capture(limit: 65536)),
            ended.status == 0
        else { return nil }
        return String(decoding: ended.output, as: UTF8.self).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count == 2, let errno = Int32(words[1]) else { return nil }
            return Trial(String(words[0]), errno)
        }
    }

    // MARK: Files

    static func exists(_ path: String) -> Bool { (try? FileStatus(of: path)) != nil }  // unreadable: absent

    private static func errno(of path: String) -> Int32 {
        do throws(SystemError) {
            _ = try FileStatus(of: path)
            return 0
        } catch { return error.errno }
    }

    static func text(_ path: String) -> String? {
        guard let bytes = try? contents(of: path, limit: 16 << 20) else { return nil }  // absent: `nil`
        return String(decoding: bytes, as: UTF8.self)
    }

    static func lines(_ path: String) -> [Substring] { text(path)?.split(whereSeparator: \.isNewline) ?? [] }
    static func line(_ path: String) -> String { lines(path).first.map(String.init) ?? "" }
}

extension NodeFacts.Slurm {
    init(named path: String?, root: String) {
        self.init()
        let slurm = SlurmConfiguration(root: root, named: path)
        directory = slurm.directory
        isReadable = slurm.lines(of: "slurm.conf") != nil
        taskPlugin = slurm.value(of: "TaskPlugin", in: "slurm.conf")
        trackingPlugin = slurm.value(of: "ProctrackType", in: "slurm.conf")
        propagateExcept = slurm.value(of: "PropagateResourceLimitsExcept", in: "slurm.conf")
        propagate = slurm.value(of: "PropagateResourceLimits", in: "slurm.conf")
        container = slurm.value(of: "JobContainerType", in: "slurm.conf")
        constrainsDevices = slurm.isSet("ConstrainDevices", in: "cgroup.conf")
        hasGres = slurm.value(of: "GresTypes", in: "slurm.conf") != nil
        slurmd = OtherProcess.named("slurmd")?.limit(.lockedMemory)
        hasMunge = NodeFacts.exists(root + "/run/munge/munge.socket.2")
    }
}

extension NodeFacts {
    /// The existing credential files, in the order in which a pull reads them.
    static func credentials(_ environment: (String) -> String?, _ home: String) -> [CredentialFile] {
        let configuration = environment("XDG_CONFIG_HOME") ?? home + "/.config"
        let paths: [String?] = [
            environment("REGISTRY_AUTH_FILE"), environment("XDG_RUNTIME_DIR").map { $0 + "/containers/auth.json" },
            configuration + "/containers/auth.json",
            (environment("DOCKER_CONFIG") ?? home + "/.docker") + "/config.json",
            home + "/.dockercfg", (environment("ENROOT_CONFIG_PATH") ?? configuration + "/enroot") + "/.credentials",
        ]
        let directories = (environment("PATH") ?? "").split(separator: ":").map(String.init)
        return paths.compactMap { $0 }.filter(exists).map { path in
            let text = text(path)
            // The file existed a moment ago.
            let mode = (try? FileStatus(of: path).permissions) ?? 0  // removed: no mode
            return CredentialFile(
                path: path, isReadable: text != nil, isPrivate: mode & 0o077 == 0,
                helpers: helpers(text ?? "").map { name in
                    CredentialFile.Helper(
                        name: name, isThere: directories.contains { exists($0 + "/docker-credential-" + name) })
                })
        }
    }

    /// The helpers in a Docker configuration, found by its strings: `credsStore`, and the values of `credHelpers`.
    static func helpers(_ text: String) -> [String] {
        var names: [String] = []
        let strings = text.split(separator: "\"", omittingEmptySubsequences: false)
        for (index, word) in strings.enumerated() {
            if word == "credsStore", strings.count > index + 2 { names.append(String(strings[index + 2])) }
            guard word == "credHelpers" else { continue }
            var next = index + 2
            // Key, colon, value. A brace between two strings ends the object.
            while next + 2 < strings.count, !strings[next - 1].contains("}") {
                names.append(String(strings[next + 2]))
                next += 4
            }
        }
        return names.reduce(into: []) { all, name in if !all.contains(name) { all.append(name) } }
    }
}

extension SiteConfiguration {
    /// Errors in values that other modules parse: `ulimit`, `require`, `enforce`, and variables that are not set here.
    package var faults: [ConfigurationError] {
        var faults = unresolved
        for setting in limits + requirements + [enforcement].compactMap({ $0 }) {
            do throws(OptionError) {
                switch setting.name {
                case "ulimit": _ = try LaunchOptions.Limit(parsing: setting.value, option: setting.name)
                case "require": _ = try Requirement.parse(setting.value, option: setting.name)
                default: _ = try EnforcementRequest(parsing: setting.value, option: setting.name)
                }
            } catch {
                // These throw no other.
                guard case .badValue(_, _, let expected) = error else { continue }
                faults.append(
                    ConfigurationError(
                        file: setting.file, line: setting.line,
                        reason: .badValue(name: setting.name, value: setting.value, expected: expected)))
            }
        }
        do throws(ConfigurationError) { _ = try mandatorySeccomp() } catch { faults.append(error) }
        return faults
    }
}
