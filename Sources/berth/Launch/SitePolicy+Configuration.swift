internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import SiteConfig

extension SitePolicy {
    init(_ configuration: SiteConfiguration) throws(Failure) {
        self.init()
        if let error = configuration.unresolved.first { throw .configuration(error) }
        mountHome = configuration.home
        scratchDirectory = configuration.scratch
        for setting in configuration.settings {
            switch setting.name {
            case "home": homePlace = setting.place
            case "scratch": scratchPlace = setting.place
            case "scratch-limit": scratchLimitPlace = setting.place
            default: break
            }
        }
        if let text = configuration.scratchLimit {
            guard let bytes = byteCount(text) else {
                throw .report(
                    Report(
                        "the setting scratch-limit can not be \"\(text)\"", hint: "it takes bytes, with k, m, g or t"))
            }
            scratchLimit = bytes
        }
        try add(limits: configuration.limits)
        try add(requirements: configuration.requirements)
        try add(enforcement: configuration.enforcement)
        let mandatory = try mapError(to: Failure.configuration) { () throws(ConfigurationError) in
            try configuration.mandatorySeccomp()
        }
        mandatorySeccomp = mandatory.map { PlacedProfile($0.value, place: $0.place) }
        if configuration.mounts.isEmpty { return }
        for mount in configuration.mounts {
            let readOnly = mount.options.contains("ro")
            let size = mount.options.last { $0.hasPrefix("size=") }
            let kind: MountRequest.Kind =
                mount.type == "tmpfs"
                ? .tmpfs(size: size.flatMap { byteCount(String($0.dropFirst(5))) }, mode: 0o1777)
                : .bind(source: mount.source, recursive: !mount.options.contains("bind"))
            var request = MountRequest(
                kind: kind, target: mount.target, readOnly: readOnly, optional: mount.options.contains("nofail"))
            // The kernel knows how much memory the node has.
            if let size, size.hasSuffix("%") { request.data = [size] }
            mounts.append(Mount(request: request, place: mount.place))
        }
    }
}

extension SitePolicy {
    mutating func add(limits: [SiteConfiguration.Setting]) throws(Failure) {
        for setting in limits {
            let limit = try Self.inFile(setting) { () throws(OptionError) in
                try LaunchOptions.Limit(parsing: setting.value, option: setting.name)
            }
            self.limits.append(PlacedLimit(limit, place: setting.place))
        }
    }

    mutating func add(requirements: [SiteConfiguration.Setting]) throws(Failure) {
        for setting in requirements {
            let words = try Self.inFile(setting) { () throws(OptionError) in
                try Requirement.parse(setting.value, option: setting.name)
            }
            self.requirements += words.map { PlacedRequirement($0, .site(setting.place)) }
        }
    }

    /// An option's value in a file: an error names the line rather than the option.
    static func inFile<Value>(
        _ setting: SiteConfiguration.Setting, _ body: () throws(OptionError) -> Value
    ) throws(Failure) -> Value {
        do throws(OptionError) { return try body() } catch {
            guard case .badValue(_, _, let expected) = error else { throw .options(error) }
            throw .configuration(
                ConfigurationError(
                    file: setting.file, line: setting.line,
                    reason: .badValue(name: setting.name, value: setting.value, expected: expected)))
        }
    }
}

extension SitePolicy {
    mutating func add(enforcement setting: SiteConfiguration.Setting?) throws(Failure) {
        guard let setting else { return }
        let request = try Self.inFile(setting) { () throws(OptionError) in
            try EnforcementRequest(parsing: setting.value, option: setting.name)
        }
        enforcement = PlacedEnforcement(request, place: setting.place)
    }
}
