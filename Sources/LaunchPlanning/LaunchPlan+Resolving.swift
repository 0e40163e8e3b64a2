internal import LinuxKernel

extension LaunchPlan {
    /// Decides what a launch does. Pure: no system call, no clock, no environment but the one in `host`.
    package init(
        options: LaunchOptions, image: ContainerImage, site: SitePolicy, host: HostFacts
    ) throws(PlanError) {
        var steps = Self.foundations(options, image, site, host)
        // Before anything of the host is mounted: wherever the image's links lead, they cannot lead there.
        steps += Self.names(options, image, host)
        steps += Self.deviceFiles(host, image)
        let directory = image.workingDirectory
        if !directory.isEmpty, !Self.isCovered(directory) {
            steps.append(PlannedStep(.directory(directory, mode: 0o755), .image))
        }
        for (path, mode) in [("/proc", 0o555), ("/sys", 0o555), ("/tmp", 0o1777), ("/dev", 0o755)] as [(String, UInt32)]
        {
            steps.append(PlannedStep(.systemDirectory(path, mode: mode), .berth))
        }
        // From here on mounts; what follows creates files on the container's own file systems only.
        steps += Self.deviceMounts(host, image)
        steps += Self.systemMounts(options, host)
        steps += try Self.devices(options, host)
        steps += Self.coveredDeviceFiles(host)
        steps += Self.withMountPoints(Self.requestedMounts(options, site, host))
        if options.readOnly || !image.overlay {
            steps.append(PlannedStep(.sealRoot, options.readOnly ? .option("--read-only") : .berth))
        }
        steps += Self.hooks(host, inside: false)
        steps.append(PlannedStep(.pivot, .berth))
        steps += Self.hooks(host, inside: true)
        if let hostname = options.hostname { steps.append(PlannedStep(.hostname(hostname), .option("--hostname"))) }
        self.init(
            steps: steps,
            process: try ProcessPlan(options: options, image: image, site: site, host: host),
            cgroupPolicy: try CgroupPolicy(options: options, site: site, host: host, steps: steps))
        var options = options
        if !host.isRoot, !options.root {
            options.notePrivileged(
                "an ordinary user's command has no capabilities; with --root it has all of them, over the container's own "
                    + "namespaces")
        }
        notes = options.notes + Self.notes(options, host)
        if host.isRoot, options.enforcement?.memory == true, cgroupPolicy?.memory == nil {
            notes.append("note: --enforce memory: no limit of memory is known outside of a job of Slurm's, so none is enforced")
        }
        if !options.requirements.isEmpty || !site.requirements.isEmpty {
            let unmet = unmet(
                options.requirements.map { PlacedRequirement($0, .option("--require")) } + site.requirements, host)
            guard unmet.isEmpty else { throw .unmet(unmet) }
        }
    }

    /// What of the options this caller cannot have.
    private static func notes(_ options: LaunchOptions, _ host: HostFacts) -> [String] {
        var notes: [String] = []
        let added = options.capabilities.addsAll || !options.capabilities.added.isEmpty
        if added, !host.isRoot, !options.root, !options.capabilities.isPrivileged {
            notes.append(
                "note: --cap-add: an ordinary user's command has no capabilities; with --root it has all of them, over the "
                    + "container's own namespaces")
        }
        if options.home == true, isRootPath(host.accounts.home), home(options, SitePolicy(), host) == nil {
            notes.append("note: --home: the home directory of \(host.accounts.userName) is /, which is not mounted")
        }
        if !host.isRoot {
            for group in options.groups
            where !host.accounts.groups.contains(where: { $0.name == group || String($0.id) == group }) {
                notes.append(
                    "note: --group-add \(group): only root joins a group; the groups that you are in give access inside, too"
                )
            }
        }
        for wanted in options.limits {
            let hard = wanted.hard ?? wanted.soft
            guard let now = host.limits[wanted.limit], hard > now.hard, !host.raisesHardLimits else { continue }
            notes.append(
                "warning: --ulimit \(wanted.limit.rawValue)=\(Self.word(hard)) is above the hard limit, so the limit is "
                    + "\(Self.word(now.hard)): raising a hard limit needs CAP_SYS_RESOURCE. Under Slurm the hard limit is slurmd's (LimitMEMLOCK= and its like in its systemd "
                    + "unit), otherwise that of /etc/security/limits.conf")
        }
        return notes
    }

    private static func word(_ limit: UInt64) -> String { limit == LimitValues.unlimited ? "unlimited" : "\(limit)" }

