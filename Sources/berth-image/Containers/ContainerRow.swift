internal import Devices
internal import Diagnostics
internal import LinuxKernel
internal import Sandbox

/// A running container, for `berth ps`.
struct ContainerRow: ListRow {
    static let fields: [(name: String, heading: String)] = [
        ("Node", "NODE"), ("Container", "CONTAINER"), ("ID", "PID"), ("Names", "NAME"), ("Job", "JOB"),
        ("Step", "STEP"),
        ("User", "USER"), ("Image", "IMAGE"), ("Digest", "DIGEST"), ("GPUs", "GPUS"), ("UUIDs", "UUIDS"),
        ("Tasks", "TASKS"), ("PIDs", "PIDS"), ("CPU", "CPU"), ("Memory", "MEM"), ("Age", "AGE"), ("Command", "COMMAND"),
    ]

    private var values: [String]

    subscript(name: String) -> String {
        Self.fields.firstIndex { $0.name == name }.map { values[$0] } ?? ""
    }

    /// For another process of this program.
    var exchanged: String { values.joined(separator: "\t") }

    init?(exchanged line: String) {
        values = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        guard values.count == Self.fields.count else { return nil }
    }
}

extension ContainerRow {
    static func all() throws(Failure) -> [ContainerRow] {
        let (containers, node) = try reporting({ Report($0) }) { () throws(SystemError) in
            (try RunningContainer.all(), try contents(of: "/proc/sys/kernel/hostname", limit: 256))
        }
        let host = String(decoding: node.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        // Those that have ended since are none.
        let found = containers.compactMap { container in
            container.pin().flatMap { process in
                (try? process.credentials()).map { (container, process, $0.userID) }
            }
        }
        let names = NameService.users.names(of: Array(Set(found.map(\.2))))
        return found.map { container, process, user in
            let isOnly = containers.count { $0.shownName == container.shownName } == 1
            return ContainerRow(
                container, process, node: host, user: names[user] ?? "\(user)",
                shown: isOnly ? container.shownName : "\(process.process.processID)")
        }
    }

    private init(
        _ container: RunningContainer, _ process: ContainerProcess, node: String, user: String, shown: String
    ) {
        let label = container.label
        let now = Clock.ticksSinceBoot
        let age = max(1, now - min(now, process.process.startTicks))
        let used = container.processes.reduce(0) { $0 + $1.processorTicks }
        let memory = container.processes.reduce(0) { $0 &+ $1.residentBytes }
        let gpus = Self.gpus(container.devices)
        // A process that ends just now has none.
        let command = (try? process.arguments())?.joined(separator: " ") ?? ""
        values = [
            node, shown, "\(process.process.processID)", label.name, label.job, label.step, user, label.image,
            label.digest,
            gpus.indices.isEmpty ? "-" : gpus.indices.joined(separator: ","),
            gpus.names.isEmpty ? "-" : gpus.names.joined(separator: ","), "\(container.tasks)",
            "\(container.processes.count)", "\(used * 100 / age)%", Quantity.bytes(Int64(clamping: memory)),
            Quantity.age(seconds: Int64(age / 100)), command,
        ].map(TerminalText.line)
    }

    /// The place of each GPU among the host's, and its UUID; of MIG, the capability.
    private static func gpus(_ places: [String]) -> (indices: [String], names: [String]) {
        let nodes = places.map { DeviceNode($0) }
        let shown = DeviceNode.gpus(among: nodes)
        guard let first = shown.first else { return ([], []) }
        // Without the driver's list, by the numbers of the nodes.
        let all = (try? GPUInventory(first.vendor ?? .amd))?.gpus ?? []
        var (indices, names): ([String], [String]) = ([], [])
        for node in shown {
            let place = all.firstIndex { $0.node == node }
            indices.append((place ?? node.index).map { "\($0)" } ?? node.path)
            if let place, !all[place].uuid.isEmpty { names.append(all[place].uuid) }
        }
        names += nodes.filter { $0.kind == .migCapability }.compactMap {
            $0.path.split(separator: "/").last.map(String.init)
        }
        return (indices, names)
    }
}
