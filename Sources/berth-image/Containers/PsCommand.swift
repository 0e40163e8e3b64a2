internal import ArgumentParser
internal import Diagnostics
internal import FoundationEssentials
internal import LinuxKernel
internal import Sandbox

/// `berth ps`
struct PsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ps",
        abstract: "List running containers.",
        usage: "berth ps [OPTIONS]",
        discussion: """
            Lists your containers on this node; as root, all containers. CONTAINER is what berth exec takes.

            FORMAT is table, json, or a template such as '{{.Container}} {{.Image}}', with \\t and \\n, \
            optionally behind `table `. Fields: \(ContainerRow.fields.map(\.name).joined(separator: ", ")), \
            and json for all.

            Examples:
              berth ps
              berth ps --all-nodes
              berth ps --format 'table {{.Container}}\\t{{.GPUs}}\\t{{.Command}}'
            """)

    @Flag(name: .shortAndLong, help: "Accepted for compatibility with Docker; only running containers exist.")
    var all = false

    @Flag(name: .shortAndLong, help: "Print the process ID of each container's first process only.")
    var quiet = false

    @Flag(help: "Print commands in full.")
    var noTrunc = false

    @Flag(name: .shortAndLong, help: "Show process IDs, GPU UUIDs and digests as well.")
    var wide = false

    @Option(help: ArgumentHelp("Print a table, JSON, or each container by a template.", valueName: "format"))
    var format: String?

    @Flag(help: "List the containers on all nodes of the job.")
    var allNodes = false

    @Option(help: ArgumentHelp("The job for --all-nodes, which it implies.", valueName: "job"))
    var job: String?

    /// Between the nodes.
    private static let exchange = "fields"

    func run() throws {
        if format == Self.exchange {
            for row in try ContainerRow.all() { Printed.text(row.exchanged + "\n") }
            return
        }
        let rows = allNodes || job != nil ? try ofAllNodes() : try ContainerRow.all()
        if quiet {
            for row in rows { Printed.line(row["ID"]) }
        } else if format == "json" {
            Printed.text(try JSONText.of(rows))
        } else {
            var columns = ["Container", "User", "Image", "GPUs", "Tasks", "PIDs", "CPU", "Memory", "Age", "Command"]
            if wide { columns.insert(contentsOf: ["ID", "UUIDs", "Digest"], at: 9) }
            if allNodes || job != nil { columns.insert("Node", at: 0) }
            Printed.text(try ListFormat(format, columns: columns).text(rows, trims: !noTrunc))
        }
    }

    private func ofAllNodes() throws -> [ContainerRow] {
        var environment = ProcessInfo.processInfo.environment
        if let job {
            guard UInt32(job) != nil else {
                throw Failure(
                    Report("--job \(job): that is not a job", hint: "write the job's number, as squeue shows it"))
            }
            environment["SLURM_JOB_ID"] = job
            environment["SLURM_JOB_NUM_NODES"] = "1"
            let count = try SlurmAllocation(environment).run(
                "squeue", ["--noheader", "--jobs", job, "--format", "%D"], because: "find the nodes of job \(job)")
            environment["SLURM_JOB_NUM_NODES"] = count.first
        }
        guard environment["SLURM_JOB_ID"] != nil else {
            throw Failure(
                Report(
                    "--all-nodes: this shell is not in an allocation",
                    hint: "name the job: berth ps --job JOB"))
        }
        let program = try reporting({ Report($0) }) { () throws(SystemError) in try Processes.ownPath() }
        let lines = try SlurmAllocation(environment).onEveryNode(
            [program, "ps", "--format", Self.exchange], because: "list the containers on every node")
        return lines.compactMap(ContainerRow.init(exchanged:)).sorted { $0["Node"] < $1["Node"] }
    }
}
