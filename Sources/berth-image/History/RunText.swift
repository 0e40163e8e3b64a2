internal import Allocation
internal import LinuxKernel

/// A run in words, part by part, and what differs between two.
enum RunText {
    struct Part: Equatable {
        let name: String
        let lines: [String]
    }

    /// In the order in which they explain a result: what ran, on which data, on which machine.
    static func parts(of run: StoredRun) -> [Part] {
        var parts: [Part] = []
        func add(_ name: String, _ lines: [String?]) {
            let lines = lines.compactMap { $0 }
            if !lines.isEmpty { parts.append(Part(name: name, lines: lines)) }
        }
        add("id", [run.id + (run.replayOf.map { ", a replay of \($0)" } ?? "")])
        add("time", [run.time])
        add("image", [run.image.name, run.image.digest, run.image.platform])
        add("command", [quoted(run.command)])
        add("options", [run.options.isEmpty ? nil : quoted(run.options)])
        add("files", (run.files ?? []).map { "\($0.path) sha256:\($0.sha256.prefix(16))" })
        if let git = run.git {
            let changed = git.changed ?? []
            add("git", [
                (git.commit ?? "(unknown commit)") + (git.branch.map { " on \($0)" } ?? "") + " in \(git.directory)",
                changed.isEmpty ? nil : "changed: " + changed.joined(separator: " "),
            ])
        }
        add("directory", [run.workingDirectory.container])
        add("mounts", run.mounts.map { mount in
            mount.source + ":" + mount.target + (mount.readOnly ? ":ro" : "") + (mount.fileSystem.map { " (\($0))" } ?? "")
        })
        add("user", [
            "\(run.user.name ?? "") \(run.user.uid):\(run.user.gid)" + (run.user.rootInside ? ", root inside" : "")
        ])
        if let devices = run.devices {
            add("gpus", (devices.gpus ?? []).map { gpu in
                [gpu.node, gpu.model, gpu.uuid].compactMap { $0 }.joined(separator: " ")
            })
            add("driver", [devices.driver])
            let gpus = (devices.gpus ?? []).map(\.node)
            add("devices", [devices.nodes.filter { !gpus.contains($0) }].filter { !$0.isEmpty }.map { $0.joined(separator: " ") })
        }
        if let job = run.job {
            add("job", [
                (run.step ?? "") + (job["name"].map { " \"\($0)\"" } ?? ""),
                [
                    job["nodes"].map { $0 == "1" ? "1 node" : "\($0) nodes" },
                    job["tasks"].map { $0 == "1" ? "1 task" : "\($0) tasks" }, job["nodeList"],
                    job["partition"].map { "partition \($0)" }, job["account"].map { "account \($0)" },
                ].compactMap { $0 }.joined(separator: ", "),
            ])
        }
        add("limits", run.limits.map { "\($0.name) \(amount($0.soft)):\(amount($0.hard))" })
        add("host", [[run.host.name, run.host.kernel.map { "Linux \($0)" }].compactMap { $0 }.joined(separator: ", ")])
        add("berth", [run.berth])
        return parts
    }

    /// What differs between runs at different times on any node, and says nothing.
    private static let expected = ["id", "time", "job"]

    static func differences(_ one: StoredRun, _ other: StoredRun) -> [Part] {
        var result: [Part] = []
        let (first, second) = (parts(of: one), parts(of: other))
        for name in first.map(\.name) + second.map(\.name).filter({ name in !first.contains { $0.name == name } }) {
            if expected.contains(name) { continue }
            // The same bytes by another name: a tag, or the digest.
            if name == "image", let digest = one.image.digest, digest == other.image.digest { continue }
            let before = first.first { $0.name == name }?.lines ?? []
            let after = second.first { $0.name == name }?.lines ?? []
            if before != after { result.append(Part(name: name, lines: changes(before, after))) }
        }
        let size = ["nodes", "tasks", "tasksPerNode", "cpusPerTask", "memoryPerNode", "gpusOnNode"]
        let (before, after) = (allocation(one, size), allocation(other, size))
        if before != after { result.append(Part(name: "allocation", lines: changes(before, after))) }
        let variables = changes(environment(one), environment(other))
        if !variables.isEmpty { result.append(Part(name: "environment", lines: variables)) }
        return result
    }

    private static func changes(_ before: [String], _ after: [String]) -> [String] {
        before.filter { !after.contains($0) }.map { "- " + $0 } + after.filter { !before.contains($0) }.map { "+ " + $0 }
    }

    private static func allocation(_ run: StoredRun, _ names: [String]) -> [String] {
        names.compactMap { name in run.job?[name].map { "\(name) \($0)" } }
    }

    /// Without what names one job, one rank or one terminal.
    private static func environment(_ run: StoredRun) -> [String] {
        run.environment.filter { !TaskVariables.contain($0.name) }.map { "\($0.name)=\($0.value)" }.sorted()
    }

    private static func amount(_ value: UInt64) -> String { value == .max ? "unlimited" : "\(value)" }

    /// As a shell takes the words.
    static func quoted(_ words: [String]) -> String {
        words.map { word in
            let plain = word.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || "-_./:=,@%+".utf8.contains(byte)
            }
            return plain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
        }.joined(separator: " ")
    }
}
