internal import Devices
internal import LinuxKernel

extension LaunchOptions {
    /// Of a command line that was parsed to these options, the words in front of IMAGE.
    package func words(of arguments: [String]) -> [String] {
        var words = arguments.dropLast(command.count)
        func ends(with word: String) -> Bool { words.last.map { $0.utf8.elementsEqual(word.utf8) } ?? false }
        // `IMAGE -- COMMAND`, and `-- IMAGE COMMAND`.
        if ends(with: "--"), words.count > 1, words[words.endIndex - 2].utf8.elementsEqual(image.utf8) { words.removeLast() }
        if ends(with: image) { words.removeLast() }
        if ends(with: "--") { words.removeLast() }
        return Array(words)
    }

    /// `words(of:)` without `--file`.
    package func ownWords(of arguments: [String]) -> [String] {
        words(of: arguments).enumerated().filter { word in !fileArguments.contains { $0.contains(word.offset) } }
            .map(\.element)
    }

    /// Reads the arguments after `berth run`. Options end at the image; everything behind it is the command, with or
    /// without a `--` between, as with `docker run`.
    ///
    /// - Parameter needsImage: Whether leaving the image out is an error.
    package init(
        parsing arguments: [String], workingDirectory cwd: String, needsImage: Bool = true
    ) throws(OptionError) {
        try self.init(arguments, cwd, needsImage: needsImage, names: nil)
    }

    /// Reads the arguments after `berth exec`, where `image` is the container. Directly behind the options, `--` leaves it
    /// out.
    ///
    /// - Parameter names: The options that there are.
    package init(parsing arguments: [String], workingDirectory cwd: String, names: [String]) throws(OptionError) {
        try self.init(arguments, cwd, needsImage: false, names: names)
    }

    private init(
        _ arguments: [String], _ cwd: String, needsImage: Bool, names: [String]?
    ) throws(OptionError) {
        self.init()
        var rest = arguments[...]
        while let argument = rest.first {
            if argument == "--" {
                rest.removeFirst()
                if names != nil {
                    command = Array(rest)
                    return
                }
                break
            }
            guard argument.hasPrefix("-"), argument != "-" else { break }
            let (start, known) = (rest.startIndex, files.count)
            rest.removeFirst()
            if argument == "--help" { throw .helpRequested }
            if argument.hasPrefix("--") {
                try readLong(argument, &rest, cwd, names)
            } else {
                try readShort(argument, &rest, cwd, names)
            }
            if files.count > known { fileArguments.append(start..<rest.startIndex) }
        }
        if !files.isEmpty { operands = Array(rest) }
        if sharedMemorySize != nil, !unshare.contains(.ipc) {
            note(
                "--shm-size: /dev/shm is the host's, shared by all ranks of the node; --ipc private gives the container one of "
                    + "that size, --require shm=SIZE checks that there is room")
        }
        // Docker's rule: a profile that was chosen holds.
        if capabilities.isPrivileged, seccomp == nil { seccomp = SeccompChoice.none }
        if usesInit {
            if sharesProcesses {
                usesInit = false
                note("--init: with --pid host, orphaned processes are reaped by the host's process 1 or by Slurm")
            } else {
                unshare.insert(.process)
            }
        }
        sharesProcesses = false
        guard let image = rest.popFirst(), !image.isEmpty else {
            if needsImage, files.isEmpty { throw .missingImage }
            return
        }
        self.image = image
        if rest.first == "--" { rest.removeFirst() }
        command = Array(rest)
    }