    private static func foundations(
        _ options: LaunchOptions, _ image: ContainerImage, _ site: SitePolicy, _ host: HostFacts
    ) -> [PlannedStep] {
        var kinds = NamespaceKinds.mount
        var map: IDMap?
        if !host.isRoot {
            kinds = kinds | .user
            map = IDMap(
                insideUser: options.root ? 0 : host.userID, outsideUser: host.userID,
                insideGroup: options.root ? 0 : host.groupID, outsideGroup: host.groupID)
        }
        if options.hostname != nil { kinds = kinds | .hostname }
        kinds = kinds | options.unshare
        // Each task makes its own when it joins.
        if options.commandIsSlurms { kinds.remove(.process) }
        let scratch: PlannedStep
        if let directory = site.scratchDirectory, image.overlay {
            scratch = PlannedStep(.scratch(.directory(path: directory)), .site(site.scratchPlace))
        } else if let limit = site.scratchLimit {
            scratch = PlannedStep(.scratch(.memory(limit: limit)), .site(site.scratchLimitPlace))
        } else {
            // Half of what the job may use: a runaway writer gets ENOSPC before the job is killed for memory.
            scratch = PlannedStep(.scratch(.memory(limit: host.memoryLimit.map { $0 / 2 })), .berth)
        }
        return [
            PlannedStep(.createNamespaces(kinds, map), .berth),
            PlannedStep(.receivePropagationOnly, .berth),
            scratch,
            PlannedStep(.root(image.overlay ? .overlay(lower: image.trees) : .tree(image.trees.last ?? "/")), .image),
        ]
    }

    private static func systemMounts(_ options: LaunchOptions, _ host: HostFacts) -> [PlannedStep] {
        let hasOwnProcesses = options.unshare.contains(.process) && !options.commandIsSlurms
        var steps: [PlannedStep] = [
            hasOwnProcesses
                ? PlannedStep(
                    .mount(type: "proc", target: "/proc", flags: [.noSetUserID, .noDevices, .noExecution], data: ""),
                    .option("--pid"))
                : PlannedStep(.bind(BindMount(source: "/proc", target: "/proc")), .host),
            PlannedStep(.bind(BindMount(source: "/sys", target: "/sys", attributes: .readOnly)), .host),
            PlannedStep(.bind(BindMount(source: "/tmp", target: "/tmp")), .host),
        ]
        if host.isRoot {
            for path in readOnlyPaths {
                steps.append(
                    PlannedStep(
                        .bind(BindMount(source: path, target: path, attributes: .readOnly, optional: true)), .berth))
            }
        }
        return steps
    }

    /// Files that the host's root may write whatever its capabilities: the ones Docker and runc close too. Writing to
    /// /proc/scsi/scsi removes a disk (CVE-2017-16539).
    package static let readOnlyPaths = [
        "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/asound",
        "/proc/dynamic_debug", "/proc/scsi",
    ]

    private static func names(
        _ options: LaunchOptions, _ image: ContainerImage, _ host: HostFacts
    ) -> [PlannedStep] {
        var steps = [PlannedStep(.accounts(insideAccounts(options, host)), .host)]
        // Copies, as in Docker: a program may edit its own, and no mount is spent on them.
        for path in ["/etc/hosts", "/etc/resolv.conf", "/etc/localtime"] {
            steps.append(PlannedStep(.copy(source: path, target: path), .host))
        }
        if !options.resolver.isEmpty { steps.append(PlannedStep(.resolver(options.resolver), .option("--dns"))) }
        if !options.hosts.isEmpty {
            steps.append(PlannedStep(.append(options.hosts, target: "/etc/hosts"), .option("--add-host")))
        }
        if let hostname = options.hostname {
            // Or a program that looks its own name up, as gloo does, would not find it.
            steps.append(PlannedStep(.append("127.0.0.1 \(hostname)\n", target: "/etc/hosts"), .option("--hostname")))
            steps.append(PlannedStep(.file(Array((hostname + "\n").utf8), "/etc/hostname"), .option("--hostname")))
        }
        if options.root, !host.isRoot, image.usesAPT {
            // APT downloads as another user, of whom a user namespace with one id has none.
            let text = Array("APT::Sandbox::User \"root\";\n".utf8)
            steps.append(PlannedStep(.file(text, "/etc/apt/apt.conf.d/99berth-root"), .option("--root")))
        }
        if !host.isRoot {
            // Somewhere to write for programs that keep caches below HOME; it goes with the container.
            steps.append(PlannedStep(.home(insideAccounts(options, host).home), .berth))
        }
        return steps
    }

    private static func requestedMounts(
        _ options: LaunchOptions, _ site: SitePolicy, _ host: HostFacts
    ) -> [PlannedStep] {
        var steps = schedulerMounts(host)
        let home = home(options, site, host)
        steps += displayMounts(options, host, mountsHome: home != nil)
        if let home {
            let origin: Origin = options.home == nil ? .site(site.homePlace) : .option("--home")
            steps.append(PlannedStep(.bind(BindMount(source: home.source, target: home.target)), origin))
        }
        steps += site.mounts.map { PlannedStep(action(for: $0.request), .site($0.place)) }
        if let here = options.here {
            // Before the user's own, which win.
            steps.append(PlannedStep(.bind(BindMount(source: here, target: here)), .option("--here")))
        }
        return steps + options.mounts.map { PlannedStep(action(for: $0), .option("--volume or --mount")) }
    }

