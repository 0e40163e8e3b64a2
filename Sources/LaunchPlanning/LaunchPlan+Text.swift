internal import Devices
internal import LinuxKernel

extension LaunchPlan {
    /// The plan as the golden files hold it.
    package var text: String { text(nil) }

    /// The plan as `--dry-run` prints it: with where each variable comes from and what holds the command to all this.
    package func text(_ explanation: Explanation?) -> String {
        var lines = cgroupPolicy.map(\.lines) ?? []
        lines.append("steps")
        for (index, step) in steps.enumerated() {
            let number = String(index + 1)
            let pad = String(repeating: " ", count: max(0, 3 - number.utf8.count))
            lines.append(
                "\(pad)\(number)  \(step.action.summary)  [\(step.origin.summary)\(explanation?.suffix(step) ?? "")]")
        }
        lines.append("process")
        // Golden files hold what varies.
        let own = explanation == nil ? "" : "  [berth]"
        for change in process.limits {
            lines.append(
                "     limit \(change.limit.rawValue) \(change.from.summary) -> \(change.to.summary)  [\(change.origin.summary)]"
            )
        }
        if let kept = process.boundingCapabilities {
            lines.append(
                "     capabilities \(kept.map(String.init).joined(separator: ","))"
                    + (explanation == nil && process.capabilitiesOrigin == .berth
                        ? "" : "  [\(process.capabilitiesOrigin.summary)]"))
        }
        if case .named(let user, let origin) = process.user { lines.append("     user \(user)  [\(origin.summary)]") }
        for group in process.additionalGroups {
            lines.append("     group \(group)" + (explanation?.place(ofGroup: group).map { "  [\($0)]" } ?? ""))
        }
        for group in process.namedGroups { lines.append("     group \(group)  [--group-add]") }
        lines.append("     workdir \(process.workingDirectory)  [\(process.workingDirectoryOrigin.summary)]")
        if process.noNewPrivileges { lines.append("     no_new_privs" + own) }
        for filter in process.filters { lines.append("     seccomp \(filter.name)  [\(filter.origin.summary)]") }
        for (index, entry) in process.environment.enumerated() {
            let place =
                process.environmentSources.indices.contains(index)
                ? explanation?.place(of: entry, VariableSource(rawValue: process.environmentSources[index])) : nil
            lines.append("     env \(entry)" + (place.map { "  [\($0)]" } ?? ""))
        }
        for variable in process.dropped {
            lines.append(
                "     not passed \(variable.name): \(variable.path) does not exist inside"
                    + (explanation == nil ? "" : "  [host]"))
        }
        if process.firstProcess == .`init` { lines.append("     init as process 1  [--init]") }
        lines.append("     exec \(process.arguments.map(shellQuoted).joined(separator: " "))")
        if let explanation { lines += explanation.lines(self) }
        // Words of the image and of the user, in which anything may be.
        return lines.map(TerminalText.escaped).joined(separator: "\n") + "\n"
    }
}

extension CgroupPolicy {
    fileprivate var lines: [String] {
        var lines = ["cgroup"]
        if let devices {
            lines.append(
                "     devices: the standard ones, \(devices.filter { $0.kind != .standard }.map(\.path).joined(separator: ", "))"
            )
        }
        if let memory { lines.append("     memory \(memory)") }
        if let cpus { lines.append("     cpus \(cpus)") }
        if let processes { lines.append("     pids \(processes)") }
        return lines.map { $0 == "cgroup" ? $0 : "\($0)  [\(origin.summary)]" }
    }
}

/// As a word of a shell's command line.
package func shellQuoted(_ word: String) -> String {
    let plain =
        !word.isEmpty
        && word.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "/"), UInt8(ascii: "="),
                UInt8(ascii: ":"),
                UInt8(ascii: ","), UInt8(ascii: "+"), UInt8(ascii: "@"):
                true
            default: false
            }
        }
    if plain { return word }
    if word.unicodeScalars.contains(where: TerminalText.steers) {
        // As Bash reads it, so that the line can be copied.
        let escaped = word.unicodeScalars.map { scalar in
            if scalar == "'" || scalar == "\\" { return "\\" + String(scalar) }
            return TerminalText.steers(scalar) ? TerminalText.escape(scalar) : String(scalar)
        }
        return "$'" + escaped.joined() + "'"
    }
    return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}

extension LimitValues {
    var summary: String { "\(Self.word(soft)):\(Self.word(hard))" }
    private static func word(_ value: UInt64) -> String { value == unlimited ? "unlimited" : String(value) }
}

extension Origin {
    package var summary: String {
        switch self {
        case .berth: "berth"
        case .image: "image"
        case .option(let name): name
        case .site(let place): "berth.conf: \(place)"
        case .grant(let reason): "grant: \(reason)"
        case .cdi(let place): "cdi: \(place)"
        case .host: "host"
        }
    }
}

