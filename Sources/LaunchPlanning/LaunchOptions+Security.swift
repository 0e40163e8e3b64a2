internal import LinuxKernel

/// What `--cap-add` and `--cap-drop` change, by the numbers of capabilities(7).
package struct CapabilityChange: Equatable, Sendable {
    package var added: [Int] = []
    package var dropped: [Int] = []
    package var addsAll = false
    package var dropsAll = false
    /// `--privileged` has its own line.
    package var isPrivileged = false

    package init() {}

    package var isEmpty: Bool { added.isEmpty && dropped.isEmpty && !addsAll && !dropsAll }

    /// As Docker does it: what is added one by one wins over what is dropped, and what is dropped over `--cap-add ALL`.
    package func applied(to base: [Int]) -> [Int] {
        let all = Array(Capabilities.names.indices)
        if addsAll { return all.filter { !dropped.contains($0) } }
        if dropsAll { return all.filter { added.contains($0) } }
        return all.filter { added.contains($0) || (base.contains($0) && !dropped.contains($0)) }
    }

    /// `SYS_PTRACE`, `CAP_SYS_PTRACE` or `ALL`, in any case.
    mutating func read(_ option: String, _ value: String) throws(OptionError) {
        for word in value.split(separator: ",", omittingEmptySubsequences: false) {
            let name = word.uppercased()
            let number = Capabilities.names.firstIndex { $0 == name || $0 == "CAP_" + name }
            guard name == "ALL" || name == "CAP_ALL" || number != nil else {
                throw .badValue(
                    option: option, value: value, expected: "ALL, or a name of capabilities(7) such as SYS_PTRACE")
            }
            switch (option, number) {
            case ("--cap-add", let number?): added.append(number)
            case ("--cap-add", nil): addsAll = true
            case (_, let number?): dropped.append(number)
            case (_, nil): dropsAll = true
            }
        }
    }
}

extension LaunchOptions {
    /// What uid 0 has in the container, over its own namespaces or the host's: `CAP_…`.
    package func containerCapabilities(isRoot: Bool) -> [String] {
        if !isRoot, !root { return [] }
        return capabilities.applied(to: isRoot ? ProcessPlan.capabilitiesOfRoot : Array(Capabilities.names.indices))
            .map { Capabilities.names[$0] }
    }
}

extension SeccompChoice {
    /// `none`, `default`, `fakeroot`, or a path, which has a slash; otherwise `nil`.
    package init?(name: String, workingDirectory: String) throws(OptionError) {
        if name == "none" || name == "unconfined" {
            self = .none
        } else if let builtIn = BuiltIn(rawValue: name) {
            self = .builtIn(builtIn)
        } else if name.contains("/") {
            try self.init(file: name, workingDirectory: workingDirectory)
        } else {
            return nil
        }
    }

    init(file: String, workingDirectory: String) throws(OptionError) {
        guard file.hasPrefix("/") || !workingDirectory.isEmpty else { throw .noWorkingDirectory(file) }
        self = .file(absolutePath(file, from: workingDirectory))
    }
}

extension LaunchOptions {
    /// Docker's `--security-opt`. What would restrict the command and cannot is an error; what would loosen something that
    /// Berth does not restrict is so already.
    mutating func secure(_ value: String, _ cwd: String) throws(OptionError) {
        // `NAME:VALUE` is Docker's older spelling.
        let end = value.utf8.firstIndex { $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: ":") } ?? value.endIndex
        let (name, setting) = (String(value[..<end]), String(value.utf8[end...].dropFirst()) ?? "")
        switch (name, setting) {
        case ("no-new-privileges", ""), ("no-new-privileges", "true"): allowsNewPrivileges = false
        case ("no-new-privileges", "false"): allowsNewPrivileges = true
        case ("seccomp", "unconfined"): seccomp = SeccompChoice.none
        case ("seccomp", "builtin"): seccomp = .builtIn(.standard)
        case ("seccomp", _) where !setting.isEmpty: seccomp = try SeccompChoice(file: setting, workingDirectory: cwd)
        case ("apparmor", "unconfined"), ("label", "disable"): break
        case ("systempaths", "unconfined"):
            note(
                "--security-opt \(value): as root of the host, /proc/sys and its like stay read-only; others see the host's /proc"
            )
        case ("writable-cgroups", "false"): break
        case ("writable-cgroups", ""), ("writable-cgroups", "true"):
            note("--security-opt \(value): /sys is always read-only, cgroups included")
        case ("apparmor", _) where !setting.isEmpty:
            throw .refused(
                option: "--security-opt \(value)",
                reason: "Berth applies no AppArmor profile, so the command would not be held to it",
                remedy: "start berth under it: aa-exec -p \(setting) -- berth run ...")
        case ("label", _) where !setting.isEmpty:
            throw .refused(
                option: "--security-opt \(value)", reason: "Berth sets no SELinux label: the command has the caller's",
                remedy: "leave it out, or start berth under the label with runcon(1)")
        default:
            throw .badValue(
                option: "--security-opt", value: value,
                expected:
                    "no-new-privileges, seccomp=unconfined, seccomp=PROFILE.json, apparmor=unconfined or label=disable")
        }
    }
}