    /// The home directory to be mounted, and where it is inside. It is the one that `HOME` names, as with Enroot; for the
    /// host's root the account's, as `sudo` may keep another user's `HOME`. The site's `home = yes` takes the account's
    /// instead of a `HOME` that does not exist: the user did not ask for that directory.
    static func home(
        _ options: LaunchOptions, _ site: SitePolicy, _ host: HostFacts
    ) -> (source: String, target: String)? {
        guard options.home ?? site.mountHome else { return nil }
        let isIgnored = host.isRoot || (options.home == nil && !host.hasHome)
        let named = isIgnored ? nil : host.variable("HOME").flatMap { $0.hasPrefix("/") && $0 != "/" ? $0 : nil }
        let source = named ?? host.accounts.home
        // Of users without one, such as `nobody`. It would be all of the host.
        if isRootPath(source) { return nil }
        return (source, options.root && !host.isRoot ? insideAccounts(options, host).home : source)
    }

    /// Puts a step before each mount that may lie in an earlier one, by its path or by a link: as with Docker, its mount
    /// point is then made there. An optional mount is passed over instead.
    private static func withMountPoints(_ mounts: [PlannedStep]) -> [PlannedStep] {
        var steps: [PlannedStep] = []
        var isFirst = true
        for step in mounts {
            switch step.action {
            case .bind(let bind):
                if !bind.optional, !isFirst || isBelowHosts(bind.target) {
                    steps.append(PlannedStep(.mountPoint(bind.target, source: bind.source), step.origin))
                }
                isFirst = false
            case .mount(_, let target, _, _):
                if !isFirst || isBelowHosts(target) {
                    steps.append(PlannedStep(.mountPoint(target, source: nil), step.origin))
                }
            default: break
            }
            steps.append(step)
        }
        return steps
    }

    private static func isBelowHosts(_ target: String) -> Bool {
        ["/tmp/", "/dev/shm/", "/dev/mqueue/"].contains { target.hasPrefix($0) }
    }

    /// What PMIx and Slurm's own commands look for at the same place: PMIx' rendezvous files below slurmd's spool, and
    /// munge's socket, by which PMIx checks who its peer is.
    private static func schedulerMounts(_ host: HostFacts) -> [PlannedStep] {
        guard host.variable("SLURM_JOB_ID") != nil else { return [] }
        var paths = ["/run/munge"]
        if let directory = host.variable("PMIX_SERVER_TMPDIR"), directory.hasPrefix("/") { paths.append(directory) }
        return paths.map { path in
            PlannedStep(.bind(BindMount(source: path, target: path, optional: true)), .grant("Slurm"))
        }
    }

    /// The X server's cookie, where DISPLAY names a server: that of Slurm's or ssh's forwarding, or of a desktop. The server
    /// itself is reached over loopback or by a socket that has a name in `/tmp`.
    private static func displayMounts(
        _ options: LaunchOptions, _ host: HostFacts, mountsHome: Bool
    ) -> [PlannedStep] {
        guard let display = host.variable("DISPLAY"), !display.isEmpty else { return [] }
        let name = "/.Xauthority"
        var (source, target) = (host.accounts.home + name, insideAccounts(options, host).home + name)
        if let named = host.variable("XAUTHORITY"), named.hasPrefix("/") {
            (source, target) = (named, named)
            // There already.
            if named.hasPrefix("/tmp/") { return [] }
        } else if mountsHome {
            return []
        }
        return [
            PlannedStep(
                .bind(BindMount(source: source, target: target, attributes: .readOnly, optional: true)), .host)
        ]
    }

    private static func action(for request: MountRequest) -> PlanAction {
        switch request.kind {
        case .bind(let source, let recursive):
            var bind = BindMount(
                source: source, target: request.target, recursive: recursive,
                attributes: request.readOnly ? request.attributes.union(.readOnly) : request.attributes,
                optional: request.optional)
            bind.propagation = request.propagation
            return .bind(bind)
        case .tmpfs(let size, let mode):
            var flags: MountFlags = [.noSetUserID, .noDevices]
            if request.readOnly { flags.insert(.readOnly) }
            if request.attributes.contains(.noExecution) { flags.insert(.noExecution) }
            let size = size.map { ["size=\($0)"] } ?? []
            return .mount(
                type: "tmpfs", target: request.target, flags: flags,
                data: (size + ["mode=\(String(mode, radix: 8))"] + request.data).joined(separator: ","))
        case .unmount:
            return .unmount(request.target)
        }
    }

    /// The caller's names with the ids that they have inside.
    static func insideAccounts(_ options: LaunchOptions, _ host: HostFacts) -> Accounts {
        guard options.root, !host.isRoot else { return host.accounts }
        var accounts = host.accounts
        accounts.userName = "root"
        accounts.userID = 0
        accounts.groupID = 0
        accounts.home = "/root"
        accounts.groups = [Accounts.Group(name: "root", id: 0)]
        return accounts
    }
}