    private mutating func readLong(
        _ argument: String, _ rest: inout ArraySlice<String>, _ cwd: String, _ names: [String]?
    ) throws(OptionError) {
        let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts[0])
        guard let option = RunOption.named(name), names?.contains(option.name) ?? true else {
            throw .unknown(option: "--\(name)")
        }
        switch option.argument {
        case .none:
            try applyFlag(option, parts.count == 2 ? String(parts[1]) : "true", "--\(name)", cwd)
        case .optional: try apply(option, parts.count == 2 ? String(parts[1]) : "", cwd)
        case .one:
            if parts.count == 2 {
                try apply(option, String(parts[1]), cwd)
            } else if option.answer == .refused {
                // Whatever would follow it.
                try apply(option, "", cwd)
            } else if let value = rest.popFirst() {
                try apply(option, value, cwd)
            } else {
                throw .missingValue(option: "--\(name)")
            }
        }
    }

    /// `-q`, `-e NAME=VALUE`, `-eNAME=VALUE`, and flags run together.
    private mutating func readShort(
        _ argument: String, _ rest: inout ArraySlice<String>, _ cwd: String, _ names: [String]?
    ) throws(OptionError) {
        var letters = argument.dropFirst()
        // A long option with one dash: `-env A=1` would set the host's variable `nv`.
        let word = String(letters.prefix { $0 != "=" })
        // (`-ip 80:80` is no slip of Docker's `--ip`.)
        if word.utf8.count > 2 || word == "rm", RunOption.named(word) != nil { throw .unknown(option: "-\(word)") }
        while let letter = letters.first {
            letters = letters.dropFirst()
            guard let option = RunOption.lettered(letter), names?.contains(option.name) ?? true else {
                throw .unknown(option: "-\(letter)")
            }
            if option.argument != .one {
                // Of several letters the last one may have a value: `-it=false`.
                guard letters.first == "=" else {
                    try apply(option, "", cwd)
                    continue
                }
                return try applyFlag(option, String(letters.dropFirst()), "-\(letter)", cwd)
            }
            if letters.first == "=" { letters = letters.dropFirst() }
            if !letters.isEmpty {
                try apply(option, String(letters), cwd)
            } else if let value = rest.popFirst() {
                try apply(option, value, cwd)
            } else if letter == "h" {
                throw .helpRequested
            } else {
                throw .missingValue(option: "-\(letter)")
            }
            return
        }
    }

    /// Docker's flags take a boolean. One that is off is as if it had not been given: the last one counts.
    private mutating func applyFlag(
        _ option: RunOption, _ value: String, _ spelling: String, _ cwd: String
    ) throws(OptionError) {
        if try Self.boolean(value, spelling) { return try apply(option, "", cwd) }
        switch option.name {
        case "here": here = nil
        case "cleanenv": cleansEnvironment = false
        case "slurm": slurm = false
        case "read-only": readOnly = false
        case "root", "fakeroot": root = false
        case "no-root": deniesRoot = false
        case "home": if home == true { home = nil }
        case "no-home": if home == false { home = nil }
        case "quiet": quiet = false
        case "verbose": verbose = false
        case "init": usesInit = false
        case "privileged" where capabilities.isPrivileged:
            (capabilities.addsAll, capabilities.isPrivileged) = (false, false)
            removeNote(option)
        default: removeNote(option)
        }
    }

    /// As Go's strconv.ParseBool reads it, and so Docker.
    package static func boolean(_ value: String, _ option: String) throws(OptionError) -> Bool {
        switch value {
        case "1", "t", "T", "TRUE", "true", "True": return true
        case "0", "f", "F", "FALSE", "false", "False": return false
        default: throw .badValue(option: option, value: value, expected: "true or false, or no value")
        }
    }

    private mutating func apply(_ option: RunOption, _ value: String, _ cwd: String) throws(OptionError) {
        let name = option.name
        switch name {
        case "volume": mount(try MountRequest(volume: value, workingDirectory: cwd))
        case "mount": mount(try MountRequest(mount: value, workingDirectory: cwd))
        case "tmpfs": mounts.append(try MountRequest(tmpfs: value))
        case "here": here = try HereDirectory.path(cwd)
        case "env": variables.append(try Variable(parsing: value))
        case "env-file": environmentFiles.append(value)
        case "expand-env": variables.append(try Variable(expanding: value))
        case "unsetenv":
            guard !value.isEmpty, !value.utf8.contains(UInt8(ascii: "=")) else {
                throw .badValue(option: "--unsetenv", value: value, expected: "the name of a variable")
            }
            variables.append(.unset(name: value))
        case "file":
            guard !value.isEmpty else { throw .badValue(option: "--file", value: value, expected: "an experiment file") }
            files.append(value)
        case "cleanenv": cleansEnvironment = true
        case "workdir": workingDirectory = try Self.insidePath(value, "--workdir")
        case "entrypoint": entrypoint = value
        case "gpus":
            let selection = try GPUSelection(parsing: value)
            gpus = selection.gpus
            // As Docker sets it; weaker than `--env`, as variables that come later win.
            if let entry = selection.capabilities {
                variables.insert(.set(name: "NVIDIA_DRIVER_CAPABILITIES", value: entry), at: 0)
            }
        case "device":
            if value.hasPrefix("/") {
                devices.append(try DeviceRequest(parsing: value))
            } else {
                cdiDevices.append(try Self.cdiDevice(value))
            }
        case "fabric":
            guard let known = Fabric(rawValue: value) else {
                throw .badValue(option: "--fabric", value: value, expected: "auto, none, ib or efa")
            }
            fabric = known
        case "profile":
            guard let known = LaunchProfile(rawValue: value) else {
                throw .badValue(option: "--profile", value: value, expected: "pytorch or none")
            }
            profile = known
        case "ulimit":
            let limit = try Limit(parsing: value)
            limits.removeAll { $0.limit == limit.limit }
            limits.append(limit)
        case "require": requirements += try Requirement.parse(value)
        case "enforce": enforcement = try EnforcementRequest(parsing: value)
        case "cap-add", "cap-drop": try capabilities.read("--\(name)", value)
        case "security-opt": try secure(value, cwd)
        case "seccomp":
            guard let choice = try SeccompChoice(name: value, workingDirectory: cwd) else {
                throw .badValue(
                    option: "--seccomp", value: value,
                    expected: "none, default, fakeroot, or a profile's path with a slash")
            }
            seccomp = choice
        case "group-add":
            guard !value.isEmpty, UserSpelling(value.kernelBytes[...]) != .outOfRange, !value.contains(":") else {
                throw .badValue(option: "--group-add", value: value, expected: "a group's name or number")
            }
            // Podman's word for what an ordinary user's container does in any case.
            if value != "keep-groups" { groups.append(value) }
        case "slurm": slurm = true
        case "read-only": readOnly = true
        case "root":
            if deniesRoot { throw .contradiction("--root", "--no-root") }
            root = true
        case "no-root":
            if root { throw .contradiction("--root", "--no-root") }
            deniesRoot = true
        case "user":
            guard !value.isEmpty else { throw .badValue(option: "--user", value: value, expected: "UID[:GID]") }
            user = value
        case "home":
            if home == false { throw .contradiction("--home", "--no-home") }
            home = true
        case "no-home":
            if home == true { throw .contradiction("--home", "--no-home") }
            home = false
        case "hostname":
            // It becomes a line of the container's /etc/hosts, too.
            guard (1...64).contains(value.utf8.count), value.utf8.allSatisfy(Self.isOfHostName) else {
                throw .badValue(
                    option: "--hostname", value: value,
                    expected: "1 to 64 letters, digits, hyphens, dots or underscores")
            }
            hostname = value
        case "add-host": hosts += try HostLine.parse(value)
        case "dns", "dns-search", "dns-option": try resolver.read(name, value)
        case "shm-size":
            guard let bytes = byteCount(value), bytes > 0 else {
                throw .badValue(option: "--shm-size", value: value, expected: "BYTES, with k, m, g or t")
            }
            sharedMemorySize = bytes
        case "unshare":
            for name in value.split(separator: ",", omittingEmptySubsequences: false) {
                switch name {
                case "net": unshare.insert(.network)
                case "ipc": unshare.insert(.ipc)
                case "uts": unshare.insert(.hostname)
                case "pid": unshare.insert(.process)
                default:
                    throw .badValue(
                        option: "--unshare", value: value,
                        expected: "net, ipc, uts and pid; \(name) is an unknown namespace")
                }
            }
        case "init": usesInit = true
        case "preserve-fds":
            guard let count = Int(value), (0...1 << 20).contains(count) else {
                throw .badValue(
                    option: "--preserve-fds", value: value, expected: "how many descriptors from 3 on the command gets")
            }
            preservedDescriptors = count
        case "network", "ipc", "pid", "uts": try share(name, value)
        // How it is in any case: the streams and the terminal are the caller's, and nothing stays behind.
        case "interactive", "tty", "rm": break
        case "name":
            guard Self.isName(value) else {
                throw .badValue(
                    option: "--name", value: value,
                    expected: "letters, digits, _, . and -, the first a letter or digit; numbers alone name jobs")
            }
            self.name = value
        case "pull":
            guard let policy = PullPolicy(rawValue: value) else {
                throw .badValue(option: "--pull", value: value, expected: "missing, always, newer or never")
            }
            pull = policy
        case "platform": platform = value
        case "store":
            guard !value.isEmpty else { throw .badValue(option: "--store", value: value, expected: "a directory") }
            guard value.hasPrefix("/") || !cwd.isEmpty else { throw .noWorkingDirectory(value) }
            store = absolutePath(value, from: cwd)
        case "dry-run":
            switch value {
            case "", "text": dryRun = .text
            case "oci": dryRun = .oci
            default: throw .badValue(option: "--dry-run", value: value, expected: "text or oci, or nothing")
            }
        case "quiet": quiet = true
        case "verbose": verbose = true
        default: try applyForeign(option, value, cwd)
        }
    }
}

