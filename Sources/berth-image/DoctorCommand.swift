internal import ArgumentParser
internal import DeviceSpecifications
internal import Devices
internal import Doctor
internal import FoundationEssentials
internal import ImageDiagnostics
internal import LaunchPlanning
internal import LinuxKernel

/// `berth doctor`: what this node has and lacks for containers.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check this node: namespaces, GPUs, fabrics, limits, cgroups, Slurm, store, credentials.",
        usage: "berth doctor [OPTIONS]",
        discussion: """
            Tries what a launch does, and reports problems with their remedies. Run it where jobs run.

            Examples:
              berth doctor
              srun -w node17 --gres=gpu:2 berth doctor --quiet

            Exit status: 0 without problems, 1 with warnings, 2 with errors, 125 if the doctor itself failed.
            """)

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print problems only.")
    var quiet = false

    @OptionGroup var store: StoreOptions

    func run() throws {
        let environment = ProcessInfo.processInfo.environment
        let facts = NodeFacts(
            environment: { environment[$0] }, store: store.store,
            launcher: (try? Launcher.path()) ?? "/bin/berth",  // without /proc it cannot be found, which is a finding
            compile: { SpecificationCompiler.compile(SpecificationFiles(in: $0), describe: \.text) })
        var diagnosis = Diagnosis(of: facts)
        let status = diagnosis.exitStatus
        if quiet { diagnosis = Diagnosis(diagnosis.findings.filter { $0.severity != .ok }) }
        let text = json ? diagnosis.json.text : quiet && diagnosis.findings.isEmpty ? "" : diagnosis.table
        Printed.text(text)
        Processes.exit(status)
    }
}