extension PlanAction {
    /// As in error messages: of many layers only how many.
    package var briefSummary: String {
        if case .root(.overlay(let lower)) = self, lower.count > 4 { return "root overlay of \(lower.count) layers" }
        return summary
    }

    /// One line, as in plans.
    package var summary: String {
        switch self {
        case .createNamespaces(let kinds, let map):
            var names: [String] = []
            if kinds.contains(.user) { names.append("user") }
            if kinds.contains(.mount) { names.append("mount") }
            if kinds.contains(.hostname) { names.append("uts") }
            if kinds.contains(.network) { names.append("net") }
            if kinds.contains(.ipc) { names.append("ipc") }
            if kinds.contains(.process) { names.append("pid") }
            let ids = map.map {
                ", uid \($0.outsideUser) -> \($0.insideUser), gid \($0.outsideGroup) -> \($0.insideGroup)"
            }
            return "namespaces \(names.joined(separator: " "))\(ids ?? "")"
        case .receivePropagationOnly: return "propagation slave on everything"
        case .scratch(.memory(let limit)): return "scratch tmpfs \(limit.map { "size=\($0)" } ?? "size=50%")"
        case .scratch(.directory(let path)): return "scratch directory below \(path)"
        case .scratch(.container(let path)): return "scratch of the named container \(path)"
        case .root(.overlay(let lower)): return "root overlay of \(lower.joined(separator: ":"))"
        case .root(.tree(let path)): return "root \(path), read-only"
        case .systemDirectory(let path, let mode): return "system directory \(path) mode \(String(mode, radix: 8))"
        case .directory(let path, let mode): return "directory \(path) mode \(String(mode, radix: 8))"
        case .home(let path): return "directory \(path) mode 700"
        case .bind(let bind):
            return "\(bind.recursive ? "rbind" : "bind") \(bind.source) on \(bind.target)\(bind.attributes.summary)"
                + bind.propagation.propagationSummary + (bind.optional ? ", if present" : "")
        case .mountPoint(let path, _): return "mount point \(path), if missing"
        case .mount(let type, let target, let flags, let data):
            return "mount \(type) on \(target) \(flags.summary)\(data)"
        case .deviceDirectory(let path): return "empty directory over \(path) nosuid,noexec"
        case .symlink(let path, let target): return "symlink \(path) -> \(target)"
        case .copy(let source, let target): return "copy \(source) to \(target), if present"
        case .append(let text, let target):
            return "append \(shellQuoted(text.split(separator: "\n").joined(separator: "; "))) to \(target)"
        case .resolver(let settings):
            let lines = settings.applied(to: []).split(separator: UInt8(ascii: "\n")).map {
                String(decoding: $0, as: UTF8.self)
            }
            return "resolver \(shellQuoted(lines.joined(separator: "; "))) in /etc/resolv.conf"
        case .accounts(let accounts):
            let groups = accounts.groups.map { "\($0.name)(\($0.id))" }.joined(separator: ",")
            return "names \(accounts.userName)(\(accounts.userID)) groups \(groups) home \(accounts.home)"
        case .file(let bytes, let path): return "file \(path) of \(bytes.count) bytes"
        case .cover(let path, let bytes): return "cover \(path) with \(bytes.count) bytes of its own"
        case .mode(let path, let mode): return "mode \(String(mode, radix: 8)) of \(path), if made here"
        case .loader(let update): return update.summary
        case .hook(let hook):
            return
                "hook \(hook.isInside ? "inside " : "")\(hook.path) \(hook.arguments.dropFirst().map(shellQuoted).joined(separator: " "))"
        case .sealRoot: return "root read-only"
        case .pivot: return "pivot_root"
        case .hostname(let name): return "hostname \(name)"
        case .unmount(let path): return "unmount \(path)"
        }
    }
}

extension LoaderUpdate {
    fileprivate var summary: String {
        let names = libraries.map(\.soname).joined(separator: " ")
        let compatible = compatibility.map {
            "; libraries of \($0.directory) first, if newer than driver \($0.hostDriverVersion)"
        }
        return "loader cache with \(names.isEmpty ? "no library" : names)\(compatible ?? "")"
    }
}

extension MountAttributes {
    fileprivate var summary: String {
        var words = ""
        if contains(.readOnly) { words += " ro" }
        if contains(.noSetUserID) { words += " nosuid" }
        if contains(.noDevices) { words += " nodev" }
        if contains(.noExecution) { words += " noexec" }
        return words
    }
}

extension MountFlags {
    fileprivate var propagationSummary: String {
        if isEmpty { return "" }
        let word =
            contains(.isPrivate)
            ? "private" : contains(.isSlave) ? "slave" : contains(.isShared) ? "shared" : "unbindable"
        return ", propagation \(contains(.recursive) ? "r" : "")\(word)"
    }

    fileprivate var summary: String {
        var words = ""
        if contains(.readOnly) { words += "ro," }
        if contains(.noSetUserID) { words += "nosuid," }
        if contains(.noDevices) { words += "nodev," }
        if contains(.noExecution) { words += "noexec," }
        return words
    }
}
