internal import CSeccomp
internal import FoundationEssentials
package import LaunchPlanning
internal import LinuxKernel

/// Compiles profiles with libseccomp, once for what they depend on: the architecture, the kernel's release, and the
/// capabilities that the container has.
package struct SeccompCompiler {
    let architecture: SeccompArchitecture
    /// Of the container: `CAP_…`.
    let capabilities: Set<String>
    /// Major and minor number.
    let kernel: (Int, Int)

    /// - Parameter release: The kernel's, such as `6.1.0-18-amd64`.
    package init(architecture: SeccompArchitecture = .host, capabilities: Set<String>, release: String) {
        self.architecture = architecture
        self.capabilities = capabilities
        kernel = Self.version(release) ?? (0, 0)
    }

    package func compile(_ profile: SeccompProfile, name: String) throws(SeccompProfileError) -> SeccompFilter {
        if profile.listenerPath != nil { throw .needsSupervisor("listenerPath") }
        let defaultAction = try action(profile.defaultAction, profile.defaultErrnoRet, field: "defaultAction")
        guard let context = seccomp_init(defaultAction) else {
            throw .unknownWord(field: "defaultAction", profile.defaultAction)
        }
        defer { seccomp_release(context) }
        let architectures = try self.architectures(of: profile)
        try add(architectures, to: context)
        // A tree of the numbers instead of a list: a call costs a dozen comparisons, not hundreds.
        try checked("binary tree") { seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2) }
        var flags: UInt32 = 0
        for flag in profile.flags ?? [] {
            guard let bit = Self.flags[flag] else { throw .unknownWord(field: "flags", flag) }
            flags |= bit
        }
        var rules: [OCIRule] = []
        for rule in profile.syscalls ?? [] {
            guard try applies(rule) else { continue }
            let names = rule.names ?? rule.name.map { [$0] } ?? []
            let action = try self.action(rule.action, rule.errnoRet ?? profile.defaultErrnoRet, field: "action")
            rules.append(
                OCIRule(names: names, action: rule.action, errnoRet: rule.errnoRet, args: rule.args ?? []))
            // What the default does in any case is no rule to libseccomp.
            if action == defaultAction { continue }
            for name in names { try add(action, name, rule.args ?? [], to: context) }
        }
        return SeccompFilter(
            name: name, flags: flags, instructions: try Self.instructions(context),
            configuration: Self.configuration(profile, architectures, rules))
    }

    // MARK: What applies here

    private func applies(_ rule: SeccompProfile.Rule) throws(SeccompProfileError) -> Bool {
        if let excluded = rule.excludes {
            if excluded.arches?.contains(architecture.goName) == true { return false }
            if excluded.caps?.contains(where: capabilities.contains) == true { return false }
            if let least = excluded.minKernel, try isAtLeast(least) { return false }
        }
        if let included = rule.includes {
            if let names = included.arches, !names.isEmpty, !names.contains(architecture.goName) { return false }
            if let names = included.caps, !capabilities.isSuperset(of: names) { return false }
            if let least = included.minKernel, try !isAtLeast(least) { return false }
        }
        return true
    }

    private func isAtLeast(_ version: String) throws(SeccompProfileError) -> Bool {
        guard let wanted = Self.version(version) else { throw .unknownWord(field: "minKernel", version) }
        return kernel >= wanted
    }

    private static func version(_ text: String) -> (Int, Int)? {
        let numbers = text.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return numbers.count == 2 ? (numbers[0], numbers[1]) : nil
    }

    private func architectures(of profile: SeccompProfile) throws(SeccompProfileError) -> [String] {
        let (listed, map) = (profile.architectures ?? [], profile.archMap ?? [])
        if !listed.isEmpty, !map.isEmpty { throw .bothArchitectures }
        if let own = map.first(where: { $0.architecture == architecture.name }) {
            return [own.architecture] + (own.subArchitectures ?? [])
        }
        return listed
    }

    private func add(_ names: [String], to context: scmp_filter_ctx) throws(SeccompProfileError) {
        // A new filter has this program's own.
        if architecture != .host {
            try checked(architecture.name) { seccomp_arch_remove(context, seccomp_arch_native()) }
            try checked(architecture.name) { seccomp_arch_add(context, architecture.token) }
        }
        for name in names {
            let token = seccomp_arch_resolve_name(String(name.utf8.dropFirst(10))?.lowercased() ?? "")
            guard name.hasPrefix("SCMP_ARCH_"), token != 0 else { throw .unknownWord(field: "architectures", name) }
            try checked(name) {
                let result = seccomp_arch_add(context, token)
                return result == -Errno.EEXIST ? 0 : result
            }
        }
    }

    // MARK: Rules

    private static let flags: [String: UInt32] = [
        "SECCOMP_FILTER_FLAG_TSYNC": 0,  // The launcher has one thread.
        "SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    ]

    private func action(
        _ word: String, _ code: UInt16?, field: String
    ) throws(SeccompProfileError) -> UInt32 {
        switch word {
        case "SCMP_ACT_ALLOW": berth_seccomp_allow
        case "SCMP_ACT_LOG": berth_seccomp_log
        case "SCMP_ACT_ERRNO": berth_seccomp_errno(code ?? UInt16(Errno.EPERM))
        case "SCMP_ACT_TRACE": berth_seccomp_trace(code ?? UInt16(Errno.EPERM))
        case "SCMP_ACT_TRAP": berth_seccomp_trap
        case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD": berth_seccomp_kill_thread
        case "SCMP_ACT_KILL_PROCESS": berth_seccomp_kill_process
        case "SCMP_ACT_NOTIFY": throw .needsSupervisor(word)
        default: throw .unknownWord(field: field, word)
        }
    }

    private func add(
        _ action: UInt32, _ name: String, _ arguments: [SeccompProfile.Argument], to context: scmp_filter_ctx
    ) throws(SeccompProfileError) {
        let number = seccomp_syscall_resolve_name(name)
        // Profiles name calls of newer kernels and of other architectures.
        if number == __NR_SCMP_ERROR { return }
        var comparisons: [scmp_arg_cmp] = []
        for argument in arguments {
            guard argument.index < 6 else { throw .badArgument(syscall: name, "index \(argument.index)") }
            guard let comparison = Self.comparisons[argument.op] else {
                throw .unknownWord(field: "op", argument.op)
            }
            comparisons.append(
                scmp_arg_cmp(
                    arg: argument.index, op: comparison, datum_a: argument.value, datum_b: argument.valueTwo ?? 0))
        }
        // Two conditions on one argument are two rules, of which either is enough: as runc and crun have it.
        let isAlternative = Set(comparisons.map(\.arg)).count < comparisons.count
        for part in isAlternative ? comparisons.map({ [$0] }) : [comparisons] {
            let result = seccomp_rule_add_array(context, action, number, UInt32(part.count), part)
            if result != 0, result != -Errno.EEXIST { throw .refused(what: name, errno: -result) }
        }
    }

    private static let comparisons: [String: scmp_compare] = [
        "SCMP_CMP_NE": SCMP_CMP_NE, "SCMP_CMP_LT": SCMP_CMP_LT, "SCMP_CMP_LE": SCMP_CMP_LE, "SCMP_CMP_EQ": SCMP_CMP_EQ,
        "SCMP_CMP_GE": SCMP_CMP_GE, "SCMP_CMP_GT": SCMP_CMP_GT, "SCMP_CMP_MASKED_EQ": SCMP_CMP_MASKED_EQ,
    ]

    private func checked(_ what: String, _ body: () -> Int32) throws(SeccompProfileError) {
        let result = body()
        if result != 0 { throw .refused(what: what, errno: -result) }
    }

    // MARK: Results

    private static func instructions(_ context: scmp_filter_ctx) throws(SeccompProfileError) -> [UInt8] {
        do throws(SystemError) {
            let file = try OwnedFileDescriptor(inMemory: "seccomp")
            let copy = try file.inheritableCopy()
            let result = seccomp_export_bpf(context, copy.number)
            if result != 0 { throw SystemError(call: "seccomp_export_bpf", errno: -result, subject: "") }
            try file.seek(to: 0)
            let bytes = try file.readAll()
            if bytes.count > SeccompFilter.largest {
                throw SystemError(call: "", errno: Errno.E2BIG, subject: "\(bytes.count / 8)")
            }
            return bytes
        } catch {
            if error.errno == Errno.E2BIG { throw .tooLarge(instructions: Int(error.subject) ?? 0) }
            throw .refused(what: error.call, errno: error.errno)
        }
    }

    private struct OCIRule: Encodable {
        let names: [String]
        let action: String
        let errnoRet: UInt16?
        let args: [SeccompProfile.Argument]
    }

    private struct OCIConfiguration: Encodable {
        let defaultAction: String
        let defaultErrnoRet: UInt16?
        let architectures: [String]?
        let flags: [String]?
        let syscalls: [OCIRule]
    }

    private static func configuration(
        _ profile: SeccompProfile, _ architectures: [String], _ rules: [OCIRule]
    ) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // runc 1.1 refuses flags. Without this one the filter is the same, and slower before Linux 5.16.
        let flags = profile.flags?.filter { $0 != "SECCOMP_FILTER_FLAG_SPEC_ALLOW" } ?? []
        let value = OCIConfiguration(
            defaultAction: profile.defaultAction, defaultErrnoRet: profile.defaultErrnoRet,
            architectures: architectures.isEmpty ? nil : architectures, flags: flags.isEmpty ? nil : flags,
            syscalls: rules.filter { !$0.names.isEmpty })
        // Strings and numbers: nothing that cannot be encoded.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }
}

/// One that filters can be made for.
package struct SeccompArchitecture: Equatable, Sendable {
    /// libseccomp's.
    package let name: String
    /// Docker's.
    package let goName: String
    let token: UInt32

    package init?(_ name: String) {
        switch name {
        case "x86_64", "amd64":
            (self.name, goName, token) = ("SCMP_ARCH_X86_64", "amd64", seccomp_arch_resolve_name("x86_64"))
        case "aarch64", "arm64":
            (self.name, goName, token) = ("SCMP_ARCH_AARCH64", "arm64", seccomp_arch_resolve_name("aarch64"))
        default: return nil
        }
    }

    #if arch(arm64)
        package static let host = SeccompArchitecture("aarch64")!  // one of those above
    #else
        package static let host = SeccompArchitecture("x86_64")!  // likewise
    #endif
}
