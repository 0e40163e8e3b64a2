package import LaunchPlanning
internal import LinuxKernel

extension ProcessPlan {
    /// Applies the process part of the plan in the container and becomes the command; returns only by throwing.
    ///
    /// The order is runc's: limits may need a capability; the bounding set is reduced while CAP_SETPCAP is held, and the held
    /// capabilities after the user has changed, which takes CAP_SETUID and CAP_SETGID. The working directory is entered as
    /// root, or as the user if root may not (a WORKDIR of mode 0700). `no_new_privs` comes before the filters of system calls.
    ///
    /// - Parameter tell: Called with what the command has to do without.
    package consuming func start(_ tell: (SandboxNote) -> Void) throws(SandboxError) -> Never {
        // First those that this program has raised for itself.
        let own = limits.map(\.limit)
        try stage(.limits) { () throws(SystemError) in try StartingState.restoreLimits(except: own) }
        for change in limits {
            try stage(.limits) { () throws(SystemError) in try change.limit.set(change.to) }
        }
        try restrictFuture()
        var isThere = false
        if user != .unchanged {
            do throws(SandboxError) {
                try enterWorkingDirectory(tell)
                isThere = true
            } catch {}  // tried again below, as the user
        }
        try becomeUser()
        if !isThere { try enterWorkingDirectory(tell) }
        try restrictPresent()
        if let firstProcess {
            let isInit = firstProcess == .`init`
            try stage(.identity) { () throws(SystemError) in try Namespaces.finishFirstProcess(init: isInit) }
        }
        throw .command(arguments[0], Self.execute(arguments, environment))
    }

    /// For a process that stays as it is and starts programs of the image, such as its entrypoint.
    package func restrict() throws(SandboxError) {
        try restrictFuture()
        try restrictPresent()
    }

    /// What no program executed from here on can have; this process still has what it takes to become the user.
    private func restrictFuture() throws(SandboxError) {
        // Without no_new_privs this takes a capability.
        if !noNewPrivileges { try loadFilters() }
        if let kept = boundingCapabilities {
            try stage(.capabilities) { () throws(SystemError) in try Capabilities.limitBounding(to: Set(kept)) }
        }
    }

    private func restrictPresent() throws(SandboxError) {
        if let kept = boundingCapabilities {
            try stage(.capabilities) { () throws(SystemError) in try Capabilities.limitHeld(to: Set(kept)) }
        }
        if noNewPrivileges {
            try stage(.capabilities) { () throws(SystemError) in try Identity.forbidNewPrivileges() }
            try loadFilters()
        }
    }

    /// The last thing before the command: what they refuse, the launcher may have needed.
    package func loadFilters() throws(SandboxError) {
        for filter in filters {
            try stage(.seccomp) { () throws(SystemError) in
                try Identity.load(filter: filter.instructions, flags: filter.flags)
            }
        }
    }

    private mutating func becomeUser() throws(SandboxError) {
        for name in namedGroups {
            let group = try Self.group(name)
            if !additionalGroups.contains(group) { additionalGroups.append(group) }
        }
        if case .like(let user, let group, let groups) = user {
            try stage(.identity) { () throws(SystemError) in try Identity.become(group: group, supplementaryGroups: groups) }
            // Root stays root without a capability for it.
            guard user != Identity.userID else { return }
            return try stage(.identity) { () throws(SystemError) in try Identity.become(user: user) }
        }
        guard case .named(let user, _) = user else {
            guard !additionalGroups.isEmpty else { return }
            let groups = additionalGroups
            return try stage(.identity) { () throws(SystemError) in
                let own = try Identity.supplementaryGroups()
                try Identity.join(own + groups.filter { !own.contains($0) })
            }
        }
        let resolved = try Self.resolve(user)
        let groups = additionalGroups
        try stage(.identity) { () throws(SystemError) in
            try Identity.become(
                user: resolved.userID, group: resolved.groupID,
                supplementaryGroups: resolved.supplementaryGroups
                    + groups.filter { !resolved.supplementaryGroups.contains($0) })
        }
        for (name, value) in [("HOME", resolved.home), ("USER", resolved.name), ("LOGNAME", resolved.name)]
        where !environment.contains(where: { $0.hasPrefix(name + "=") }) {
            environment.append("\(name)=\(value)")
        }
    }

    private static func group(_ name: String) throws(SandboxError) -> UInt32 {
        let group: [UInt8]
        do throws(StepFailure) {
            let root = try system { () throws(SystemError) in
                try RootDirectory(try OwnedFileDescriptor(opening: "/", .path | .directory))
            }
            group = try root.contents(of: "etc/group")
        } catch {
            throw .accountFiles(name, error)
        }
        do throws(AccountError) { return try AccountFiles.groupID(name, group: group) } catch { throw .account(error) }
    }

