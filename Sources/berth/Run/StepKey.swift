internal import LaunchPlanning
internal import LinuxKernel

extension LaunchOptions {
    /// Equal for tasks that may share a container: everything but what is each process's own. Of the variables, those that
    /// choose devices are the container's.
    func containerKey(_ host: (String) -> String?) -> String {
        var shared = self
        shared.command = []
        shared.variables = []
        shared.environmentFiles = []
        shared.workingDirectory = nil
        shared.entrypoint = nil
        shared.limits = []
        shared.profile = nil
        shared.requirements = []
        shared.enforcement = nil
        shared.preservedDescriptors = 0
        shared.groups = []
        shared.capabilities = CapabilityChange()
        shared.seccomp = nil
        shared.allowsNewPrivileges = false
        shared.cleansEnvironment = false
        shared.notes = []
        (shared.operands, shared.files) = ([], [])
        shared.quiet = false
        shared.verbose = false
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        let text = String(describing: shared) + deviceVariables(host).joined(separator: "\0")
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }

    /// `NAME=value` of those that steer which devices a container shows, the last one of each name.
    private func deviceVariables(_ host: (String) -> String?) -> [String] {
        var values: [(name: String, value: String)] = []
        for variable in variables {
            let (name, value): (String, String?) =
                switch variable {
                case .set(let name, let value): (name, value)
                case .fromHost(let name): (name, host(name))
                case .expanded(let name, let text): (name, text)
                case .unset(let name): (name, nil)
                }
            guard ["NVIDIA_", "AMD_", "MELLANOX_"].contains(where: name.hasPrefix) else { continue }
            values.removeAll { $0.name == name }
            if let value { values.append((name, value)) }
        }
        return values.map { "\($0.name)=\($0.value)" }.sorted()
    }
}
