internal import LinuxKernel

/// Options of Docker's and Apptainer's that Berth has no thing of its own for.
extension LaunchOptions {
    /// Reads one that `RunOption.all` does not list.
    mutating func applyForeign(_ option: RunOption, _ value: String, _ cwd: String) throws(OptionError) {
        if option.answer == .refused {
            throw .refused(option: "--\(option.name)", reason: option.meaning, remedy: option.remedy)
        }
        switch option.name {
        // What these ask for is so in any case.
        case "nv", "nvccli", "rocm", "writable-tmpfs", "no-healthcheck": break
        case "bind":
            for entry in value.split(separator: ",", omittingEmptySubsequences: false) {
                // Apptainer takes a bare name for one of the current directory.
                let isBare = !entry.isEmpty && !entry.hasPrefix("/") && !entry.hasPrefix(".") && !entry.hasPrefix(":")
                mounts.append(
                    try MountRequest(
                        volume: isBare ? "./\(entry)" : String(entry), workingDirectory: cwd, option: "--bind"))
            }
        case "privileged":
            (capabilities.addsAll, capabilities.isPrivileged) = (true, true)
            note(
                "--privileged: all capabilities, no seccomp filter; devices stay those that were granted, /sys read-only"
            )
        case "pwd": workingDirectory = try Self.insidePath(value, "--pwd")
        case "fakeroot":
            if deniesRoot { throw .contradiction("--fakeroot", "--no-root") }
            root = true
        case "isolation":
            guard value.isEmpty || value == "default" else {
                throw .refused(
                    option: "--isolation \(value)", reason: "it is for Windows containers", remedy: option.remedy)
            }
        case "disable-content-trust":
            if try Self.boolean(value, option) { break }
            throw .refused(
                option: "--disable-content-trust=false",
                reason: "Berth verifies the digest of each image, and not the signatures of Docker Content Trust",
                remedy: option.remedy)
        case "sig-proxy": if try Self.boolean(value, option) { removeNote(option) } else { note(option) }
        case "cgroupns":
            guard ["host", "private", ""].contains(value) else {
                throw .badValue(option: "--cgroupns", value: value, expected: "host or private")
            }
            if value == "private" { note(option) }
        case "userns": try shareUsers(value, option)
        case "restart": if value != "no", !value.isEmpty { note(option) }
        case "runtime": try chooseRuntime(value, option)
        case "publish": try publish(value, option)
        default: note(option)
        }
    }

    /// One line for an option that changes nothing, however often it is given.
    mutating func note(_ option: RunOption) { note("--\(option.name): \(option.meaning)") }

    mutating func note(_ text: String) {
        let line = "note: " + text
        if !notes.contains(line) { notes.append(line) }
    }

    /// What `--privileged` means for a command that it gives nothing.
    package mutating func notePrivileged(_ meaning: String) {
        guard capabilities.isPrivileged else { return }
        notes.removeAll { $0.hasPrefix("note: --privileged: ") }
        note("--privileged: " + meaning)
    }

    mutating func removeNote(_ option: RunOption) {
        notes.removeAll { $0.hasPrefix("note: --\(option.name): ") }
    }

    /// Of a flag that takes its value behind `=` only.
    private static func boolean(_ value: String, _ option: RunOption) throws(OptionError) -> Bool {
        if value.isEmpty { return true }
        return try boolean(value, "--\(option.name)")
    }

    static func insidePath(_ value: String, _ option: String) throws(OptionError) -> String {
        guard value.hasPrefix("/") else {
            throw .badValue(option: option, value: value, expected: "an absolute path inside the container")
        }
        return value
    }

    /// Docker has `host`, Podman `keep-id` for what is the default here.
    private mutating func shareUsers(_ value: String, _ option: RunOption) throws(OptionError) {
        switch value {
        case "keep-id":
            if root { throw .contradiction("--userns keep-id", "--root") }
            deniesRoot = true
        case "", "host": note(option)
        default: throw .badValue(option: "--userns", value: value, expected: "host, or keep-id, which is the default")
        }
    }

    /// A runtime that only starts processes can be left out; one that people choose for its walls cannot.
    private mutating func chooseRuntime(_ value: String, _ option: RunOption) throws(OptionError) {
        let known = ["", "nvidia", "nvidia-legacy", "nvidia-cdi", "runc", "crun", "youki", "io.containerd.runc.v2"]
        guard known.contains(value) else {
            throw .refused(
                option: "--runtime \(value)",
                reason: "Berth starts the command itself, without the isolation that another runtime may give",
                remedy: "leave it out if that isolation is not needed; runc, crun and nvidia are accepted")
        }
        note("--runtime: Berth starts the command itself, and shows granted GPUs with their driver")
    }

    /// `[[ADDRESS:]HOSTPORT:]PORT[/PROTOCOL]`. The network is the host's, so that only a port that is the same on both sides,
    /// on all addresses, is what was asked for.
    private mutating func publish(_ value: String, _ option: RunOption) throws(OptionError) {
        let expected = "[HOSTPORT:]PORT[/tcp|/udp]"
        let mapping = value.prefix { $0 != "/" }
        let colon = mapping.lastIndex(of: ":")
        let inside = colon.map { mapping[mapping.index(after: $0)...] } ?? mapping
        let outside = colon.map { mapping[..<$0] } ?? ""
        func isPort(_ text: Substring) -> Bool {
            let ends = text.split(separator: "-", omittingEmptySubsequences: false)
            return (1...2).contains(ends.count) && ends.allSatisfy { (UInt16(String($0)) ?? 0) > 0 }
        }
        guard isPort(inside) else { throw .badValue(option: "--publish", value: value, expected: expected) }
        let (address, port) =
            (outside.lastIndex(of: ":")).map { (outside[..<$0], outside[outside.index(after: $0)...]) }
            ?? ("", outside)
        let everywhere = address.isEmpty || address == "0.0.0.0" || address == "[::]"
        guard everywhere else {
            throw .refused(
                option: "--publish \(value)",
                reason:
                    "the network is the host's, so the port would be open on every address that the command listens on",
                remedy: "leave it out, and have the command itself listen on \(address)")
        }
        guard port.isEmpty || port == inside else {
            guard isPort(port) else { throw .badValue(option: "--publish", value: value, expected: expected) }
            throw .refused(
                option: "--publish \(value)",
                reason: "the network is the host's, and Berth forwards no port \(port) to \(inside)",
                remedy: "leave it out, and have the command itself listen on port \(port)")
        }
        note("--publish: the network is the host's: the port is open there as soon as the command listens on it")
    }
}