    /// In the container that this process stands in.
    package static func resolve(_ user: String) throws(SandboxError) -> AccountFiles.ResolvedUser {
        let passwd: [UInt8]
        let group: [UInt8]
        do throws(StepFailure) {
            let root = try system { () throws(SystemError) in
                try RootDirectory(try OwnedFileDescriptor(opening: "/", .path | .directory))
            }
            passwd = try root.contents(of: "etc/passwd")
            group = try root.contents(of: "etc/group")
        } catch {
            throw .accountFiles(user, error)
        }
        do throws(AccountError) {
            return try AccountFiles.resolve(user: user, passwd: passwd, group: group)
        } catch {
            throw .account(error)
        }
    }

    /// By a walk that follows no magic link: `/proc/self/fd/N` as working directory is how CVE-2024-21626 got out.
    package func enterWorkingDirectory(_ tell: (SandboxNote) -> Void) throws(SandboxError) {
        let path = workingDirectory
        let isCovered = workingDirectoryOrigin == .image && path.hasPrefix("/tmp/")
        var note: SandboxNote?
        try stage(.workingDirectory) { () throws(SystemError) in
            let root = try OwnedFileDescriptor(opening: "/", .path | .directory)
            do throws(SystemError) {
                let place = try root.resolve(path, .path | .directory)
                try place.enter()
            } catch {
                guard isCovered, error.errno == Errno.ENOENT else {
                    throw SystemError(call: error.call, errno: error.errno, subject: path)
                }
                try root.enter()
                note = .workingDirectoryCovered(path)
            }
        }
        if let note { tell(note) }
    }

    /// execvp(3)'s search, but with the reason kept: what was found and could not be executed is not "not found".
    private static func execute(_ arguments: [String], _ environment: [String]) -> CommandFailure {
        let name = arguments[0]
        if name.contains("/") {
            let error = Processes.execute(name, arguments: arguments, environment: environment)
            return tooLarge(name, error, arguments, environment) ?? failure(name, error, searched: nil)
        }
        let directories = searchPath(environment)
        var refused: CommandFailure?
        for directory in directories where !name.isEmpty {
            let candidate = directory + "/" + name
            // A failed execve(2) costs ten times what looking costs. What can not even be looked at is tried all the same.
            do throws(SystemError) { _ = try FileStatus(of: candidate) } catch {
                if error.errno == Errno.ENOENT || error.errno == Errno.ENOTDIR { continue }
            }
            let error = Processes.execute(candidate, arguments: arguments, environment: environment)
            if let failure = tooLarge(candidate, error, arguments, environment) { return failure }
            switch failure(candidate, error, searched: directories) {
            case .notFound: continue
            case let found: refused = refused ?? found
            }
        }
        return refused ?? .notFound(searched: directories)
    }

    /// The directories of PATH in turn; an empty one is the working directory, as in execvp(3).
    private static func searchPath(_ environment: [String]) -> [String] {
        var rest = environment.first { $0.hasPrefix("PATH=") }.map { String($0.dropFirst(5)) } ?? ""
        var directories: [String] = []
        while let colon = rest.utf8.firstIndex(of: UInt8(ascii: ":")) {
            directories.append(colon == rest.startIndex ? "." : String(rest[..<colon]))
            rest = String(rest[rest.utf8.index(after: colon)...])
        }
        return directories + [rest.isEmpty ? "." : rest]
    }

    private static func tooLarge(
        _ path: String, _ error: SystemError, _ arguments: [String], _ environment: [String]
    ) -> CommandFailure? {
        guard error.errno == Errno.E2BIG else { return nil }
        var (bytes, longestBytes, longest) = (0, 0, "")
        for word in arguments + environment {
            let count = word.utf8.count + 1
            bytes += count
            if count > longestBytes { (longestBytes, longest) = (count, word) }
        }
        return .tooLarge(
            path: path, bytes: bytes, longest: String(longest.prefix { $0 != "=" }.prefix(64)),
            longestBytes: longestBytes)
    }

    private static func failure(_ path: String, _ error: SystemError, searched: [String]?) -> CommandFailure {
        switch error.errno {
        case Errno.ENOENT, Errno.ENOTDIR:  // the file itself, or what it names in its first line or program header
            guard (try? FileStatus(of: path)) != nil else { return .notFound(searched: searched) }  // absent is the answer
            let header = ExecutableHeader(of: path)
            let interpreter = header.interpreter ?? "?"
            return header.endsInCarriageReturn
                ? .carriageReturn(path: path, interpreter: interpreter)
                : .interpreterMissing(path: path, interpreter: interpreter)
        case Errno.ENOEXEC:
            let header = ExecutableHeader(of: path)
            if let machine = header.foreignMachine { return .wrongArchitecture(path: path, machine: machine) }
            return .unknownFormat(path: path)
        default:
            if let status = try? FileStatus(of: path), status.kind == .directory {  // unreadable is not a directory
                return searched == nil ? .isDirectory(path: path) : .notFound(searched: searched)
            }
            return .notExecutable(path: path, error)
        }
    }
}

private func stage(_ stage: ProcessStage, _ body: () throws(SystemError) -> Void) throws(SandboxError) {
    do throws(SystemError) { try body() } catch { throw .process(stage, error) }
}
