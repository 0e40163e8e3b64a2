internal import Allocation
internal import Diagnostics
internal import LaunchPlanning
internal import LinuxKernel
internal import Sandbox

extension DryRun {
    /// The plan as `config.json` of the OCI runtime-spec, on standard output.
    func printOCIConfiguration(_ plan: LaunchPlan) throws(Failure) {
        var plan = plan
        let names = plan.process.environment.filter(RawText.holdsBytes).map(JoinSpec.name)
        plan.process.environment.removeAll(where: RawText.holdsBytes)
        var trees: [String] = []
        var overlay: [String]?
        for step in plan.steps {
            switch step.action {
            case .root(.overlay(let lower)): (trees, overlay) = (lower, lower)
            case .root(.tree(let path)): trees = [path]
            default: continue
            }
        }
        var facts = OCIFacts(
            userID: request.caller.userID, groupID: request.caller.groupID, absent: absentSources(plan),
            lastCapability: lastCapability,
            hasTerminal: Streams.terminal(request.terminal) != nil)
        facts.supplementaryGroups = try mapError(to: Failure.system) { () throws(SystemError) in
            try Identity.supplementaryGroups()
        }
        if case .named(let user, _) = plan.process.user {
            let passwd = try accountFile("/etc/passwd", trees, user)
            let group = try accountFile("/etc/group", trees, user)
            facts.imageUser = try mapError(to: { .sandbox(.account($0)) }) { () throws(AccountError) in
                try AccountFiles.resolve(user: user, passwd: passwd, group: group)
            }
        }
        if let cgroupPolicy = plan.cgroupPolicy, let membership = try? CgroupMembership() {  // without /proc no rules
            let confiner = CgroupEnforcer(cgroupPolicy, membership, isOfOneTask: SlurmCgroup.isTask)
            facts.deviceRules = try mapError(to: Failure.system) { () throws(SystemError) in try confiner.deviceRules()
            }
        }
        let configuration = plan.ociConfiguration(facts)
        if let text = configuration.unwritable {
            throw .report(
                Report(
                    "\(TerminalText.escaped(text)) cannot be written into a config.json: it is not UTF-8",
                    hint: "give the file a name in UTF-8, or make a symbolic link of such a name to it"))
        }
        Terminal.print(configuration.text)
        if !names.isEmpty {
            Terminal.note(
                "warning: config.json leaves out variables whose values are not UTF-8: \(names.joined(separator: ", "))")
        }
        if let overlay {
            let options =
                "lowerdir=\(LaunchPlan.lowerDirectories(overlay)),upperdir=upper,workdir=work"
                + (request.caller.isRoot ? "" : ",userxattr")
            Terminal.note(
                "in the bundle's directory, before the runtime: mkdir -p rootfs upper work && mount -t overlay overlay -o "
                    + "\(shellQuoted(options)) rootfs")
        }
    }

    /// As an error of a launch that looks the user up, which reads the same files in the container.
    private func accountFile(_ path: String, _ trees: [String], _ user: String) throws(Failure) -> [UInt8] {
        try mapError(to: { (error: SystemError) in
            let isTooLarge = error.errno == Errno.EFBIG
            return .sandbox(
                .accountFiles(user, isTooLarge ? .fileTooLarge(path, limit: AccountFiles.limit) : .system(error)))
        }) { () throws(SystemError) in try MergedTrees(trees).contents(of: path, limit: AccountFiles.limit) }
    }

    private func absentSources(_ plan: LaunchPlan) -> [String] {
        plan.steps.compactMap { step in
            switch step.action {
            case .bind(let bind) where bind.optional: bind.source
            case .copy(let source, _): source
            default: nil
            }
        }.filter { (try? FileStatus(of: $0)) == nil }  // what can not be looked at is not shown either
    }

    private var lastCapability: Int {
        guard let bytes = try? contents(of: "/proc/sys/kernel/cap_last_cap", limit: 16) else { return 40 }  // Linux 5.9 and later
        return Int(String(decoding: bytes.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self)) ?? 40
    }
}
