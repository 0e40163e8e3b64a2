internal import Allocation
internal import Devices
internal import Diagnostics
internal import LinuxKernel

/// `--slurm`: what a command inside needs to start further steps and jobs. Everything is found at launch, on this node.
extension LaunchRequest {
    func slurmClientEdits() throws(Failure) -> [DeviceEdit] {
        let configuration = SlurmConfiguration(named: caller.variable("SLURM_CONF"))
        let path = (caller.variable("PATH") ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        guard let directory = configuration.directory else {
            throw .report(
                Report(
                    "--slurm: there is no slurm.conf on this node",
                    hint: "it is looked for beside SLURM_CONF, in /etc/slurm and in /run/slurm/conf"))
        }
        // Slurm's programs look nowhere else then, and try to open it for a minute.
        if let named = caller.variable("SLURM_CONF"), named.hasPrefix("/"),
            named.split(separator: "/").dropLast() != directory.split(separator: "/")
        {
            throw .report(
                Report(
                    "--slurm: SLURM_CONF is \(named), which is not on this node",
                    hint: "unset SLURM_CONF, or set it to a slurm.conf that the node has"))
        }
        let loaded = try mapError(to: Failure.system) { () throws(SystemError) in try configuration.spankPlugins() }
        let plugins = configuration.value(of: "PluginDir", in: "slurm.conf") ?? ""
        guard
            let client = try mapError(
                to: Failure.system,
                { () throws(SystemError) in
                    try SlurmClient(
                        configuration: directory, pluginDirectories: plugins.split(separator: ":").map(String.init),
                        spankPlugins: loaded, socket: configuration.authenticationSocket,
                        path: path + ["/usr/bin", "/usr/local/bin", "/opt/slurm/bin"])
                })
        else {
            throw .report(
                Report("--slurm: there is no srun on this node", hint: "install Slurm's programs, or have them in PATH")
            )
        }
        return client.edits()
    }

    /// Slurm's programs ask who `SlurmUser` is.
    var slurmAccounts: [String] {
        let configuration = SlurmConfiguration(named: caller.variable("SLURM_CONF"))
        guard let name = configuration.value(of: "SlurmUser", in: "slurm.conf"), UInt32(name) == nil,
            let line = caller.passwdLine(of: name)
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

    /// Files that plugstack.conf names by an absolute path.
    fileprivate func spankPlugins() throws(SystemError) -> [String] {
        var result: [String] = []
        for words in try plugstack() where words[1].hasPrefix("/") && !result.contains(words[1]) {
            result.append(words[1])
        }
        return result
    }
}