extension LaunchOptions {
    private mutating func mount(_ request: MountRequest) {
        mounts.append(request)
        if request.propagation.contains(.isShared) {
            note(
                "propagation shared: what is mounted inside does not appear on the host; what the host mounts later appears "
                    + "inside")
        }
    }

    /// Docker's words for whose a namespace is; the host's unless said otherwise.
    private mutating func share(_ name: String, _ value: String) throws(OptionError) {
        switch (name, value) {
        case ("pid", "host"): sharesProcesses = true
        case (_, "host"): break
        case ("pid", "private"): unshare.insert(.process)
        case ("network", "none"): unshare.insert(.network)
        case ("ipc", "private"): unshare.insert(.ipc)
        case ("network", _):
            throw .badValue(
                option: "--network", value: value,
                expected: "host (the default), or none for nothing but a loopback interface: Berth makes no bridges")
        case ("ipc", _):
            throw .badValue(option: "--ipc", value: value, expected: "host (the default) or private")
        case ("pid", _):
            throw .badValue(option: "--pid", value: value, expected: "host (the default) or private")
        default:
            throw .badValue(option: "--\(name)", value: value, expected: "host, which is the default")
        }
    }

    /// What `--user` means for this caller. An ordinary user stays the same inside, or becomes root with `--root`, as a
    /// user namespace maps one id without privilege; root becomes the user it names.
    package mutating func settleUser(userID: UInt32, groupID: UInt32, isRoot: Bool) throws(OptionError) {
        guard let text = user else { return }
        let (wanted, group) = UserSpelling.split(text)
        if wanted == .outOfRange || group == .outOfRange {
            throw .badValue(option: "--user", value: text, expected: "UID[:GID] from 0 to 2147483647, or names")
        }
        // As Docker and runc read it, an empty user is root, and an empty group the user's own.
        let root = [UserSpelling.none, .number(0), .name(Array("root".utf8))]
        if root.contains(wanted), root.contains(group) {
            if deniesRoot { throw .contradiction("--user \(text)", "--no-root") }
            user = nil
            self.root = true
            return
        }
        if self.root { throw .contradiction("--root", "--user \(text)") }
        if isRoot { return }
        guard wanted == .number(userID), group == .none || group == .number(groupID) else {
            throw .otherUser(text, userID: userID, groupID: groupID)
        }
        user = nil
        deniesRoot = true
    }

