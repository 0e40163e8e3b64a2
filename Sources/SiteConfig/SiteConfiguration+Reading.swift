internal import LinuxKernel

extension SiteConfiguration {
    /// Where to look for the user's own files: `HOME`, then the account's home directory. Distinct absolute paths.
    package static func homes(environment: (String) -> String?, accountHome: String?) -> [String] {
        var homes: [String] = []
        for home in [environment("HOME"), accountHome] {
            if let home, home.utf8.first == UInt8(ascii: "/"), !homes.contains(home) { homes.append(home) }
        }
        return homes
    }

    package static let siteFile = "/etc/berth/berth.conf"

    /// Reads the site's files, then the user's. The user's settings override the site's; mounts add to the site's.
    /// `BERTH_CONFIG` names another site file, which must exist. Other missing files are skipped; an unreadable file is
    /// an error. The `registries` of `/etc/berth/berth.conf` always apply, and its seccomp profile if it enforces that.
    ///
    /// - Parameters:
    ///   - homes: From `homes(environment:accountHome:)`. The first one with a configuration file is used.
    ///   - account: The fields of the caller's passwd(5) entry, for `%u` and `%h`.
    package static func read(
        environment: @escaping (String) -> String?, homes: [String], account: [String]? = nil,
        siteFile: String = SiteConfiguration.siteFile
    ) throws(ConfigurationError) -> SiteConfiguration {
        var configuration = SiteConfiguration()
        let variables = PathVariables(environment: environment, account: account)
        let named = environment("BERTH_CONFIG").flatMap { $0.isEmpty || $0 == siteFile ? nil : $0 }
        if named != nil {
            var site = SiteConfiguration()
            try site.add(siteFile: siteFile, .site, nil)
            configuration.registries = site.registries
            (configuration.enforcementOfSite, configuration.seccompOfSite) = (site.enforcementOfSite, site.seccompOfSite)
            configuration.settings = site.settings.filter { $0.name == "registries" }
        }
        let isThere = try configuration.add(siteFile: named ?? siteFile, named == nil ? .site : .named, variables)
        if let named, !isThere {
            throw ConfigurationError(
                file: named, line: 0,
                reason: .unreadable(SystemError(call: "open", errno: Errno.ENOENT, subject: named)))
        }
        let base = environment("XDG_CONFIG_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        var places = homes.map { $0 + "/.config" }
        if let base { places = [base] + places.dropFirst() }
        for place in places {
            let source = Source(file: place + "/berth/berth.conf", level: .user, variables: variables)
            if try configuration.add(source) { break }
        }
        return configuration
    }

    /// Reads only `/etc/berth/berth.conf` and its drop-ins. Commands that run with the site's privilege must use
    /// neither the environment nor a user's file.
    package static func readSite() throws(ConfigurationError) -> SiteConfiguration {
        var configuration = SiteConfiguration()
        try configuration.add(siteFile: siteFile, .site, nil)
        return configuration
    }

    /// The site's `seccomp` setting if the site has `enforce = seccomp`. This profile always applies: neither a user's file
    /// nor an option nor `BERTH_CONFIG` replaces it.
    package func mandatorySeccomp() throws(ConfigurationError) -> Setting? {
        guard let enforcement = enforcementOfSite,
            enforcement.value.split(whereSeparator: { $0 == "," || $0 == " " || $0 == "\t" }).contains("seccomp")
        else { return nil }
        if let seccomp = seccompOfSite, seccomp.value != "none" { return seccomp }
        throw ConfigurationError(
            file: enforcement.file, line: enforcement.line,
            reason: .badValue(
                name: "enforce", value: enforcement.value,
                expected: "`seccomp = default` or `seccomp = PATH` in the same file or its drop-ins, beside the word seccomp"))
    }

    /// Returns all errors of one file, without a check of its owner. Does not expand variables.
    package static func check(file: String) -> (configuration: SiteConfiguration, errors: [ConfigurationError]) {
        var configuration = SiteConfiguration()
        var errors: [ConfigurationError] = []
        do throws(SystemError) {
            let bytes = try contents(of: file, limit: 1 << 20)
            configuration.add(bytes, Source(file: file, level: .site)) { errors.append($0) }
        } catch {
            errors.append(ConfigurationError(file: file, line: 0, reason: .unreadable(error)))
        }
        return (configuration, errors)
    }

    /// A file to read, and how to interpret its lines.
    struct Source {
        let file: String
        let level: RegistryPolicy.Level
        /// `nil` does not expand `%u` and other variables.
        var variables: PathVariables?
    }

    /// Reads the file, then `FILE.d/*.conf` in byte order of the names. Returns `false` if the file does not exist.
    @discardableResult
    private mutating func add(
        siteFile file: String, _ level: RegistryPolicy.Level, _ variables: PathVariables?
    ) throws(ConfigurationError) -> Bool {
        let isThere = try add(Source(file: file, level: level, variables: variables))
        if Trust.isOwnDescriptor(file) { return isThere }
        let directory = file + ".d"
        var names: [[UInt8]] = []
        do throws(SystemError) { names = try OwnedFileDescriptor.entries(of: directory) ?? [] } catch {
            throw ConfigurationError(file: directory, line: 0, reason: .unreadable(error))
        }
        names.removeAll { $0.first == UInt8(ascii: ".") || !$0.suffix(5).elementsEqual(".conf".utf8) }
        for name in names.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            try add(Source(file: directory + "/" + RawText.string(name[...]), level: level, variables: variables))
        }
        return isThere
    }

