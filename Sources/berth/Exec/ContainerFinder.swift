internal import Diagnostics
internal import LinuxKernel
internal import Sandbox

/// The running container that a word of the user's stands for.
enum ContainerFinder {
    /// How long to wait for a container's first command.
    private static let startWait = 10_000

    /// - Parameters:
    ///   - text: A job, a step, a name or a process; `nil` for the only container there is.
    ///   - verb: The command that looks for it, for the hint.
    static func find(_ text: String?, verb: String? = nil) throws(Failure) -> RunningContainer {
        var waited = 0
        while true {
            let all = try all()
            var found = all.filter { container in text.map(container.answers(to:)) ?? true }
            if let text, Identity.isRoot { found = confirmed(found, text) }
            guard let container = found.first else { throw .report(absent(text, all)) }
            guard found.count == 1 else { throw .report(ambiguous(text, found, verb)) }
            guard container.isStarting else { return container }
            guard waited < startWait else {
                throw .report(
                    Report(
                        "the container \(text ?? container.shownName) is still starting",
                        hint: "try again when its command runs: `berth ps` shows it"))
            }
            Processes.sleep(milliseconds: 20)
            waited += 20
        }
    }

    /// For root, who sees the containers of all users: a label is any user's to write, and a control group is not. Of several
    /// that claim a job those count that are in its control group.
    private static func confirmed(_ found: [RunningContainer], _ text: String) -> [RunningContainer] {
        guard isJob(text) else { return found }
        let job = text.prefix { $0 != "." }
        let inside = found.filter { $0.cgroupJob?.prefix { $0 != "." } == job }
        return inside.isEmpty ? found : inside
    }

    /// Whether a running container has this name, job or process.
    static func exists(_ text: String) throws(Failure) -> Bool {
        try all().contains { $0.answers(to: text) }
    }

    private static func all() throws(Failure) -> [RunningContainer] {
        try mapError(to: Failure.system) { () throws(SystemError) in try RunningContainer.all() }
    }

    private static func absent(_ text: String?, _ all: [RunningContainer]) -> Report {
        let list = "`berth ps` lists them"
        guard let text else {
            return Report("no container of yours is running on this node", hint: "start one with `berth run`")
        }
        let what = "no running container on this node is called \(text)"
        if isJob(text) {
            let process = Int(text).flatMap { OtherProcess($0) }
            return Report(
                what, details: process.map { ["process \(text) (\($0.name)) is in no container of yours"] } ?? [],
                hint: "a job's containers are on its nodes: srun --overlap --jobid=\(text.prefix { $0 != "." }) "
                    + "berth exec \(text) COMMAND")
        }
        if text.contains("/") || text.contains(":") {
            return Report(
                what, hint: "a new container of an image: berth run --entrypoint \"\" \(text) -- COMMAND; " + list)
        }
        let names = all.flatMap { [$0.label.name, $0.label.step] }.filter { !$0.isEmpty }
        if let near = Report.nearest(to: text, among: names) { return Report(what, hint: "did you mean \(near)? " + list) }
        return Report(
            what,
            hint: all.isEmpty
                ? "no container of yours is running on this node"
                : all.count == 1
                    ? "the only container needs no name: berth exec -- \(text)" : list)
    }

    /// Whether the word has the form of a job, a step or a process.
    static func isJob(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return (1...2).contains(parts.count) && UInt32(parts[0]) != nil
    }

    private static func ambiguous(_ text: String?, _ found: [RunningContainer], _ verb: String?) -> Report {
        let rows = found.prefix(20).map { container in
            "\(container.processes[0].processID)  \(container.shownName)  \(container.label.image)"
        }
        let name = found[0].shownName
        let isOnly = found.count { $0.shownName == name } == 1
        let word = isOnly ? name : "\(found[0].processes[0].processID)"
        return Report(
            text.map { "\($0) stands for \(found.count) containers on this node" }
                ?? "\(found.count) containers of yours are running on this node",
            details: rows, hint: "name one: " + (verb.map { "berth \($0) " } ?? "") + word + (verb == "exec" ? " COMMAND" : ""))
    }
}
