internal import LaunchPlanning
internal import LinuxKernel

/// What a launch takes from an experiment file.
package struct ExperimentWords: Equatable, Sendable {
    /// Options of `berth run`.
    package var options: [String] = []
    /// In the form of `--container-mounts`.
    package var mounts: [String] = []
    package var image: String?
    package var command: [String] = []
    /// Whether the image's ENTRYPOINT runs, where the file says so.
    package var usesEntrypoint: Bool?
    /// What of the file has no effect, one line each.
    package var notes: [String] = []
}

extension ExperimentFile {
    /// The values with references to variables resolved, except in `env`: there the image's variables count, too.
    package func resolved(_ environment: (String) -> String?) throws(ExperimentFileError) -> [String: TOMLValue] {
        var result: [String: TOMLValue] = [:]
        for (key, value) in values {
            result[key] = ["env", "lock"].contains(key) ? value : try resolve(value, key, environment)
        }
        return result
    }

    private func resolve(
        _ value: TOMLValue, _ key: String, _ environment: (String) -> String?
    ) throws(ExperimentFileError) -> TOMLValue {
        switch value {
        case .string(let text):
            do throws(VariableReferences.Fault) { return .string(try VariableReferences.resolve(text, environment)) } catch {
                switch error {
                case .unset(let name):
                    throw ExperimentFileError(file: file(of: key), reason: .unresolved(key: key, variable: name))
                case .malformed(let reference):
                    throw ExperimentFileError(file: file(of: key), reason: .malformedReference(key: key, reference))
                }
            }
        case .array(let values):
            var resolved: [TOMLValue] = []
            for value in values { resolved.append(try resolve(value, key, environment)) }
            return .array(resolved)
        case .table(let entries):
            var resolved: [String: TOMLValue] = [:]
            for (name, value) in entries { resolved[name] = try resolve(value, key, environment) }
            return .table(resolved)
        default: return value
        }
    }

    package func words(
        environment: (String) -> String?, workingDirectory: String
    ) throws(ExperimentFileError) -> ExperimentWords {
        let values = try resolved(environment)
        var words = ExperimentWords()
        func text(_ key: String) -> String? { values[key]?.scalarText.flatMap { $0.isEmpty ? nil : $0 } }
        func flag(_ key: String) -> Bool? {
            if case .boolean(let flag)? = values[key] { flag } else { nil }
        }
        func entries(_ key: String) -> [(name: String, value: String)] {
            guard case .table(let table)? = values[key] else { return [] }
            return table.sorted { $0.key < $1.key }.map { ($0.key, $0.value.scalarText ?? "") }
        }
        words.image = text("image")
        words.command = values["command"]?.strings ?? []
        if let path = text("workdir") { words.options += ["--workdir", absolutePath(path, from: workingDirectory)] }
        words.usesEntrypoint = flag("entrypoint")
        if words.usesEntrypoint == nil, let program = text("entrypoint") { words.options += ["--entrypoint", program] }
        if let writable = flag("writable") { words.options.append("--read-only=\(!writable)") }
        if let root = flag("root") { words.options.append(root ? "--root" : "--no-root") }
        if let home = flag("home") { words.options.append(home ? "--home" : "--no-home") }
        if flag("slurm") == true { words.options.append("--slurm") }
        for key in ["gpus", "fabric", "profile", "seccomp"] {
            if let value = text(key) { words.options += ["--\(key)", value] }
        }
        for device in values["devices"]?.strings ?? [] { words.options += ["--device", device] }
        for need in values["require"]?.strings ?? [] { words.options += ["--require", need] }
        for (name, limit) in entries("ulimits") { words.options += ["--ulimit", "\(name)=\(limit)"] }
        for mount in values["mounts"]?.strings ?? [] {
            if mount.split(separator: ":").dropFirst(2).contains(where: { $0.split(separator: "+").contains("sqsh") }) {
                throw ExperimentFileError(
                    file: file(of: "mounts"),
                    reason: .unsupported(
                        key: "mounts", reason: "Berth does not mount squashfs files as data (\(mount))",
                        remedy: "unpack the file with unsquashfs and mount the directory"))
            }
            words.mounts.append(mount)
        }
        for (name, value) in entries("env") {
            if value.isEmpty {
                words.options += ["--unsetenv", name]
            } else {
                words.options += [VariableReferences.occur(in: value) ? "--expand-env" : "--env", "\(name)=\(value)"]
            }
        }
        for (name, value) in entries("annotations") { words.apply(annotation: name, value) }
        return words
    }
}

extension ExperimentWords {
    /// What each of EDF's hooks is in Berth; what it prints where nothing is the same.
    package static let annotations = [
        (prefix: "com.hooks.cxi.", note: "Slingshot's libraries are mounted by the site's `fabric-...` settings"),
        (prefix: "com.hooks.aws_ofi_nccl.", note: "NCCL's plugin comes from the image or the site's `fabric-...` settings"),
        (prefix: "com.hooks.nvidia_cuda_mps.", note: "Berth starts no CUDA MPS daemon; start `nvidia-cuda-mps-control -d` in the job"),
        (prefix: "com.hooks.dcgm.", note: "Berth sets nothing up for DCGM"),
        (prefix: "com.hooks.ssh.", note: "Berth starts no ssh server; `berth exec` and `berth shell` enter the container"),
    ]

    fileprivate mutating func apply(annotation name: String, _ value: String) {
        let isOn = ["true", "1", "yes", "on"].contains(value.lowercased())
        switch name {
        case "com.hooks.slurm.enabled": if isOn { options.append("--slurm") }
        default:
            // A hook that is switched off is off here.
            if name.hasSuffix(".enabled"), !isOn { return }
            let known = Self.annotations.first { name.hasPrefix($0.prefix) }
            notes.append("annotation \(name) has no effect: \(known?.note ?? "Berth does not know it")")
        }
    }
}
