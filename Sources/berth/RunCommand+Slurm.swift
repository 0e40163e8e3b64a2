internal import Allocation
internal import Devices
internal import Diagnostics
internal import LinuxKernel

/// `--slurm`: what a command inside needs to start further steps and jobs. Everything is found at launch, on this node.
extension RunCommand {
    func slurmEdits() throws(Failure) -> [DeviceEdit] {
        let configuration = SlurmConfiguration(named: host.variable("SLURM_CONF"))
        let path = (host.variable("PATH") ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        guard let directory = configuration.directory else {
            throw .report(
                Report(
                    "--slurm: there is no slurm.conf on this node",
                    hint: "it is looked for beside SLURM_CONF, in /etc/slurm and in /run/slurm/conf"))
        }
        // Slurm's programs look nowhere else then, and try to open it for a minute.
        if let named = host.variable("SLURM_CONF"), named.hasPrefix("/"),
            named.split(separator: "/").dropLast() != directory.split(separator: "/")
        {
            throw .report(
                Report(
                    "--slurm: SLURM_CONF is \(named), which is not on this node",
                    hint: "unset SLURM_CONF, or set it to a slurm.conf that the node has"))
        }
        let plugins = configuration.value(of: "PluginDir", in: "slurm.conf") ?? ""
        guard
            let client = SlurmClient(
                configuration: directory, pluginDirectories: plugins.split(separator: ":").map(String.init),
                spankPlugins: configuration.spankPlugins, socket: configuration.authenticationSocket,
                path: path + ["/usr/bin", "/usr/local/bin", "/opt/slurm/bin"])
        else {
            throw .report(
                Report("--slurm: there is no srun on this node", hint: "install Slurm's programs, or have them in PATH")
            )
        }
        return client.edits()
    }

    /// Slurm's programs ask who `SlurmUser` is.
    var slurmAccounts: [String] {
        let configuration = SlurmConfiguration(named: host.variable("SLURM_CONF"))
        guard let name = configuration.value(of: "SlurmUser", in: "slurm.conf"), UInt32(name) == nil,
            let line = host.passwdLine(of: name)
        else { return [] }
        return [line]
    }
}

extension SlurmConfiguration {
    /// `AuthInfo=socket=PATH,…`
    fileprivate var authenticationSocket: String? {
        value(of: "AuthInfo", in: "slurm.conf")?.split { $0 == "," || $0 == ";" }
            .first { $0.hasPrefix("socket=") }.map { String($0.dropFirst(7)) }
    }

    /// Files that plugstack.conf and what it includes name by an absolute path: spank(8).
    fileprivate var spankPlugins: [String] {
        guard let directory else { return [] }
        var result: [String] = []
        var left = [value(of: "PlugStackConfig", in: "slurm.conf") ?? directory + "/plugstack.conf"]
        var seen: [String] = []
        while let file = left.popLast() {
            // Files may include each other.
            if seen.contains(file) || seen.count > 100 { continue }
            seen.append(file)
            guard let bytes = try? contents(of: file, limit: 1 << 20) else { continue }  // absent: names nothing
            for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
                let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }.map(String.init)
                guard words.count > 1 else { continue }
                if words[0] == "include" {
                    left += Self.files(words[1].hasPrefix("/") ? words[1] : directory + "/" + words[1])
                } else if words[1].hasPrefix("/"), !result.contains(words[1]) {
                    result.append(words[1])
                }
            }
        }
        return result
    }

    /// Of a pattern with `*` in its last component, at most one: what sites write.
    private static func files(_ pattern: String) -> [String] {
        guard let slash = pattern.lastIndex(of: "/"), let star = pattern.lastIndex(of: "*"), star > slash else {
            return [pattern]
        }
        let directory = String(pattern[..<slash])
        let (head, tail) = (pattern[pattern.index(after: slash)..<star], pattern[pattern.index(after: star)...])
        return HostTree().names(directory.isEmpty ? "/" : directory)
            .filter { $0.hasPrefix(head) && $0.hasSuffix(tail) && !$0.hasPrefix(".") }.map { directory + "/" + $0 }
    }
}