    /// `root =` of the site's file is for ordinary users whose command line says neither.
    package mutating func settleRoot(siteDefault: Bool, isRoot: Bool) {
        if siteDefault, !isRoot, !deniesRoot { root = true }
    }

    /// Docker's rule, but for what reads as a job, a step or a process.
    private static func isName(_ text: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool { isOfHostName(byte) && !"-._".utf8.contains(byte) }
        guard let first = text.utf8.first, isAlphanumeric(first), text.utf8.count <= 200 else { return false }
        return text.utf8.allSatisfy(isOfHostName)
            && !text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".") }
    }

    private static func isOfHostName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func cdiDevice(_ text: String) throws(OptionError) -> QualifiedName {
        do throws(QualifiedName.Refusal) { return try QualifiedName(parsing: text) } catch {
            throw .badValue(
                option: "--device", value: text,
                expected: "/dev/NODE[:PATH-INSIDE], or a CDI device, VENDOR/CLASS=NAME such as nvidia.com/gpu=0")
        }
    }
}

extension LaunchOptions.Variable {
    /// Docker's `-e`: `NAME=VALUE`, or `NAME` for the host's value.
    package init(parsing text: String) throws(OptionError) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first, !name.isEmpty else {
            throw .badValue(option: "--env", value: text, expected: "NAME=VALUE or NAME")
        }
        self = parts.count == 2 ? .set(name: String(name), value: String(parts[1])) : .fromHost(name: String(name))
    }

    /// `NAME=TEXT`, whose references to variables are resolved for the container.
    package init(expanding text: String) throws(OptionError) {
        guard case .set(let name, let value)? = try? Self(parsing: text) else {  // both are no assignment
            throw .badValue(option: "--expand-env", value: text, expected: "NAME=TEXT")
        }
        do throws(VariableReferences.Fault) { _ = try VariableReferences.resolve(value) { _ in "" } } catch {
            throw .badValue(
                option: "--expand-env", value: text, expected: "references such as ${NAME} and ${NAME:-DEFAULT}, and $$ for $")
        }
        self = .expanded(name: name, text: value)
    }

    /// The lines of Docker's `--env-file`: `NAME=VALUE` or `NAME`, `#` comments, nothing quoted. As there, a name holds
    /// no blanks: a line that has one was meant for a shell; a byte order mark before the first line is no part of it,
    /// and a line that is not UTF-8 is an error.
    ///
    /// - Parameter path: The file's, for the error.
    package static func parse(file bytes: [UInt8], path: String) throws(OptionError) -> [LaunchOptions.Variable] {
        var result: [LaunchOptions.Variable] = []
        var number = 0
        let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        for line in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let ended = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            let trimmed = ended.drop(while: isBlank)
            guard let first = trimmed.first, first != UInt8(ascii: "#") else { continue }
            let name = trimmed.prefix { $0 != UInt8(ascii: "=") }
            guard !name.isEmpty, !name.contains(where: isBlank) else {
                // The name alone: what stands behind it may be a secret.
                throw .environmentFile(path, line: number, name: String(decoding: name, as: UTF8.self))
            }
            guard let whole = String(validating: trimmed, as: UTF8.self), !trimmed.contains(0) else {
                throw .environmentFileBytes(path, line: number)
            }
            result.append(try LaunchOptions.Variable(parsing: whole))
        }
        return result
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
}

