internal import Devices
internal import LinuxKernel

extension ProcessPlan {
    init(
        options: LaunchOptions, image: ContainerImage, site: SitePolicy, host: HostFacts
    ) throws(PlanError) {
        // Docker's rules: --entrypoint replaces the image's ENTRYPOINT and drops its CMD.
        let entrypoint = options.entrypoint.map { $0.isEmpty ? [] : [$0] } ?? image.entrypoint
        let command = options.command.isEmpty && options.entrypoint == nil ? image.command : options.command
        let arguments = entrypoint + command
        guard !arguments.isEmpty || options.commandIsSlurms else {
            throw .noCommand(image: image.name, entrypointIsDropped: options.entrypoint != nil)
        }

        let directory =
            options.workingDirectory ?? options.here ?? (image.workingDirectory.isEmpty ? "/" : image.workingDirectory)
        guard directory.hasPrefix("/") else { throw .relativeWorkingDirectory(directory) }

        let asRoot = host.isRoot
        let variables = try ContainerEnvironment.resolve(options: options, image: image, site: site, host: host)
        self.init(
            arguments: arguments,
            environment: variables.entries, environmentSources: variables.sources,
            workingDirectory: directory,
            workingDirectoryOrigin: options.workingDirectory != nil
                ? .option("--workdir")
                : options.here != nil ? .option("--here") : (image.workingDirectory.isEmpty ? .berth : .image),
            limits: Self.limits(options, site, host),
            user: ContainerEnvironment.becomesImageUser(options, image, host)
                ? options.user.map { .named($0, .option("--user")) } ?? .named(image.user, .image) : .unchanged,
            additionalGroups: asRoot ? Self.groups(host) : [],
            boundingCapabilities: asRoot ? Self.capabilitiesOfRoot : nil)
        hiddenDefaults = variables.hidden
        if asRoot { namedGroups = options.groups }
        filters = host.filters
        if options.unshare.contains(.process) { firstProcess = options.usesInit ? .`init` : .command }
        noNewPrivileges = !options.allowsNewPrivileges
        // In a user namespace uid 0 has all of them, and others none.
        if !options.capabilities.isEmpty, asRoot || options.root {
            let base = asRoot ? Self.capabilitiesOfRoot : Array(Capabilities.names.indices)
            boundingCapabilities = options.capabilities.applied(to: base)
            capabilitiesOrigin = .option(
                options.capabilities.added.isEmpty && !options.capabilities.addsAll ? "--cap-drop" : "--cap-add")
        }
    }

    /// Those that devices ask for; a user can not join a group, and is in those that let him open the devices.
    private static func groups(_ host: HostFacts) -> [UInt32] {
        var groups: [UInt32] = []
        for edit in host.deviceEdits {
            if case .group(let group) = edit.action, !groups.contains(group) { groups.append(group) }
        }
        return groups
    }

    /// Docker's default set without `MKNOD` and `NET_RAW`, and with `IPC_LOCK`, which RDMA needs: the capabilities
    /// that the host's root keeps inside, by their numbers in capabilities(7).
    static let capabilitiesOfRoot: [Int] = [
        0 /* CHOWN */, 1 /* DAC_OVERRIDE */, 3 /* FOWNER */, 4 /* FSETID */, 5 /* KILL */, 6 /* SETGID */,
        7 /* SETUID */, 8 /* SETPCAP */, 10 /* NET_BIND_SERVICE */, 14 /* IPC_LOCK */, 18 /* SYS_CHROOT */,
        29 /* AUDIT_WRITE */, 31, /* SETFCAP */
    ]

    /// memlock, stack and nofile as high as the hard limit allows, unless an option or the site says otherwise.
    private static func limits(
        _ options: LaunchOptions, _ site: SitePolicy, _ host: HostFacts
    ) -> [LimitChange] {
        var changes: [LimitChange] = []
        for wanted in site.limits where !options.limits.contains(where: { $0.limit == wanted.limit.limit }) {
            guard let now = host.limits[wanted.limit.limit] else { continue }
            // A default and no demand: no launch fails for it. `require = memlock` is the demand.
            let ceiling = host.raisesHardLimits ? UInt64.max : now.hard
            let to = LimitValues(
                soft: min(wanted.limit.soft, ceiling), hard: min(wanted.limit.hard ?? wanted.limit.soft, ceiling))
            if to != now {
                changes.append(LimitChange(limit: wanted.limit.limit, from: now, to: to, origin: .site(wanted.place)))
            }
        }
        for limit in [ResourceLimit.lockedMemory, .stack, .openFiles]
        where !options.limits.contains(where: { $0.limit == limit })
            && !site.limits.contains(where: { $0.limit.limit == limit })
        {
            guard let now = host.limits[limit], now.soft != now.hard else { continue }
            changes.append(
                LimitChange(limit: limit, from: now, to: LimitValues(soft: now.hard, hard: now.hard), origin: .berth))
        }
        for wanted in options.limits {
            guard let now = host.limits[wanted.limit] else { continue }
            // One number is both, as in Docker. What only root can have goes as far as it can; the plan's notes say so.
            let ceiling = host.raisesHardLimits ? UInt64.max : now.hard
            let to = LimitValues(
                soft: min(wanted.soft, ceiling), hard: min(wanted.hard ?? wanted.soft, ceiling))
            changes.append(LimitChange(limit: wanted.limit, from: now, to: to, origin: .option("--ulimit")))
        }
        return changes
    }
}