    /// Returns `false` if the file does not exist.
    @discardableResult
    private mutating func add(_ source: Source) throws(ConfigurationError) -> Bool {
        let (file, isOwn) = (source.file, source.level == .user)
        var bytes: [UInt8] = []
        let fault: UntrustedPath?
        let isRefused: Bool
        do throws(SystemError) {
            // A missing file or directory is no error.
            let status = try FileStatus(of: file)
            fault = try Trust(isOwnFile: isOwn).fault(on: file)
            isRefused = status.isSpecial && !Trust.isOwnDescriptor(file)
            if fault == nil, !isRefused { bytes = try contents(of: file, limit: 1 << 20) }
        } catch {
            if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR { return false }
            throw ConfigurationError(file: file, line: 0, reason: .unreadable(error))
        }
        if let fault { throw ConfigurationError(file: file, line: 0, reason: .untrusted(fault, isOwn: isOwn)) }
        if isRefused { throw ConfigurationError(file: file, line: 0, reason: .notAFile) }
        if Trust.isOwnDescriptor(file) { textByDescriptor = bytes }
        try add(bytes, source) { (error) throws(ConfigurationError) in throw error }
        return true
    }

    package mutating func add(text: String, file: String) throws(ConfigurationError) {
        try add(text.kernelBytes, Source(file: file, level: .site)) { (error) throws(ConfigurationError) in throw error
        }
    }

    /// Lines, names and values are bytes, because a path may contain any byte, and a combining accent after `=` must
    /// not hide it.
    private mutating func add<Thrown: Error>(
        _ bytes: [UInt8], _ source: Source, onError: (ConfigurationError) throws(Thrown) -> Void
    ) throws(Thrown) {
        // Editors on Windows write a byte order mark.
        let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        for (index, line) in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            do throws(Refusal) { try add(line: line, source, index + 1) } catch {
                try onError(ConfigurationError(file: source.file, line: index + 1, reason: error.reason))
            }
        }
    }

    private mutating func add(line: ArraySlice<UInt8>, _ source: Source, _ number: Int) throws(Refusal) {
        if line.contains(0) { throw Refusal(reason: .notText) }
        let content = Self.trim(line.prefix { $0 != UInt8(ascii: "#") })
        if content.isEmpty { return }
        guard let equals = content.firstIndex(of: UInt8(ascii: "=")) else { throw Refusal(reason: .notAnAssignment) }
        let name = RawText.string(Self.trim(content[..<equals]))
        let value = RawText.string(Self.trim(content[(equals + 1)...]))
        try set(name, value, source, number)
    }

    private static func trim(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
        var text = text.drop(while: isBlank)
        while let last = text.last, isBlank(last) { text.removeLast() }
        return text
    }
}