extension DeviceRequest {
    /// Docker's `--device HOST[:CONTAINER[:PERMISSIONS]]`; permissions are the host node's and can only be `rwm`.
    package init(parsing text: String) throws(OptionError) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard (1...3).contains(parts.count), parts[0].hasPrefix("/dev/") else {
            throw .badValue(option: "--device", value: text, expected: "/dev/NODE[:PATH-INSIDE]")
        }
        if parts.count == 3, !parts[2].allSatisfy({ "rwm".contains($0) }) {
            throw .badValue(option: "--device", value: text, expected: "permissions out of r, w, m")
        }
        let inside = parts.count > 1 && !parts[1].isEmpty ? parts[1] : parts[0]
        guard inside.hasPrefix("/") else {
            throw .badValue(option: "--device", value: text, expected: "an absolute path inside the container")
        }
        if isRootPath(inside) { throw .badValue(option: "--device", value: text, expected: MountRequest.belowRoot) }
        self.init(hostPath: parts[0], containerPath: inside)
    }
}

extension LaunchOptions.Limit {
    /// Docker's `--ulimit NAME=SOFT[:HARD]`; `-1` and `unlimited` are no limit.
    package init(parsing text: String, option: String = "--ulimit") throws(OptionError) {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, let limit = ResourceLimit(rawValue: parts[0]) else {
            let names = ResourceLimit.allCases.map(\.rawValue).joined(separator: ", ")
            throw .badValue(option: option, value: text, expected: "NAME=SOFT[:HARD], NAME one of \(names)")
        }
        func value(_ word: Substring) throws(OptionError) -> UInt64 {
            if word == "-1" || word == "unlimited" { return LimitValues.unlimited }
            guard let number = UInt64(word) else {
                throw .badValue(option: option, value: text, expected: "a whole number, or unlimited")
            }
            return number
        }
        let values = parts[1].split(separator: ":", omittingEmptySubsequences: false)
        guard (1...2).contains(values.count) else {
            throw .badValue(option: option, value: text, expected: "NAME=SOFT[:HARD]")
        }
        let soft = try value(values[0])
        let hard: UInt64? = values.count == 2 ? try value(values[1]) : nil
        if let hard, soft > hard {
            throw .badValue(option: option, value: text, expected: "a soft limit not above the hard one")
        }
        self.init(limit: limit, soft: soft, hard: hard)
    }
}
